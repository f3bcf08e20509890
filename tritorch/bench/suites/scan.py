"""Scans along rows, and of all elements in one row."""

from __future__ import annotations

from tritorch.bench.bandwidth import LONG, Op, columns, family, rows
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "columns"


def _matrix(m, n):
    return (Input((m, n), requires_grad=True),)


def _same(m, n):
    return (m, n)


OPS = (
    Op("cumsum", lambda lib, x: x.cumsum(-1), _matrix, _same, kept=lambda m, n: 0),
    Op("cumsum of columns", lambda lib, x: x.cumsum(0), _matrix, _same),
    Op("cumsum of all", lambda lib, x: x.view(-1).cumsum(0), _matrix, lambda m, n: (m * n,)),
    Op("cummax", lambda lib, x: x.cummax(-1)[0], _matrix, _same,
       moved=lambda width, m, n: m * n * (2 * width + LONG)),
    Op("logcumsumexp", lambda lib, x: lib.logcumsumexp(x, -1), _matrix, _same),
)  # fmt: skip


def cases(dtypes, quick, small):
    """Every scan over lengths of rows."""
    return family(OPS, rows(quick, small), dtypes, size=columns, length=lambda shape: shape[0] * shape[1])
