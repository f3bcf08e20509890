"""softmax and log_softmax over rows."""

from __future__ import annotations

from tritorch.bench.bandwidth import Op, columns, family, rows
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "columns"


def _matrix(m, n):
    return (Input((m, n), requires_grad=True),)


def _same(m, n):
    return (m, n)


OPS = (
    Op("softmax", lambda lib, x: lib.softmax(x, -1), _matrix, _same, kept=lambda m, n: m * n),
    Op("log_softmax", lambda lib, x: lib.log_softmax(x, -1), _matrix, _same, kept=lambda m, n: m * n),
)


def cases(dtypes, quick, small):
    """Both over lengths of rows."""
    return family(OPS, rows(quick, small), dtypes, size=columns)
