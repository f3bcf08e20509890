"""A physics-informed network for Burgers' equation: first and second derivatives by the inputs stand in the loss."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from torch import nn


class MLP(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        layers = []
        for inputs, outputs in zip(sizes[:-1], sizes[1:]):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, t, x):
        return self.layers(torch.cat((t, x), dim=-1))


def derivative(y, x):
    return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]


def residual(u, t, x, viscosity):
    """u_t + u u_x - viscosity u_xx, which is zero where the equation holds."""
    t.requires_grad_()
    x.requires_grad_()
    value = u(t, x)
    u_t, u_x = derivative(value, t), derivative(value, x)
    return u_t + value * u_x - viscosity * derivative(u_x, x)


def column(values):
    return torch.from_numpy(values).float().reshape(-1, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--lbfgs", action="store_true")
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    u = same_weights(MLP(2, 20, 20, 1))
    start = column(np.linspace(-1, 1, 50))
    time = column(draw.uniform(0, 1, 50))
    if args.lbfgs:
        optimizer = torch.optim.LBFGS(u.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe")
    else:
        optimizer = torch.optim.Adam(u.parameters(), lr=2e-3)
    for step in range(args.steps):
        t, x = column(draw.uniform(0, 1, args.points)), column(draw.uniform(-1, 1, args.points))

        def closure():
            optimizer.zero_grad()
            inside = residual(u, t.detach(), x.detach(), 0.01 / torch.pi).square().mean()
            initial = (u(torch.zeros_like(start), start) + torch.sin(torch.pi * start)).pow(2).mean()
            edges = sum(u(time, torch.full_like(time, side)).pow(2).mean() for side in (-1.0, 1.0))
            loss = inside + initial + edges
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        report(step, loss.item())
    grid = torch.linspace(-1, 1, 5).unsqueeze(1)
    with torch.no_grad():
        for moment in (0.0, 0.5):
            print("t =", moment, u(torch.full_like(grid, moment), grid).squeeze().double().numpy().round(3))
