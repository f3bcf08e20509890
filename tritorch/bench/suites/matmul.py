"""Matrix products: square, skinny, transposed, batched, and linear layers with bias."""

from __future__ import annotations

import math

from tritorch.bench.case import Case, Input, work_of

DTYPES = ("bfloat16", "float16", "float32", "tf32")

# (batch, rows, columns, inner): products of at least 2048 a side, skinny ones, and stacks of them
FULL = ((2048,) * 3, (4096,) * 3, (8192,) * 3, (64, 4096, 4096), (256, 8192, 8192), (4096, 64, 4096), (128, 128, 16384),
        (32, 512, 512, 512), (128, 1024, 1024, 64))  # fmt: skip
QUICK = ((2048,) * 3, (64, 4096, 4096), (16, 512, 512, 512))
SMALL = ((64,) * 3, (256,) * 3, (16, 128, 128), (4, 64, 64, 64))

# (rows, outputs, inputs) of layers
FULL_LAYERS = ((8192, 4096, 4096), (16384, 3072, 768))
QUICK_LAYERS = ((4096, 1024, 1024),)
SMALL_LAYERS = ((64, 128, 128),)


def cases(dtypes, quick, small):
    """Every shape in every dtype."""
    shapes, layers = (SMALL, SMALL_LAYERS) if small else (QUICK, QUICK_LAYERS) if quick else (FULL, FULL_LAYERS)
    for dtype in dtypes:
        for shape in shapes[:2] if small and quick else shapes:
            yield product(shape, dtype)
        yield product(shapes[1], dtype, turned=True)
        for shape in layers:
            yield layer(shape, dtype)


def product(shape, dtype, turned=False):
    """a @ b, or a @ b^T of a transposed view."""
    *batch, m, n, k = shape
    count = math.prod(batch)
    name = "x".join(map(str, shape)) + (" transposed" if turned else "")
    right = (*batch, n, k) if turned else (*batch, k, n)
    return Case(
        name=name,
        dtype=dtype,
        inputs=(Input((*batch, m, k)), Input(right)),
        step=_turned_product if turned else _product,
        work=work_of(2 * count * m * n * k, count * (m * k + k * n + m * n), dtype),
        length=k,
        unit="TFLOP/s",
    )


def layer(shape, dtype):
    """x @ w^T + b."""
    m, n, k = shape
    return Case(
        name=f"linear {m}x{n}x{k} with bias",
        dtype=dtype,
        inputs=(Input((m, k)), Input((n, k)), Input((n,))),
        step=_linear,
        work=work_of(2 * m * n * k, m * k + k * n + m * n + n, dtype),
        length=k,
        unit="TFLOP/s",
    )


def _product(lib, a, b):
    return lambda: a @ b


def _turned_product(lib, a, b):
    return lambda: a @ b.mT


def _linear(lib, x, weight, bias):
    return lambda: lib.nn.functional.linear(x, weight, bias)
