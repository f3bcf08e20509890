"""Own datasets, samplers and collate functions with worker processes: sets of points of any size are summed up."""

import argparse
import math

import numpy as np
import torch
from alike import report, same_weights
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, get_worker_info
from torch.utils.data.sampler import Sampler


class PointSets(Dataset):
    """Sets of points on a circle or in a square; the target is how far they reach."""

    def __init__(self, kind, count, transform=None):
        self.kind, self.count, self.transform = kind, count, transform

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        draw = np.random.default_rng([index, len(self.kind)])
        size = int(draw.integers(3, 12))
        radius = draw.uniform(0.5, 2)
        if self.kind == "circle":
            angle = draw.uniform(0, 2 * np.pi, size)
            points = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        else:
            points = draw.uniform(-radius, radius, (size, 2))
        sample = {"points": points.astype(np.float32), "target": float(abs(points).max()), "name": self.kind}
        return self.transform(sample) if self.transform else sample


class ToTensor(object):
    def __call__(self, sample):
        return {**sample, "points": torch.from_numpy(sample["points"])}


class Rotate(object):
    def __init__(self, degrees):
        angle = math.radians(degrees)
        self.matrix = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def __call__(self, sample):
        return {**sample, "points": sample["points"] @ self.matrix}


class Compose:
    def __init__(self, *transforms):
        self.transforms = transforms

    def __call__(self, sample):
        for transform in self.transforms:
            sample = transform(sample)
        return sample


class Alternate(Sampler):
    """One index of the first dataset, one of the second, and so on."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __iter__(self):
        for index in range(min(self.sizes)):
            yield index
            yield self.sizes[0] + index

    def __len__(self):
        return 2 * min(self.sizes)


def collate(samples):
    """Pads sets to the largest, with a mask of what is real."""
    longest = max(len(sample["points"]) for sample in samples)
    points, mask = torch.zeros(len(samples), longest, 2), torch.zeros(len(samples), longest, dtype=torch.bool)
    for row, sample in enumerate(samples):
        points[row, : len(sample["points"])] = sample["points"]
        mask[row, : len(sample["points"])] = True
    return points, mask, torch.tensor([s["target"] for s in samples]), [s["name"] for s in samples]


class Stream(IterableDataset):
    """Numbers shared out among the workers."""

    def __iter__(self):
        info = get_worker_info()
        first, stride = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, 10, stride))


class DeepSets(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width))
        self.rho = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, points, mask):
        h = self.phi(points)
        mean = (h * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        most = h.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
        return self.rho(torch.cat([mean, most], dim=-1)).squeeze(-1)


def seed_worker(worker_id):
    np.random.seed(torch.initial_seed() % 2**32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    transform = Compose(ToTensor(), Rotate(90))
    parts = [PointSets(kind, 8 * args.steps, transform) for kind in ("circle", "square")]
    loader = DataLoader(ConcatDataset(parts), batch_size=16, sampler=Alternate([len(part) for part in parts]),
                        num_workers=args.workers, collate_fn=collate, worker_init_fn=seed_worker,
                        prefetch_factor=2 if args.workers else None, pin_memory=torch.cuda.is_available())  # fmt: skip
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = same_weights(DeepSets()).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    criterion = nn.HuberLoss(delta=0.5)
    for step, (points, mask, target, names) in enumerate(loader):
        optimizer.zero_grad()
        loss = criterion(model(points.to(device), mask.to(device)), target.to(device))
        loss.backward()
        optimizer.step()
        report(step, loss.item())
        assert names[:2] == ["circle", "square"]
    stream = DataLoader(Stream(), batch_size=4, num_workers=args.workers)
    print("numbers of all workers:", sorted(torch.cat(list(stream)).tolist()))
