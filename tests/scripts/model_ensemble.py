"""An ensemble of networks trained at once: stacked parameters, one vmap over the models, bootstrapped batches.

At the end the spread of the members, and the curvature of one of them along its input, by jacrev and hessian.
"""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from torch import nn
from torch.func import functional_call, hessian, jacrev, stack_module_state, vmap

draw = np.random.default_rng(3)


def make(seed):
    return same_weights(nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.LayerNorm(32), nn.Linear(32, 1)), seed)


def batch(models, count):
    """For each model a sample of its own of a noisy sine."""
    x = draw.uniform(-3, 3, (models, count, 1))
    y = np.sin(2 * x) + 0.1 * draw.standard_normal(x.shape)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--samples", type=int, default=64)
    args = parser.parse_args()

    members = [make(seed) for seed in range(args.models)]
    parameters, buffers = stack_module_state(members)
    base = members[0]

    def predict(parameters, buffers, x):
        return functional_call(base, (parameters, buffers), (x,))

    optimizer = torch.optim.Adam(parameters.values(), lr=3e-2)
    for step in range(args.steps):
        x, y = batch(args.models, args.samples)
        errors = (vmap(predict)(parameters, buffers, x) - y).pow(2).mean(dim=(1, 2))
        optimizer.zero_grad()
        errors.sum().backward()
        optimizer.step()
        report(step, errors.mean().item(), worst=errors.max().item())

    grid = torch.linspace(-3, 3, 7).unsqueeze(1)
    with torch.no_grad():
        everyone = vmap(predict, in_dims=(0, 0, None))(parameters, buffers, grid)
    print("mean  ", [f"{v:+.2f}" for v in everyone.mean(0).squeeze(1).tolist()])
    print("spread", [f"{v:.2f}" for v in everyone.std(0).squeeze(1).tolist()])
    one = {name: p[0].detach() for name, p in parameters.items()}

    def at(point):
        return predict(one, {}, point.unsqueeze(0)).squeeze()

    slopes = vmap(jacrev(at))(grid).squeeze(1)
    curvature = vmap(hessian(at))(grid).reshape(-1)
    report(args.steps, slopes.abs().mean(), curvature=curvature.abs().mean())


if __name__ == "__main__":
    main()
