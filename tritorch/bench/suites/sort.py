"""Sorts of rows and the largest of rows; counted are elements and results once, though a sort moves them often."""

from __future__ import annotations

from tritorch.bench.bandwidth import LONG, Op, columns, family, rows
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "columns"
FEW = 10


def _matrix(m, n):
    return (Input((m, n), requires_grad=True),)


def _same(m, n):
    return (m, n)


def _all(width, m, n):
    return m * n * (2 * width + LONG)


def _few(width, m, n):
    return m * n * width + m * FEW * (width + LONG)


OPS = (
    Op("sort", lambda lib, x: x.sort(-1)[0], _matrix, _same, moved=_all),
    Op("topk", lambda lib, x: x.topk(FEW, -1)[0], _matrix, lambda m, n: (m, FEW), moved=_few),
    Op("sort of all", lambda lib, x: x.view(-1).sort()[0], _matrix, lambda m, n: (m * n,), moved=_all),
)


def cases(dtypes, quick, small):
    """Every op over lengths of rows."""
    return family(OPS, rows(quick, small), dtypes, size=columns)
