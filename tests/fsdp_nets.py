"""A small net of blocks for tests of fully sharded modules."""

import tritorch as torch
from tritorch import nn
from tritorch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self, width, reentrant=None):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.spare = nn.Linear(3, 3)  # no forward uses it
        self.reentrant = reentrant  # of a checkpoint around its layers, None for none

    def inside(self, input):
        return self.down(torch.nn.functional.gelu(self.up(self.norm(input))))

    def forward(self, input):
        if self.reentrant is None:
            return input + self.inside(input)
        return input + checkpoint(self.inside, input, use_reentrant=self.reentrant)


class Net(nn.Module):
    def __init__(self, reentrant=None):
        super().__init__()
        self.first, self.last = nn.Linear(5, 7), nn.Linear(7, 5, bias=False)
        self.last.weight = nn.Parameter(self.first.weight.detach().t().clone())
        self.blocks = nn.Sequential(*[Block(7, reentrant) for _ in range(3)])
        self.register_buffer("scale", torch.ones(1))

    def forward(self, input):
        return self.last(self.blocks(self.first(input))) * self.scale


def made(reentrant=None):
    torch.manual_seed(3)
    return Net(reentrant)
