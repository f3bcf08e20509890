"""Which calls of attention the kernels in flash.py and flash_backward.py take, and their launches."""

from __future__ import annotations

import math

from tritorch.autotune import cdiv, device_of, next_power_of_2
from tritorch.ops.attention.flash import flash_kernel
from tritorch.ops.attention.flash_backward import flash_key_kernel, flash_query_kernel
from tritorch.ops.attention.flash_slopes import flash_begin_kernel, flash_product_kernel
from tritorch.ops.attention.flash_tiles import PANEL
from tritorch.ops.attention.kernels import tiles_of, widths_of
from tritorch.ops.layout import element_strides, empty_like
from tritorch.runtime import dtypes
from tritorch.runtime.specialise import ALIGNMENT, address_of

_CACHED = 32 << 20  # bytes of keys and values, of heads whose programs take turns: most of the cache of a Hopper GPU
_FIRST, _FIRST_PADDING = 80, 90  # capabilities: the latter pads narrow rows as it copies them
MOST_SLOPES = 576 << 20  # bytes stored at a time: of 16384 queries and keys one head, or two under a causal mask
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
    """Two launches, or one and two for each MOST_SLOPES bytes of slopes; fills the three results.

    Slopes are stored where the config says so and a head's fit: else memory would not be linear in the length.
    """
    grad, output = (each if _is_aligned(each) else each.copy() for each in (grad, output))
    padded = cdiv(query.shape[2], PANEL) * PANEL
    begins = empty_like(log_sum, (*query.shape[:2], padded // PANEL, 2, PANEL))
    sizes = _sizes(query, key, value, widths_of(query, value), is_causal)
    config = dict(flash_key_kernel.config((grad, query, key, value, begins, *results[1:]), **sizes))
    stores = config.pop("STORES") and slopes_bytes(query, key, is_causal) <= MOST_SLOPES
    rows = (grad, grad_log_sum, output, log_sum, begins)
    if stores:
        _begin(rows, scale)
        _store_and_multiply(grad, query, key, value, begins, is_causal, scale, results, config)
    else:
        _by_query(rows, query, key, value, is_causal, scale, results[0])
        heads = key.shape[0] * key.shape[1]
        _by_key(grad, query, key, value, begins, None, 0, heads, is_causal, scale, results[1:], config)


def slopes_bytes(query, key, is_causal):
    """What the slopes of all queries that share a head of keys take, in blocks of PANEL by PANEL."""
    panels, blocks = cdiv(query.shape[2], PANEL), cdiv(key.shape[2], PANEL)
    short = min(panels, blocks) if is_causal else 0
    count = short * (short + 1) // 2 + (panels - short) * blocks
    return query.shape[1] // key.shape[1] * count * PANEL**2 * query.itemsize


def _by_query(rows, query, key, value, is_causal, scale, by_query):
    """The gradient by the queries from their scores; leaves the begins of rows."""
    grad, grad_log_sum, output, log_sum, begins = rows
    widths = widths_of(query, value)
    sizes = _sizes(query, key, value, widths, is_causal)
    arrays = (grad, grad_log_sum, query, key, value, output, log_sum, begins, by_query)
    config = flash_query_kernel.config(arrays, **sizes)
    flash_query_kernel[(tiles_of(query, config["ROWS"]),)](
        *arrays, *_counts(query, key, value, is_causal), begins.shape[2] * PANEL,
        *map(element_strides, (grad, query, key, value, output, by_query)), scale,
        CAUSAL=is_causal, EVEN=key.shape[2] % config["COLUMNS"] == 0, FILLED=sizes["FILLED"], **widths, **config,
    )  # fmt: skip


def _by_key(grad, query, key, value, begins, slopes, before, count, is_causal, scale, results, config):
    """The gradients by `count` heads of keys and values, after `before` others; stores slopes where there is room."""
    widths = widths_of(query, value)
    _, *counts = _counts(query, key, value, is_causal, by_keys=True)
    flash_key_kernel[(cdiv(key.shape[2], config["COLUMNS"]) * count,)](
        grad, query, key, value, begins, slopes, *results, count, before, *counts, begins.shape[2] * PANEL,
        *map(element_strides, (grad, query, key, value, *results)), scale,
        CAUSAL=is_causal, EVEN=query.shape[2] % config["ROWS"] == 0, GROUPED=query.shape[1] > key.shape[1],
        FILLED=_is_filled(query, value, widths), **widths, **config,
    )  # fmt: skip


def _begin(rows, scale):
    """What each row's scores and slopes begin with."""
    grad, _, output, _, begins = rows
    batch, heads, length, value_width = grad.shape
    width = max(16, next_power_of_2(value_width))
    config = flash_begin_kernel.config(rows, length=length, value_width=width)
    flash_begin_kernel[(batch * heads * begins.shape[2] * cdiv(PANEL, config["ROWS"]),)](
        *rows, heads, length, value_width, begins.shape[2] * PANEL, *map(element_strides, (grad, output)), scale,
        VALUE_WIDTH=width, **config,
    )  # fmt: skip


def _store_and_multiply(grad, query, key, value, begins, is_causal, scale, results, config):
    """All gradients, of as many heads at a time as their slopes may take memory, in shares of nearly one size."""
    by_query, *others = results
    (batch, heads, length, width), (_, shared, keys, _) = query.shape, key.shape
    all_shared, group = batch * shared, heads // shared
    nbytes = slopes_bytes(query, key, is_causal)
    share = cdiv(all_shared, cdiv(all_shared, MOST_SLOPES // nbytes))
    slopes = empty_like(query, (share * nbytes // query.itemsize,))
    sizes = _sizes(query, key, value, widths_of(query, value), is_causal)
    arrays = (slopes, key, by_query)
    chosen = flash_product_kernel.config(
        arrays, **{name: size for name, size in sizes.items() if name != "value_width"}
    )
    _, _, _, together, *_ = _counts(query, key, value, is_causal)
    for before in range(0, all_shared, share):
        count = min(share, all_shared - before)
        _by_key(grad, query, key, value, begins, slopes, before, count, is_causal, scale, others, config)
        flash_product_kernel[(cdiv(length, chosen["ROWS"]) * count * group,)](
            *arrays, count * group, before * group, heads, group, together, length, keys, width,
            *map(element_strides, (key, by_query)), scale,
            CAUSAL=is_causal, EVEN=keys % chosen["COLUMNS"] == 0, FILLED=sizes["FILLED"],
            WIDTH=sizes["width"], **chosen,
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
