"""A normalizing flow of affine couplings (RealNVP, Dinh et al. 2017) on two moons; it inverts itself exactly."""

import argparse
import math

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from sklearn.datasets import make_moons


class Coupling(nn.Module):
    def __init__(self, mask, hidden=24):
        super().__init__()
        self.register_buffer("mask", mask)
        self.scale = nn.Sequential(nn.Linear(2, hidden), nn.LeakyReLU(), nn.Linear(hidden, 2), nn.Tanh())
        self.shift = nn.Sequential(nn.Linear(2, hidden), nn.LeakyReLU(), nn.Linear(hidden, 2))

    def parts(self, x):
        kept = x * self.mask
        return kept, self.scale(kept) * (1 - self.mask), self.shift(kept) * (1 - self.mask)

    def forward(self, x):
        kept, s, t = self.parts(x)
        return kept + (1 - self.mask) * ((x - t) * torch.exp(-s)), -s.sum(dim=1)

    def inverse(self, z):
        kept, s, t = self.parts(z)
        return kept + (1 - self.mask) * (z * s.exp() + t)


class Flow(nn.Module):
    def __init__(self, layers):
        super().__init__()
        masks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(layers // 2, 1)
        self.layers = nn.ModuleList(Coupling(mask) for mask in masks)
        self.register_buffer("log_norm", torch.as_tensor(math.log(2 * math.pi)), persistent=False)

    def forward(self, x):
        total = x.new_zeros(x.shape[0])
        for layer in reversed(self.layers):
            x, log_det = layer(x)
            total += log_det
        return x, total

    def log_prob(self, x):
        z, log_det = self(x)
        return log_det - 0.5 * z.pow(2).sum(-1) - self.log_norm

    @torch.no_grad()
    def sample(self, z):
        for layer in self.layers:
            z = layer.inverse(z)
        return z


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    points, _ = make_moons(2000, noise=0.05, random_state=0)
    points = ((points - points.mean(0)) / points.std(0)).astype(np.float32)
    flow = same_weights(Flow(4))
    assert "log_norm" not in flow.state_dict() and "layers.0.mask" in flow.state_dict()
    optimizer = torch.optim.RAdam(flow.parameters(), lr=5e-3)
    draw = np.random.default_rng(0)
    for step in range(args.steps):
        x = torch.from_numpy(points[draw.integers(0, len(points), 128)])
        loss = -flow.log_prob(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss.item())
    x = torch.from_numpy(points[:100])
    z, _ = flow(x)
    print("largest error of inverting:", float((flow.sample(z) - x).abs().max()) < 1e-4)
    drawn = flow.sample(torch.tensor(draw.normal(size=(500, 2)), dtype=torch.float32))
    print("covariance of samples:", torch.cov(drawn.T).double().numpy().round(2).tolist())


if __name__ == "__main__":
    main()
