"""Channels of several groups, mixed."""

from __future__ import annotations

from tritorch.nn import functional as F
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.utils import listed

__all__ = ["ChannelShuffle"]


class ChannelShuffle(Module):
    """Channels (g, C / g) of (*, C, H, W) read as (C / g, g). Source: Zhang et al., ShuffleNet, 2017."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, input):
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self):
        return listed(self, ("groups",))
