"""A temporal convolutional network with weight norm, squeeze-and-excitation, and a neural ODE by Runge-Kutta."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from torch.nn.utils.parametrizations import weight_norm


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super(Chomp1d, self).__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_inputs, n_outputs, kernel_size, dilation, dropout=0.0):
        super(TemporalBlock, self).__init__()
        padding = (kernel_size - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(n_inputs, n_outputs, kernel_size, padding=padding, dilation=dilation))
        self.net = nn.Sequential(self.conv1, Chomp1d(padding), nn.ReLU(), nn.Dropout(dropout))
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None
        self.relu = nn.ReLU()

    def forward(self, x):
        res = x if self.downsample is None else self.downsample(x)
        return self.relu(self.net(x) + res)


class SELayer(nn.Module):
    def __init__(self, channel, reduction=4):
        super(SELayer, self).__init__()
        self.avg_pool = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False), nn.ReLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x):
        b, c, _ = x.size()
        return x * self.fc(self.avg_pool(x).view(b, c)).view(b, c, 1).expand_as(x)


class ODEFunc(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim + 1, 16), nn.Softplus(beta=2), nn.Linear(16, dim))

    def forward(self, t, y):
        return self.net(torch.cat([y, torch.ones_like(y[:, :1]) * t], 1))


def odeint(func, y, t):
    for start, end in zip(t[:-1], t[1:]):
        h = end - start
        k1 = func(start, y)
        k2 = func(start + h / 2, y + h / 2 * k1)
        k3 = func(start + h / 2, y + h / 2 * k2)
        k4 = func(end, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [TemporalBlock(1 if i == 0 else 8, 8, 3, 2**i) for i in range(3)]
        self.tcn, self.se = nn.Sequential(*layers), SELayer(8)
        self.ode, self.out = ODEFunc(8), nn.Linear(8, 1)

    def forward(self, x):
        y = self.se(self.tcn(x))[:, :, -1]
        return self.out(odeint(self.ode, y, torch.linspace(0, 1, 3))).squeeze(-1)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30)
args = parser.parse_args()
draw = np.random.default_rng(0)
model = same_weights(Model())
print([name for name, _ in model.tcn[0].named_parameters()])
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.steps, eta_min=1e-4)
for step in range(args.steps):
    x = torch.from_numpy(draw.uniform(-1, 1, (16, 1, 20)).astype(np.float32))
    target = x[:, 0, -6] * x[:, 0, -2]
    loss = torch.mean(torch.log(torch.cosh(model(x) - target)))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5, norm_type=2.0)
    optimizer.step()
    scheduler.step()
    report(step, loss.item())
