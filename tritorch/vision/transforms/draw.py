"""Random numbers for transforms, from the default generator and always on the host, where they are needed."""

from __future__ import annotations

import tritorch


def uniform(low, high):
    """A number between low and high."""
    return tritorch.empty(1, device="cpu").uniform_(low, high).item()


def chance(p):
    """True with probability p."""
    return tritorch.rand(1, device="cpu").item() < p


def integer(low, high):
    """An integer from low to high - 1."""
    return int(tritorch.randint(low, high, (1,), device="cpu").item())


def order(n):
    """0 to n - 1 in random order."""
    return tritorch.randperm(n, device="cpu").tolist()
