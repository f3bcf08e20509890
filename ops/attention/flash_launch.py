"""Which calls of attention the kernels in flash.py and flash_backward.py take, and their launches."""

from __future__ import annotations

import math

from tritorch.autotune import cdiv, device_of
from tritorch.ops.attention.flash import flash_kernel
from tritorch.ops.attention.flash_backward import flash_key_kernel, flash_query_kernel
from tritorch.ops.attention.kernels import tiles_of, widths_of
from tritorch.ops.layout import element_strides, empty_like
from tritorch.runtime import dtypes
from tritorch.runtime.specialise import ALIGNMENT, address_of

_CACHED = 32 << 20  # bytes of keys and values, of heads whose programs take turns: most of the cache of a Hopper GPU
_FIRST, _FIRST_PADDING = 80, 90  # capabilities: the latter pads narrow rows as it copies them
_LARGEST_TILE = 128  # rows, in all spaces
_LEAST_SCALE = 2.0**-60  # sums of exponentials are divided by it
_HALF = (dtypes.float16.numpy, dtypes.bfloat16.numpy)


def takes(query, key, value, mask, dropout_p, scale):
    """Whether the kernels take a call: half precision, arrays at multiples of 16 bytes, nothing masks but causality."""
    return (
        mask is None
        and not dropout_p
        and _LEAST_SCALE < scale < math.inf
        and query.dtype in _HALF
        and min(query.size, key.size, value.size) > 0
        and all(map(_is_aligned, (query, key, value)))
        and device_of(query).capability >= _least_capability(query, value)
    )


def _least_capability(query, value):
    return _FIRST if _is_filled(query, value, widths_of(query, value)) else _FIRST_PADDING


def _is_aligned(array):
    """Whether rows have no gaps, all else lies at multiples of 16 bytes, and 32 bits count the elements of a head."""
    _, heads, rows, unit = array.strides
    return (
        unit == array.itemsize
        and min(heads, rows) > 0
        and not any(step % ALIGNMENT for step in (*array.strides[:3], array.shape[3] * unit, address_of(array)))
        and rows * array.shape[2] < 2**31
    )


def _is_filled(query, value, widths):
    """Whether no tile is wider than the rows."""
    return (query.shape[3], value.shape[3]) == (widths["WIDTH"], widths["VALUE_WIDTH"])


def forward(query, key, value, is_causal, scale, out, log_sum):
    """One launch; fills `out` and `log_sum`."""
    widths = widths_of(query, value)
    sizes = _sizes(query, key, value, widths, is_causal)
    config = flash_kernel.config((query, key, value, out, log_sum), **sizes)
    flash_kernel[(tiles_of(query, config["ROWS"]),)](
        query, key, value, out, log_sum, *_counts(query, key, value, is_causal),
        *map(element_strides, (query, key, value, out)), scale,
        CAUSAL=is_causal, EVEN=key.shape[2] % config["COLUMNS"] == 0, FILLED=sizes["FILLED"], **widths, **config,
    )  # fmt: skip


def backward(grad, grad_log_sum, query, key, value, is_causal, scale, output, log_sum, results):
    """Two launches, the first of which leaves two numbers of each row for the second; fills the three results."""
    grad, output = (each if _is_aligned(each) else each.copy() for each in (grad, output))
    by_query, by_key, by_value = results
    widths = widths_of(query, value)
    sizes = _sizes(query, key, value, widths, is_causal)
    constants = {"CAUSAL": is_causal, "FILLED": sizes["FILLED"], **widths}
    padded = cdiv(query.shape[2], _LARGEST_TILE) * _LARGEST_TILE
    begins = [empty_like(log_sum, (*query.shape[:2], padded)) for _ in range(2)]
    arrays = (grad, grad_log_sum, query, key, value, output, log_sum, *begins, by_query)
    config = flash_query_kernel.config(arrays, **sizes)
    flash_query_kernel[(tiles_of(query, config["ROWS"]),)](
        *arrays, *_counts(query, key, value, is_causal), padded,
        *map(element_strides, (grad, query, key, value, output, by_query)), scale,
        EVEN=key.shape[2] % config["COLUMNS"] == 0, **constants, **config,
    )  # fmt: skip
    arrays = (grad, query, key, value, *begins, by_key, by_value)
    config = flash_key_kernel.config(arrays, **sizes)
    flash_key_kernel[(tiles_of(key, config["COLUMNS"]),)](
        *arrays, *_counts(query, key, value, is_causal, by_keys=True), padded,
        *map(element_strides, (grad, query, key, value, by_key, by_value)), scale,
        EVEN=query.shape[2] % config["ROWS"] == 0, GROUPED=sizes["GROUPED"], **constants, **config,
    )  # fmt: skip


def _sizes(query, key, value, widths, is_causal):
    """The sizes and facts that decide the configs of all three kernels."""
    return {
        "length": query.shape[2], "keys": key.shape[2], "width": widths["WIDTH"], "value_width": widths["VALUE_WIDTH"],
        "heads": query.shape[0] * query.shape[1], "CAUSAL": is_causal,
        "GROUPED": query.shape[1] > key.shape[1],
        "FILLED": _is_filled(query, value, widths),
    }  # fmt: skip


def _counts(query, key, value, is_causal, by_keys=False):
    """The numbers that every kernel takes before strides; heads take turns in programs where these differ in work."""
    batch, heads, length, width = query.shape
    group, keys, together = heads // key.shape[1], key.shape[2], 1
    if is_causal:
        rows = group * length if by_keys else keys
        together = max(1, _CACHED // (rows * (width + value.shape[3]) * query.itemsize))
        together *= 1 if by_keys else group
    return batch * (key.shape[1] if by_keys else heads), heads, group, together, length, keys, width, value.shape[3]
