"""Scaled dot-product attention, forward and backward, against the fastest backend that the other library has."""

from __future__ import annotations

from functools import partial

from tritorch.bench.case import Case, Input, work_of

DTYPES = ("bfloat16", "float16", "float32")

WIDTHS = (64, 128)
FULL, QUICK, SMALL = (2048, 4096, 8192, 16384), (2048,), (64, 128)
TOKENS, CHANNELS = 16384, 2048  # of a batch, and of all heads


def cases(dtypes, quick, small):
    """Every length, width of a head, causal and full, forward and backward."""
    for dtype in dtypes:
        for length in (SMALL[:1] if quick else SMALL) if small else QUICK if quick else FULL:
            for width in WIDTHS:
                batch, heads = (1, 2) if small else (TOKENS // length, CHANNELS // width)
                for causal in (True, False):
                    for backward in (False, True):
                        yield case((batch, heads, length, width), causal, backward, dtype)


def case(shape, causal, backward, dtype):
    """One of them; queries, keys and values of one shape."""
    batch, heads, length, width = shape
    product = 2 * batch * heads * length * length * width / (2 if causal else 1)
    elements = batch * heads * length * width
    return Case(
        name=f"{'causal' if causal else 'full'} {'backward' if backward else 'forward'} D={width} length={length} "
        f"batch={batch} heads={heads}",
        dtype=dtype,
        inputs=(Input(shape, requires_grad=backward),) * 3 + (Input(shape),) * backward,
        step=partial(_backward if backward else _forward, causal),
        work=work_of((5 if backward else 2) * product, (8 if backward else 4) * elements, dtype),
        length=length,
        unit="TFLOP/s",
        gives_gradients=backward,
        choices=backends,
    )


def backends(lib):
    """A context for each implementation in linear memory that may be chosen."""
    kinds = lib.nn.attention.SDPBackend
    named = (kinds.FLASH_ATTENTION, kinds.CUDNN_ATTENTION, kinds.EFFICIENT_ATTENTION)
    return {kind.name: partial(lib.nn.attention.sdpa_kernel, kind) for kind in named}


def _forward(causal, lib, query, key, value):
    return lambda: lib.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)


def _backward(causal, lib, query, key, value, grad):
    out = lib.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return lambda: lib.autograd.grad(out, (query, key, value), grad, retain_graph=True)
