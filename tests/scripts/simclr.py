"""Contrastive learning (SimCLR, Chen et al. 2020): two views of each digit attract, all others repel; then a probe."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

draw = np.random.default_rng(0)


def view(images):
    """Each image moved by up to a pixel, dimmed, and with a hole."""
    views = torch.empty_like(images)
    for i, image in enumerate(images):
        shift = tuple(int(s) for s in draw.integers(-1, 2, 2))
        views[i] = image.roll(shift, dims=(1, 2)) * float(draw.uniform(0.6, 1.2))
        top, left = draw.integers(0, 7, 2)
        views[i, :, top : top + 2, left : left + 2] = 0
    return views


class Encoder(nn.Module):
    def __init__(self, features=16, projected=8):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Mish(),
            nn.Conv2d(8, features, 3, stride=2, bias=False), nn.BatchNorm2d(features), nn.Mish(),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.projection = nn.Sequential(nn.Linear(features, features), nn.GELU(), nn.Linear(features, projected))

    def forward(self, x):
        h = self.features(x)
        return h, self.projection(h)


def nt_xent(first, second, temperature):
    """The cross-entropy of finding each view's partner among all other views."""
    n = first.shape[0]
    z = F.normalize(torch.cat([first, second], dim=0), dim=1)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    targets = torch.arange(2 * n, device=z.device)
    targets[:n] += n
    targets[n:] -= n
    return F.cross_entropy(similarity, targets)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--temperature", type=float, default=0.2)
    args = parser.parse_args()
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().div_(16).unsqueeze(1)
    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    model = same_weights(Encoder()).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.1, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10)
    for step in range(args.steps):
        batch = images[draw.choice(1500, args.batch, replace=False)]
        both = torch.cat([view(batch), view(batch)]).to(device)
        _, projected = model(both)
        loss = nt_xent(*projected.chunk(2), args.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item(), lr=scheduler.get_last_lr()[0])

    model.eval()
    with torch.no_grad():
        features = np.concatenate([model(part.to(device))[0].cpu().numpy() for part in torch.split(images, 256)])
    probe = LogisticRegression(max_iter=500).fit(features[:1500], digits.target[:1500])
    print("linear probe on the features: {:.3f}".format(probe.score(features[1500:], digits.target[1500:])))


if __name__ == "__main__":
    main()
