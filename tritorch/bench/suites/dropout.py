"""Dropout, forward and backward: numbers are drawn as elements are read."""

from __future__ import annotations

import math

from tritorch.bench.bandwidth import Op, elements, family
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "elements"
SHARE = 0.5


def _share(x):
    """The share of zeros, roughly: which they are is each library's own."""
    return ((x == 0).float().mean() * 10).round()


def _reduced(found):
    return _share(found[0] if isinstance(found, tuple) else found)


OPS = (
    Op("dropout", lambda lib, x: lib.nn.functional.dropout(x, SHARE), lambda n: (Input((n,), requires_grad=True),),
       lambda n: (n,), kept=lambda n: 0, reduced=_reduced),
)  # fmt: skip


def cases(dtypes, quick, small):
    """Over counts of elements."""
    return family(OPS, elements(quick, small), dtypes, size=math.prod)
