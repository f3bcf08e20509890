"""Scaled dot-product attention, forward and backward, against the fastest backend that the other library has."""

from __future__ import annotations

import importlib
import inspect
import itertools
from functools import partial

from tritorch.bench.case import Case, Input, work_of

DTYPES = ("bfloat16", "float16", "float32")

WIDTHS = (64, 128)
FULL, QUICK, SMALL = (2048, 4096, 8192, 16384), (2048,), (64, 128)
TOKENS, CHANNELS = 16384, 2048  # of a batch, and of all heads
# One query for each sequence, as while a text is generated: batch, heads, heads of keys, keys, width.
DECODING = ((32, 32, 8, 8192, 128), (1, 32, 8, 16384, 128), (8, 16, 16, 4096, 64))
SHARED = ((4, 32, 8, 4096, 128),)  # heads that share keys: batch, heads, heads of keys, length, width
PACKED = ((32, 1024, 16, 128),)  # sequences of unlike lengths, the longest of them, heads, width
TINY, TINY_PACKED = ((2, 4, 2, 300, 16),), ((4, 128, 2, 16),)


def cases(dtypes, quick, small):
    """Every length, width of a head, causal and full, forward and backward; decoding, shared keys, packed sequences."""
    for dtype in dtypes:
        yield from _plain(dtype, quick, small)
        for shape in TINY if small else DECODING[:1] if quick else DECODING:
            yield decoding_case(shape, dtype)
        for shape, backward in itertools.product(TINY if small else SHARED, (False, True)):
            yield shared_case(shape, backward, dtype)
        for shape, backward in itertools.product(TINY_PACKED if small else PACKED, (False, True)):
            if dtype != "float32":  # which the other library has not
                yield packed_case(shape, backward, dtype)


def _plain(dtype, quick, small):
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


def decoding_case(shape, dtype):
    """One query for each sequence; keys and values are read once."""
    batch, heads, shared, keys, width = shape
    return Case(
        name=f"decode forward D={width} keys={keys} batch={batch} heads={heads}/{shared}",
        dtype=dtype,
        inputs=(Input((batch, heads, 1, width)), *(Input((batch, shared, keys, width)),) * 2),
        step=partial(_forward, False),
        work=work_of(4 * batch * heads * keys * width, 2 * batch * shared * keys * width, dtype),
        length=keys,
        unit="GB/s",
        choices=all_backends,
    )


def shared_case(shape, backward, dtype):
    """Causal attention of heads that share keys and values."""
    batch, heads, shared, length, width = shape
    elements = 2 * batch * (heads + shared) * length * width
    return Case(
        name=f"shared keys {'backward' if backward else 'forward'} D={width} length={length} batch={batch} "
        f"heads={heads}/{shared}",
        dtype=dtype,
        inputs=(
            Input((batch, heads, length, width), requires_grad=backward),
            *(Input((batch, shared, length, width), requires_grad=backward),) * 2,
            *(Input((batch, heads, length, width)),) * backward,
        ),
        step=partial(_backward if backward else _forward, True),
        work=work_of((5 if backward else 2) * batch * heads * length**2 * width, (1 + backward) * elements, dtype),
        length=length,
        unit="TFLOP/s",
        gives_gradients=backward,
        choices=all_backends,
    )


def packed_case(shape, backward, dtype):
    """Causal attention within sequences of unlike lengths, one after another."""
    count, longest, heads, width = shape
    lengths = lengths_of(count, longest)
    tokens, squares = sum(lengths), sum(each * each for each in lengths)
    whole = Input((tokens, heads, width), requires_grad=backward)
    return Case(
        name=f"packed {'backward' if backward else 'forward'} D={width} lengths={min(lengths)}..{max(lengths)} "
        f"tokens={tokens} heads={heads}",
        dtype=dtype,
        inputs=(whole,) * 3 + (Input((tokens, heads, width)),) * backward,
        step=partial(_packed_backward if backward else _packed_forward, lengths),
        work=work_of(
            (5 if backward else 2) * squares * heads * width, (8 if backward else 4) * tokens * heads * width, dtype
        ),
        length=max(lengths),
        unit="TFLOP/s",
        gives_gradients=backward,
        needs_gpu=True,  # the other library has it nowhere else
    )


def lengths_of(count, longest):
    """Lengths of `count` sequences, from 64 tokens to `longest` and in no order."""
    return [64 + (longest - 64) * (7 * number % count) // max(count - 1, 1) for number in range(count)]


def all_backends(lib):
    """Those in linear memory, and the one that makes all weights: it alone has float32 with shared keys."""
    kind = lib.nn.attention.SDPBackend.MATH
    return {**backends(lib), kind.name: partial(lib.nn.attention.sdpa_kernel, kind)}


def backends(lib):
    """A context for each implementation in linear memory that may be chosen."""
    kinds = lib.nn.attention.SDPBackend
    named = (kinds.FLASH_ATTENTION, kinds.CUDNN_ATTENTION, kinds.EFFICIENT_ATTENTION)
    return {kind.name: partial(lib.nn.attention.sdpa_kernel, kind) for kind in named}


def _attend(causal, lib, query, key, value):
    grouped = query.shape[-3] != key.shape[-3]
    return lib.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=grouped)


def _forward(causal, lib, query, key, value):
    return lambda: _attend(causal, lib, query, key, value)


def _backward(causal, lib, query, key, value, grad):
    out = _attend(causal, lib, query, key, value)
    return lambda: lib.autograd.grad(out, (query, key, value), grad, retain_graph=True)


def _packed_forward(lengths, lib, query, key, value):
    attend = importlib.import_module(f"{lib.nn.attention.__name__}.varlen").varlen_attn
    starts = lib.tensor([0, *itertools.accumulate(lengths)], dtype=lib.int32, device=query.device)
    windows = "window_size" in inspect.signature(attend).parameters  # older releases of PyTorch say it otherwise
    causal = {"window_size": (-1, 0)} if windows else {"is_causal": True}
    return lambda: attend(query, key, value, starts, starts, max(lengths), max(lengths), **causal)


def _packed_backward(lengths, lib, query, key, value, grad):
    out = _packed_forward(lengths, lib, query, key, value)()
    return lambda: lib.autograd.grad(out, (query, key, value), grad, retain_graph=True)
