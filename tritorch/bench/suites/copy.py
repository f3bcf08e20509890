"""Copies that are not straight: transposed, channels innermost, joined, of every other column."""

from __future__ import annotations

import math

from tritorch.bench.bandwidth import Op, elements, family
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "elements"
WIDTH, CHANNELS, SIDE = 128, 16, 8  # every count of elements is a multiple of their products


def _one(n):
    return (Input((n,)),)


def _same(n):
    return (n,)


def _halves(lib, x):
    return x.view(-1, 2 * WIDTH)[:, ::2].contiguous()


OPS = (
    Op("clone", lambda lib, x: x.clone(), _one, _same),
    Op("transpose", lambda lib, x: x.view(-1, WIDTH).t().contiguous(), _one, _same),
    Op("channels last", lambda lib, x: x.view(-1, CHANNELS, SIDE, SIDE).permute(0, 2, 3, 1).contiguous(), _one, _same),
    Op("cat", lambda lib, x, y: lib.cat((x.view(-1, WIDTH), y.view(-1, WIDTH)), 1), lambda n: (Input((n,)),) * 2,
       lambda n: (2 * n,)),
    Op("every other", _halves, _one, lambda n: (n // 2,), moved=lambda width, n: n * width),
)  # fmt: skip


def cases(dtypes, quick, small):
    """Every op over counts of elements."""
    return family(OPS, elements(quick, small), dtypes, size=math.prod)
