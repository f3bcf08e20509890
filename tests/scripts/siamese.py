"""Face matching with twin networks and a contrastive loss; the faces are drawn from a few features with noise."""

import argparse
import os
import random
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from alike import report, same_weights
from torch import nn, optim
from torch.autograd import Variable
from torch.utils.data import DataLoader, Dataset


def draw_face(person, shot, size=28):
    """The same person has the same eyes, mouth and head; the light and the place change from shot to shot."""
    features, light = np.random.RandomState(person), np.random.RandomState(1000 * person + shot)
    y, x = np.mgrid[:size, :size] / size - 0.5 + light.uniform(-0.04, 0.04, (2, 1, 1))
    width, eyes, depth, mouth = features.uniform([0.25, 0.08, 0.05, 0.05], [0.42, 0.2, 0.2, 0.2])
    face = ((x / width) ** 2 + (y / 0.45) ** 2 < 1) * 0.5
    for side in (-1, 1):
        face -= 0.5 * (np.hypot(x - side * eyes, y + depth) < 0.05)
    face -= 0.4 * ((abs(x) < mouth) & (abs(y - 0.2) < 0.03))
    return (face + light.uniform(0, 0.2) + light.normal(0, 0.05, face.shape)).astype(np.float32)


class SiameseDataset(Dataset):
    def __init__(self, people, length):
        self.people, self.length = people, length

    def __getitem__(self, index):
        rnd = random.Random(index)
        first = rnd.choice(self.people)
        same = rnd.randint(0, 1)
        second = first if same else rnd.choice([p for p in self.people if p != first])
        img0, img1 = draw_face(first, rnd.randrange(100)), draw_face(second, rnd.randrange(100))
        return img0[None], img1[None], torch.from_numpy(np.array([int(not same)], dtype=np.float32))

    def __len__(self):
        return self.length


class SiameseNetwork(nn.Module):
    def __init__(self):
        super(SiameseNetwork, self).__init__()
        self.cnn1 = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(1, 4, kernel_size=3),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(4),
            nn.ReflectionPad2d(1),
            nn.Conv2d(4, 8, kernel_size=3, stride=2),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(8),
        )
        self.fc1 = nn.Sequential(nn.Linear(8 * 14 * 14, 32), nn.ReLU(inplace=True), nn.Linear(32, 5))

    def forward_once(self, x):
        output = self.cnn1(x)
        output = output.view(output.size()[0], -1)
        return self.fc1(output)

    def forward(self, input1, input2):
        return self.forward_once(input1), self.forward_once(input2)


class ContrastiveLoss(torch.nn.Module):
    """Pulls pairs together, pushes others apart up to a margin (Hadsell et al. 2006)."""

    def __init__(self, margin=2.0):
        super(ContrastiveLoss, self).__init__()
        self.margin = margin

    def forward(self, output1, output2, label):
        distance = F.pairwise_distance(output1, output2, keepdim=True)
        pull = (1 - label) * torch.pow(distance, 2)
        push = label * torch.pow(torch.clamp(self.margin - distance, min=0.0), 2)
        return torch.mean(pull + push)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=25)
    opt = parser.parse_args()
    people = list(range(10))
    loader = DataLoader(SiameseDataset(people, 16 * opt.steps), batch_size=16, num_workers=0)
    net = same_weights(SiameseNetwork())
    if torch.cuda.is_available():
        net = net.cuda()
    criterion = ContrastiveLoss()
    optimizer = optim.Adam(net.parameters(), lr=0.001)
    for i, data in enumerate(loader, 0):
        img0, img1, label = data
        if torch.cuda.is_available():
            img0, img1, label = Variable(img0).cuda(), Variable(img1).cuda(), Variable(label).cuda()
        output1, output2 = net(img0, img1)
        optimizer.zero_grad()
        loss_contrastive = criterion(output1, output2, label)
        loss_contrastive.backward()
        optimizer.step()
        report(i, loss_contrastive.item())

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "siamese.pth")
        torch.save(net.state_dict(), path)
        loaded = SiameseNetwork()
        loaded.load_state_dict(torch.load(path, map_location="cpu"))
    loaded.eval()
    anchor = torch.from_numpy(draw_face(3, 500))[None, None]
    for person in (3, 4, 5):
        other = torch.from_numpy(draw_face(person, 501)).view(1, 1, 28, 28)
        with torch.no_grad():
            a, b = loaded(anchor, other)
        print("person 3 and person {}: {:.2f}".format(person, F.pairwise_distance(a, b).item()))
