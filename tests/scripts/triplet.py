"""Face embeddings on the unit sphere: triplet margin loss with hard examples found in the batch."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from siamese import draw_face
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler


class Faces(Dataset):
    def __init__(self, people, shots):
        self.items = [(person, shot) for person in range(people) for shot in range(shots)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        person, shot = self.items[index]
        return torch.from_numpy(draw_face(person, shot)).unsqueeze(0), person


class PeopleSampler(Sampler):
    """Indices in which each run of `people * shots` has that many shots of that many people."""

    def __init__(self, dataset, people, shots, steps):
        self.labels = np.array([person for person, _ in dataset.items])
        self.people, self.shots, self.steps = people, shots, steps

    def __iter__(self):
        draw = np.random.default_rng(0)
        for _ in range(self.steps):
            for person in draw.choice(np.unique(self.labels), self.people, replace=False):
                yield from draw.choice(np.flatnonzero(self.labels == person), self.shots, replace=False).tolist()

    def __len__(self):
        return self.people * self.shots * self.steps


class FaceNet(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 5, stride=2)
        self.conv2 = nn.Conv2d(8, width, 3, stride=2)
        self.norm = nn.GroupNorm(4, width)
        self.act = nn.PReLU(width)
        self.fc = nn.Linear(width * 25, 12)

    def forward(self, x):
        x = F.relu6(self.conv1(x))
        x = self.act(self.norm(self.conv2(x)))
        return F.normalize(self.fc(x.flatten(start_dim=1)), p=2, dim=1)


def hardest(embeddings, labels):
    """For each anchor its farthest positive and nearest negative."""
    with torch.no_grad():
        distances = torch.cdist(embeddings, embeddings)
        same = labels[:, None] == labels[None, :]
        farthest = distances.masked_fill(~same, -1).argmax(dim=1)
        nearest = distances.masked_fill(same, float("inf")).argmin(dim=1)
    return embeddings.index_select(0, farthest), embeddings[nearest]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--margin", type=float, default=0.4)
    args = parser.parse_args()
    dataset = Faces(people=8, shots=6)
    sampler = BatchSampler(PeopleSampler(dataset, 4, 3, args.steps), batch_size=12, drop_last=False)
    loader = DataLoader(dataset, batch_sampler=sampler)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = same_weights(FaceNet()).to(device)
    criterion = nn.TripletMarginLoss(margin=args.margin, p=2)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.02)
    for step, (images, labels) in enumerate(loader):
        embeddings = model(images.to(device))
        positives, negatives = hardest(embeddings, labels.to(device))
        loss = criterion(embeddings, positives, negatives)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss.item())

    model.eval()
    gallery = torch.stack([torch.from_numpy(draw_face(person, 0))[None] for person in range(8)])
    probes = torch.stack([torch.from_numpy(draw_face(person, 77))[None] for person in range(8)])
    with torch.no_grad():
        similarity = model(probes.to(device)) @ model(gallery.to(device)).t()
    best, who = similarity.max(dim=1)
    print("recognised", who.tolist(), "with cosines", [f"{value:.2f}" for value in best])


if __name__ == "__main__":
    main()
