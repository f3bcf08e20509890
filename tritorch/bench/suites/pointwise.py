"""Pointwise ops: contiguous, broadcast, transposed, cast, and a chain of three that a compiler makes one."""

from __future__ import annotations

import math

from tritorch.bench.bandwidth import Op, elements, family
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "elements"
WIDTH = 1024  # of rows, where rows matter: every count of elements is a multiple of it


def same(n):
    """The result has the input's shape."""
    return (n,)


def one(n):
    """A tensor with a gradient."""
    return (Input((n,), requires_grad=True),)


def two(n):
    """Two of them."""
    return one(n) * 2


def _cast(lib, x):
    return x.to(lib.bfloat16 if x.dtype == lib.float32 else lib.float32)


def _transposed(lib, x, y):
    return x.view(-1, WIDTH).t() + y.view(WIDTH, -1)


OPS = (
    Op("add", lambda lib, x, y: x + y, two, same),
    Op("mul", lambda lib, x, y: x * y, two, same, kept=lambda n: 2 * n),
    Op("relu", lambda lib, x: lib.relu(x), one, same, kept=lambda n: n),
    Op("gelu", lambda lib, x: lib.nn.functional.gelu(x), one, same, kept=lambda n: n),
    Op("silu", lambda lib, x: lib.nn.functional.silu(x), one, same, kept=lambda n: n),
    Op("exp", lambda lib, x: lib.exp(x), one, same, kept=lambda n: n),
    Op("where", lambda lib, x, y: lib.where(x > y, x, y), two, same),
    Op("row bias", lambda lib, x, b: x.view(-1, WIDTH) + b, lambda n: (Input((n,)), Input((WIDTH,))), same),
    Op("transposed add", _transposed, two, same),
    Op("cast", _cast, one, same, moved=lambda width, n: n * (width + (2 if width == 4 else 4))),
    Op("chain of 3", lambda lib, x, y: lib.relu(x * y + x), two, same),
)


def cases(dtypes, quick, small):
    """Every op over counts of elements."""
    return family(OPS, elements(quick, small), dtypes, size=math.prod, length=lambda shape: 1)
