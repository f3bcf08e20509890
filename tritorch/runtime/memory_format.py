"""The names PyTorch has for how the elements of a tensor lie in memory.

Functions take one as `memory_format` and give the same elements whichever it is: how results lie is ours to choose.
Dense tensors are of the layout `strided`, sparse ones of `sparse_coo`; of the others there are none.
"""

from __future__ import annotations


class _Named:
    """Something that is only its name, of which there is one each."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"torch.{self.name}"

    def __reduce__(self):
        return self.name


class memory_format(_Named):
    """One of PyTorch's memory formats."""

    __slots__ = ()


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")


class layout(_Named):
    """One of PyTorch's layouts."""

    __slots__ = ()


strided = layout("strided")
sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc = (
    layout(f"sparse_{each}") for each in ("coo", "csr", "csc", "bsr", "bsc")
)
