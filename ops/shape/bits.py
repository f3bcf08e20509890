"""Which arrays can be read as another dtype."""

from __future__ import annotations

from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes


def checked_bits(array, dtype):
    """`dtype`; an array whose rows hold no whole number of its elements is refused."""
    own, ratio = array.itemsize, dtype.itemsize // array.itemsize
    names = [KIND_NAMES[dtypes.of(each).name] for each in (array.dtype, dtype)]
    if dtype.itemsize != own and not array.ndim:
        raise RuntimeError(f"self.dim() cannot be 0 to view {names[0]} as {names[1]} (different element sizes)")
    if ratio > 1 and array.shape[-1] % ratio:
        raise RuntimeError(
            f"self.size(-1) must be divisible by {ratio} to view {names[0]} as {names[1]} (different element sizes), "
            f"but got {array.shape[-1]}"
        )
    return dtype
