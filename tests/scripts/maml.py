"""MAML (Finn et al. 2017) on sinusoids: the outer gradient goes through inner steps, so it needs second derivatives."""

import argparse
from collections import OrderedDict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights

draw = np.random.default_rng(1)


class Sine:
    def __init__(self):
        self.amplitude, self.phase = draw.uniform(0.1, 5.0), draw.uniform(0, np.pi)

    def sample(self, shots):
        x = draw.uniform(-5, 5, (shots, 1))
        y = self.amplitude * np.sin(x + self.phase)
        return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)


class Regressor(nn.Module):
    def __init__(self, hidden=24):
        super().__init__()
        self.hidden1 = nn.Linear(1, hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x, params=None):
        params = params or OrderedDict(self.named_parameters())
        x = torch.tanh(F.linear(x, params["hidden1.weight"], params["hidden1.bias"]))
        x = torch.tanh(F.linear(x, params["hidden2.weight"], params["hidden2.bias"]))
        return F.linear(x, params["out.weight"], bias=params["out.bias"])


def adapt(model, x, y, lr, steps, first_order):
    """The parameters after some steps of gradient descent, still functions of the model's own."""
    params = OrderedDict(model.named_parameters())
    for _ in range(steps):
        loss = F.mse_loss(model(x, params), y)
        grads = torch.autograd.grad(loss, params.values(), create_graph=not first_order)
        params = OrderedDict((name, p - lr * g) for (name, p), g in zip(params.items(), grads))
    return params


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--inner-lr", type=float, default=0.02)
    parser.add_argument("--inner-steps", type=int, default=2)
    parser.add_argument("--first-order", action="store_true")
    args = parser.parse_args()
    model = same_weights(Regressor())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(args.steps):
        outer = 0.0
        for _ in range(args.tasks):
            task = Sine()
            x, y = task.sample(args.shots)
            params = adapt(model, x, y, args.inner_lr, args.inner_steps, args.first_order)
            x, y = task.sample(args.shots)
            outer = outer + F.mse_loss(model(x, params), y)
        outer = outer / args.tasks
        optimizer.zero_grad()
        outer.backward()
        optimizer.step()
        report(step, outer.item())
    task = Sine()
    x, y = task.sample(args.shots)
    for steps in (0, 1, 5):
        params = adapt(model, x, y, args.inner_lr, steps, first_order=True)
        print("after", steps, "inner steps:", round(F.mse_loss(model(x, params), y).item(), 3))


if __name__ == "__main__":
    main()
