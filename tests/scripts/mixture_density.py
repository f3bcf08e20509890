"""A mixture density network (Bishop 1994): several answers to one question, as a mixture of Gaussians."""

import argparse
import math

import numpy as np
import torch
from alike import report, same_weights
from torch import nn


class MDN(nn.Module):
    def __init__(self, hidden=20, gaussians=5):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(1, hidden), nn.Tanh())
        self.pi = nn.Sequential(nn.Linear(hidden, gaussians), nn.Softmax(dim=1))
        self.mu = nn.Linear(hidden, gaussians)
        self.sigma = nn.Linear(hidden, gaussians)

    def forward(self, x):
        h = self.trunk(x)
        return self.pi(h), self.mu(h), torch.exp(self.sigma(h))


def mdn_loss(pi, mu, sigma, y):
    log_density = -0.5 * ((y.expand_as(mu) - mu) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_density + torch.log(pi), dim=1).mean()


def sample(pi, mu, sigma, draw):
    """One draw for each row, by the inverse of the cumulative weights."""
    choice = (pi.cumsum(dim=1) < torch.from_numpy(draw.random((len(pi), 1)))).sum(1, keepdim=True)
    choice = choice.clamp_max(pi.size(1) - 1)
    noise = torch.from_numpy(draw.standard_normal((len(pi), 1))).to(mu.dtype)
    return torch.gather(mu, 1, choice) + noise * sigma.gather(1, choice)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    opt = parser.parse_args()
    draw = np.random.default_rng(0)
    y = draw.uniform(-10, 10, (300, 1))
    x = 7 * np.sin(0.75 * y) + 0.5 * y + draw.normal(size=y.shape)
    x, y = torch.tensor(x).float(), torch.tensor(y).to(torch.float32)
    mean, spread = x.mean(), x.std()
    x = (x - mean) / spread

    model = same_weights(MDN())
    optimizer = torch.optim.Rprop(model.parameters(), lr=0.01)
    for step in range(opt.steps):
        loss = mdn_loss(*model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss.item())
    with torch.no_grad():
        at = ((torch.zeros(2000, 1) - mean) / spread).contiguous()
        drawn = sample(*model(at), draw)
        counts = torch.histc(drawn, bins=10, min=-10, max=10)
    print("answers at 0:", counts.int().tolist())
    print(
        "quartiles:", [round(v, 2) for v in torch.quantile(drawn.flatten(), torch.tensor([0.25, 0.5, 0.75])).tolist()]
    )
