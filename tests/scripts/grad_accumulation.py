"""Gradients gathered over small batches, checkpointed blocks, spectral and weight norm, and averaged weights (SWA)."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report
from sklearn.datasets import load_digits
from torch.optim.swa_utils import SWALR, AveragedModel
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.RMSNorm(width), nn.Linear(width, width))

    def forward(self, x):
        return x + self.net(x)


class Net(nn.Module):
    def __init__(self, width=32, blocks=2):
        super().__init__()
        self.inputs = nn.Linear(64, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(blocks)])
        self.outputs = nn.Linear(width, 10)

    def forward(self, x):
        x = self.inputs(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.training else block(x)
        return self.outputs(x)


def fill(model, seed=0):
    """Weights from NumPy through a state dict, as one ported from another library would come."""
    draw = np.random.default_rng(seed)
    state = model.state_dict()
    for name, value in state.items():
        fan_in = value.shape[-1]
        state[name] = torch.tensor(draw.normal(0, fan_in**-0.5, tuple(value.shape)), dtype=value.dtype)
    missing, unexpected = model.load_state_dict(state, strict=True)
    assert not missing and not unexpected


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20, help="updates")
parser.add_argument("--accumulate", type=int, default=4)
parser.add_argument("--micro-batch", type=int, default=16)
args = parser.parse_args()

images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.float) / 16, torch.tensor(labels)
model = Net()
fill(model)
norms = []
handle = model.outputs.register_forward_hook(lambda module, inputs, output: norms.append(inputs[0].norm().item()))
optimizer = torch.optim.ASGD(model.parameters(), lr=0.3, t0=5)
averaged = AveragedModel(model)
swa = SWALR(optimizer, swa_lr=0.1, anneal_epochs=3)
at = 0
for step in range(args.steps):
    total = 0.0
    for _ in range(args.accumulate):
        start = at % 1500
        inputs, targets = x[start : start + args.micro_batch], y[start : start + args.micro_batch]
        at += args.micro_batch
        loss = F.multi_margin_loss(model(inputs), targets) / args.accumulate
        loss.backward()
        total += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    if step >= args.steps // 2:
        averaged.update_parameters(model)
        swa.step()
    report(step, total)
handle.remove()
print("hooks saw", len(norms), "batches; averaged", averaged.n_averaged.item(), "models")
model.eval()
averaged.eval()
with torch.no_grad():
    for name, net in (("last", model), ("average", averaged)):
        print(name, "accuracy", round((net(x[1500:]).argmax(1) == y[1500:]).double().mean().item(), 3))
