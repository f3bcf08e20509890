"""Losses: cross entropy over long and short rows, losses of elements, and a linear layer with its cross entropy."""

from __future__ import annotations

from functools import partial

from tritorch.bench.bandwidth import LONG, Op, columns, family, rows
from tritorch.bench.case import Case, Input, work_of

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "columns"
HEADS, QUICK_HEADS, SMALL_HEADS = ((8192, 768, 50304), (4096, 4096, 128256)), ((4096, 768, 50304),), ((64, 32, 500),)


def _scalar(m, n):
    return ()


def _classes(m, n):
    return Input((m, n), requires_grad=True), Input((m,), below=n)


def _pair(m, n):
    return Input((m, n), requires_grad=True), Input((m, n))


OPS = (
    Op("cross_entropy", lambda lib, x, y: lib.nn.functional.cross_entropy(x, y), _classes, _scalar,
       kept=lambda m, n: m * n, moved=lambda width, m, n: width * m * n + LONG * m),
    Op("mse_loss", lambda lib, x, y: lib.nn.functional.mse_loss(x, y), _pair, _scalar, kept=lambda m, n: 2 * m * n),
    Op("bce_with_logits", lambda lib, x, y: lib.nn.functional.binary_cross_entropy_with_logits(x, y),
       _pair, _scalar, kept=lambda m, n: 2 * m * n),
)  # fmt: skip


def cases(dtypes, quick, small):
    """Every loss, then heads of language models, forward with backward."""
    yield from family(OPS, rows(quick, small), dtypes, size=columns, length=max)
    for dtype in dtypes:
        for shape in SMALL_HEADS if small else QUICK_HEADS if quick else HEADS:
            yield head(shape, dtype)


def head(shape, dtype):
    """A linear layer to as many scores as there are words, and its cross entropy, with both gradients."""
    tokens, width, words = shape
    return Case(
        name=f"linear + cross_entropy {tokens}x{width}x{words}",
        dtype=dtype,
        inputs=(
            Input((tokens, width), requires_grad=True),
            Input((words, width), width**-0.5, requires_grad=True),
            Input((tokens,), below=words),
        ),
        step=_head,
        work=work_of(6 * tokens * width * words, 2 * (tokens + words) * width, dtype),
        length=words,
        unit="TFLOP/s",
        gives_gradients=True,
        compiles=True,
    )


def _head(lib, x, weight, classes, wrap=None):
    def plain(x, weight):
        return lib.nn.functional.cross_entropy(lib.nn.functional.linear(x, weight), classes)

    fused = getattr(lib.nn.functional, "linear_cross_entropy", None)  # which has the weight in the same place
    loss = plain if fused is None else partial(_fused, fused, classes)
    loss = loss if wrap is None else wrap(loss)
    return lambda: lib.autograd.grad(loss(x, weight), (x, weight))


def _fused(function, classes, x, weight):
    return function(x, weight, classes)
