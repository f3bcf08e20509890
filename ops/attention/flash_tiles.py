"""Which tiles the kernels of attention in flash.py and flash_backward.py may take, and which they take untuned.

ROWS are queries and COLUMNS keys of a tile. Untuned, tiles are as large as lets two programs share a multiprocessor:
one multiplies while the other computes exponentials, which take about as long.
"""

from __future__ import annotations

from tritorch.autotune import Space, choices, next_power_of_2, powers, stages
from tritorch.ops.attention.tiles import LARGEST_WIDTH

# What decides beside the sizes; `heads` are those of all queries of the batch: how many programs there are.
FLASH_FACTS = ("heads", "CAUSAL", "GROUPED", "FILLED")

_ITEMSIZE = 2  # bytes of an element
# Numbers that a thread can hold, of scores and of what is summed by them. Before Hopper, operands take registers too.
_MOST_SUMS, _MOST_SUMS_OF_HOPPER = 144, 200


def _is_hopper(device):
    return 90 <= device.capability < 100


def _fits(sums, held, read, num_warps, num_stages, width, value_width, device):
    """Sums in registers; what is held, and all stages of two lines of `read` tiles, in shared memory."""
    most = _MOST_SUMS_OF_HOPPER if _is_hopper(device) else _MOST_SUMS
    shared = (held + read * num_stages * (width + value_width)) * _ITEMSIZE + 1024  # barriers and sums
    return sums <= most * 32 * num_warps and shared <= device.shared_memory


def _forward_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, device):
    """Scores and a sum; queries, later the result, are held, keys and values read."""
    sums, held = ROWS * (COLUMNS + value_width), ROWS * max(width, value_width)
    return _fits(sums, held, COLUMNS, num_warps, num_stages, width, value_width, device)


def _query_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, device):
    """Two products and a sum; queries and gradients are held, keys and values read."""
    sums, held = ROWS * (2 * COLUMNS + width), ROWS * (width + value_width)
    return _fits(sums, held, COLUMNS, num_warps, num_stages, width, value_width, device)


def _key_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, device):
    """Two products and two sums; keys and values are held, queries and gradients read."""
    sums, held = COLUMNS * (2 * ROWS + width + value_width), COLUMNS * (width + value_width)
    return _fits(sums, held, ROWS, num_warps, num_stages, width, value_width, device)


# (ROWS, COLUMNS, num_warps, num_stages, maxnreg) by the widest element; the last are registers a thread may take
_FORWARD = {64: (128, 64, 8, 3, None), 128: (128, 64, 8, 2, 128), 256: (128, 64, 8, 2, None)}
_FORWARD_ELSEWHERE = {64: (128, 64, 8, 2, None), 128: (128, 32, 8, 2, None), 256: (64, 32, 8, 2, None)}
_QUERY = {64: (128, 64, 8, 3, None), 128: (64, 64, 4, 2, None), 256: (64, 64, 8, 2, None)}
_QUERY_ELSEWHERE = {64: (64, 64, 8, 2, None), 128: (64, 32, 8, 2, None), 256: (64, 32, 8, 1, None)}
_KEY = {64: (64, 64, 4, 3, None), 128: (64, 64, 4, 2, None), 256: (32, 64, 8, 2, None)}
_KEY_ELSEWHERE = {64: (64, 64, 8, 2, None), 128: (32, 64, 8, 2, None), 256: (16, 64, 8, 1, None)}


def _chosen(of_hopper, elsewhere, device, width, value_width):
    table = of_hopper if _is_hopper(device) else elsewhere
    found = table[min(max(64, next_power_of_2(max(width, value_width))), LARGEST_WIDTH)]
    config = dict(zip(("ROWS", "COLUMNS", "num_warps", "num_stages", "maxnreg"), found, strict=True))
    return config | {"BULK": device.capability >= 90}


def flash_forward_default(device, *, length, keys, width, value_width):
    """Tiles for one sum beside one product."""
    return _chosen(_FORWARD, _FORWARD_ELSEWHERE, device, width, value_width) | {"SPECIALIZED": False}


def flash_query_default(device, *, length, keys, width, value_width):
    """Tiles for one sum by query beside two products."""
    return _chosen(_QUERY, _QUERY_ELSEWHERE, device, width, value_width)


def flash_key_default(device, *, length, keys, width, value_width):
    """Tiles for two sums by key beside two products."""
    return _chosen(_KEY, _KEY_ELSEWHERE, device, width, value_width)


def _warps_have_scores(ROWS, COLUMNS, num_warps):
    """Each warp has scores of its own, at least what it multiplies at once."""
    return ROWS * COLUMNS >= 16 * 8 * num_warps


def _copies(BULK, device):
    """Bulk copies need the engine for them."""
    return not BULK or device.capability >= 90


def _specializes(SPECIALIZED, BULK, ROWS, num_warps, maxnreg, device):
    """Warps of their own for copies: what Triton makes of it on Hopper, two groups of warps that share the rows."""
    fits = BULK and ROWS == 128 and num_warps == 4 and maxnreg is None
    return not SPECIALIZED or (fits and _is_hopper(device))


def _space(fits, rows, columns, *where, **more):
    return Space(
        ROWS=rows, COLUMNS=columns, BULK=choices(False, True), num_warps=choices(4, 8),
        num_stages=stages(1, 4, default=2), maxnreg=choices(None, 128),
        where=(_warps_have_scores, _copies, fits, *where), **more,
    )  # fmt: skip


_READ, _HELD = powers(16, 128, default=64), powers(64, 128)
FLASH_FORWARD_SPACE = _space(_forward_fits, _HELD, _READ, _specializes, SPECIALIZED=choices(False, True))
FLASH_QUERY_SPACE = _space(_query_fits, _HELD, _READ)
FLASH_KEY_SPACE = _space(_key_fits, _READ, _HELD)
