"""Dimensions and sizes as people give them: negative, as numbers or one sequence, checked in PyTorch's words."""

from __future__ import annotations

from operator import index as as_int


def wrap_dim(dim, ndim):
    """`dim` counted from the front; a tensor without dimensions takes 0 and -1."""
    count = ndim or 1
    if type(dim) is not int:
        dim = as_int(dim)
    if not -count <= dim < count:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-count}, {count - 1}], but got {dim})")
    return dim + count if dim < 0 else dim


def wrap_dims(dims, ndim):
    """One dimension or several, counted from the front, none of them twice."""
    dims = tuple([wrap_dim(dim, ndim) for dim in dims]) if isinstance(dims, (tuple, list)) else (wrap_dim(dims, ndim),)
    if len(set(dims)) != len(dims):
        double = next(dim for dim in dims if dims.count(dim) > 1)
        raise RuntimeError(f"dim {double} appears multiple times in the list of dims")
    return dims


def as_sizes(sizes):
    """Sizes given as separate numbers, f(2, 3), or as one sequence, f((2, 3)), as a tuple of ints."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = sizes[0]
    return tuple([size if type(size) is int else as_int(size) for size in sizes])
