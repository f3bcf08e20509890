"""Normalisation of rows: layer_norm, rms_norm, and layer_norm of a sum that is wanted too."""

from __future__ import annotations

from tritorch.bench.bandwidth import Op, columns, family, rows
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "columns"


def _inputs(m, n):
    return (Input((m, n), requires_grad=True), Input((n,), requires_grad=True), Input((n,), requires_grad=True))


def _with_residual(m, n):
    return (Input((m, n)), Input((m, n)), Input((n,)), Input((n,)))


def _same(m, n):
    return (m, n)


def _kept(m, n):
    return m * n + n + 2 * m  # the input, the weight, and the rows' statistics


def _residual(lib, x, y, weight, bias):
    total = x + y
    return lib.nn.functional.layer_norm(total, weight.shape, weight, bias), total


OPS = (
    Op("layer_norm", lambda lib, x, w, b: lib.nn.functional.layer_norm(x, w.shape, w, b), _inputs, _same, kept=_kept),
    Op("rms_norm", lambda lib, x, w: lib.nn.functional.rms_norm(x, w.shape, w), lambda m, n: _inputs(m, n)[:2], _same,
       kept=_kept),
    Op("residual + layer_norm", _residual, _with_residual, _same,
       moved=lambda width, m, n: width * (4 * m * n + 2 * n)),
)  # fmt: skip


def cases(dtypes, quick, small):
    """All of them over lengths of rows; gradients of weights sum over rows."""
    return family(OPS, rows(quick, small), dtypes, size=columns, length=max)
