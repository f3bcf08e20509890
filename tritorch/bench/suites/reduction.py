"""Reductions over rows, over columns and over all, of long and short rows."""

from __future__ import annotations

from tritorch.bench.bandwidth import LONG, Op, columns, family, rows
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "columns"


def matrix(m, n):
    """Rows with a gradient."""
    return (Input((m, n), requires_grad=True),)


def by_row(m, n):
    """A number for each row."""
    return (m,)


def by_column(m, n):
    """A number for each column."""
    return (n,)


def whole(m, n):
    """A gradient that reads all elements."""
    return m * n


OPS = (
    Op("sum of rows", lambda lib, x: x.sum(-1), matrix, by_row),
    Op("sum of columns", lambda lib, x: x.sum(0), matrix, by_column),
    Op("sum of all", lambda lib, x: x.sum(), matrix, lambda m, n: ()),
    Op("amax", lambda lib, x: x.amax(-1), matrix, by_row, kept=whole),
    Op("argmax", lambda lib, x: x.argmax(-1), matrix, by_row, moved=lambda width, m, n: width * m * n + LONG * m),
    Op("var", lambda lib, x: x.var(-1), matrix, by_row, kept=whole),
    Op("norm", lambda lib, x: lib.linalg.vector_norm(x, dim=-1), matrix, by_row, kept=whole),
)


def cases(dtypes, quick, small):
    """Every op over lengths of rows, about as many elements in all."""
    return family(OPS, rows(quick, small), dtypes, size=columns, length=max)
