"""Which tiles the kernels of attention in flash.py and flash_backward.py may take, and which they take untuned.

ROWS are queries and COLUMNS keys of a tile. Untuned, tiles are as large as lets two programs share a multiprocessor:
one multiplies while the other computes exponentials, which take about as long.
"""

from __future__ import annotations

import math

from tritorch.autotune import Space, choices, next_power_of_2, powers, stages
from tritorch.ops.attention.tiles import LARGEST_WIDTH

# What decides beside the sizes; `heads` are those of all queries of the batch: how many programs there are.
FLASH_FACTS = ("heads", "CAUSAL", "GROUPED", "FILLED")

PANEL = 128  # queries whose slopes are stored together, and keys that this takes a multiple of: the largest tile
_STORED_LENGTH = 512  # of queries and keys from which slopes are stored: two more launches cost less than they spare
# Elements of a query and a value from which, by capability, memory takes and gives a slope faster than it is computed
# again: 4 bytes against 4 operations for each of these elements and an exponential.
_STORED_WIDTHS = {80: 128, 90: 128, 100: 128}

_ITEMSIZE = 2  # bytes of an element
# Numbers that a thread can hold, of scores and of what is summed by them. Before Hopper, operands take registers too.
_MOST_SUMS, _MOST_SUMS_OF_HOPPER = 144, 200
_MOST_READ, _MOST_COPIED = 32, 64  # slopes that a thread can turn: those that it reads by addresses, or in bulk
_LIMITED, _LIMITED_SUMS = 128, 96  # registers that a thread may be limited to, and the sums that these can hold


def _is_hopper(device):
    return 90 <= device.capability < 100


def _limit_pays(sums, shared, num_warps, device):
    """A limit of registers, where it makes room for one program more on a multiprocessor and holds the sums."""
    programs = 8 // num_warps + 1  # all registers of a thread leave room for one less
    return sums <= _LIMITED_SUMS * 32 * num_warps and programs * shared <= device.shared_memory


def _fits(sums, held, read, num_warps, num_stages, maxnreg, width, value_width, device):
    """Sums in registers; what is held, and all stages of two lines of `read` tiles, in shared memory."""
    most = _MOST_SUMS_OF_HOPPER if _is_hopper(device) else _MOST_SUMS
    shared = (held + read * num_stages * (width + value_width)) * _ITEMSIZE + 1024  # barriers and sums
    fit = sums <= most * 32 * num_warps and shared <= device.shared_memory
    return fit and (maxnreg is None or _limit_pays(sums, shared, num_warps, device))


def _forward_fits(ROWS, COLUMNS, num_warps, num_stages, maxnreg, width, value_width, device):
    """Scores and a sum; queries, later the result, are held, keys and values read."""
    sums, held = ROWS * (COLUMNS + value_width), ROWS * max(width, value_width)
    return _fits(sums, held, COLUMNS, num_warps, num_stages, maxnreg, width, value_width, device)


def _query_fits(ROWS, COLUMNS, num_warps, num_stages, maxnreg, width, value_width, device):
    """Two products and a sum; queries and gradients are held, keys and values read."""
    sums, held = ROWS * (2 * COLUMNS + width), ROWS * (width + value_width)
    return _fits(sums, held, COLUMNS, num_warps, num_stages, maxnreg, width, value_width, device)


def _key_fits(ROWS, COLUMNS, STORES, num_warps, num_stages, maxnreg, width, value_width, device):
    """Two products and two sums; keys, values and slopes to be stored are held, queries and gradients read."""
    sums, held = COLUMNS * (2 * ROWS + width + value_width), COLUMNS * (width + value_width + STORES * ROWS)
    return _fits(sums, held, ROWS, num_warps, num_stages, maxnreg, width, value_width, device)


def _product_fits(ROWS, COLUMNS, BULK, num_warps, num_stages, maxnreg, width, device):
    """A sum; keys and slopes are read, and slopes turned on their way."""
    shared = COLUMNS * num_stages * (width + ROWS) * _ITEMSIZE + 1024
    sums, turned = ROWS * width, ROWS * COLUMNS
    fit = sums <= _MOST_SUMS * 32 * num_warps and turned <= (_MOST_COPIED if BULK else _MOST_READ) * 32 * num_warps
    fit = fit and shared <= device.shared_memory
    return fit and (maxnreg is None or _limit_pays(sums, shared, num_warps, device))


# (ROWS, COLUMNS, num_warps, num_stages, maxnreg) by the widest element; the last are registers a thread may take
_FORWARD = {64: (128, 64, 8, 3, None), 128: (128, 64, 8, 2, 128), 256: (128, 64, 8, 2, None)}
_FORWARD_ELSEWHERE = {64: (128, 64, 8, 2, None), 128: (128, 32, 8, 2, None), 256: (64, 32, 8, 2, None)}
_QUERY = {64: (128, 64, 8, 3, None), 128: (64, 64, 4, 2, None), 256: (64, 64, 8, 2, None)}
_QUERY_ELSEWHERE = {64: (64, 64, 8, 2, None), 128: (64, 32, 8, 2, None), 256: (64, 32, 8, 1, None)}
_KEY = {64: (64, 64, 4, 3, None), 128: (64, 64, 4, 2, None), 256: (32, 64, 8, 2, None)}
_KEY_SHORT = _KEY | {128: (32, 64, 4, 2, None)}  # where no slopes are stored: Triton 3.6 needs more registers then
_KEY_STORING = {64: (32, 64, 4, 2, None), 128: (32, 64, 8, 2, None), 256: (16, 64, 8, 1, None)}  # before Hopper
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
    """Tiles for two sums by key beside two products; slopes are stored where it pays."""
    least = _STORED_WIDTHS.get(device.capability, math.inf)
    pays = min(length, keys) >= _STORED_LENGTH and width + value_width >= least
    elsewhere = _KEY_STORING if pays and device.capability < 90 else _KEY_ELSEWHERE
    return _chosen(_KEY if pays else _KEY_SHORT, elsewhere, device, width, value_width) | {"STORES": pays}


def flash_product_default(device, *, length, keys, width):
    """Tiles for one sum, of what memory gives: as much as fits is on its way."""
    wide = width > 128
    chosen = {"ROWS": 128, "COLUMNS": 64, "num_warps": 8, "num_stages": 3 if wide else 4, "maxnreg": None}
    if not _is_hopper(device):
        chosen |= {"ROWS": 64 if wide else 128, "num_stages": 2 if wide else 3}
    return chosen | {"BULK": device.capability >= 90}


def flash_begin_default(device, *, length, value_width):
    """As many rows as give each thread 32 elements of two arrays."""
    return {"ROWS": max(16, min(PANEL, 4096 // next_power_of_2(value_width))), "num_warps": 4}


def _warps_have_scores(ROWS, COLUMNS, num_warps):
    """Each warp has scores of its own, at least what it multiplies at once."""
    return ROWS * COLUMNS >= 16 * 8 * num_warps


def _stages_enough(num_stages, width, value_width):
    """Products starve with one stage, but where rows are so long that two would take all registers."""
    return num_stages > 1 or max(width, value_width) > LARGEST_WIDTH // 2


def _stores_may_pay(STORES, length, keys, width, value_width):
    """Slopes are stored from half as long sequences and half as wide rows as by formula."""
    wide = 2 * (width + value_width) > min(_STORED_WIDTHS.values())
    return not STORES or (wide and min(length, keys) > _STORED_LENGTH // 2)


def _copies(BULK, device):
    """Bulk copies need the engine for them."""
    return not BULK or device.capability >= 90


def _specializes(SPECIALIZED, BULK, ROWS, num_warps, maxnreg, device):
    """Warps of their own for copies: what Triton makes of it on Hopper, two groups of warps that share the rows."""
    fits = BULK and ROWS == 128 and num_warps == 4 and maxnreg is None
    return not SPECIALIZED or (fits and _is_hopper(device))


def _space(fits, rows, columns, *where, least_stages=1, **more):
    return Space(
        ROWS=rows, COLUMNS=columns, BULK=choices(False, True), num_warps=choices(4, 8),
        num_stages=stages(least_stages, 4, default=2), maxnreg=choices(None, _LIMITED),
        where=(_warps_have_scores, _copies, _stages_enough, fits, *where), **more,
    )  # fmt: skip


_READ, _HELD = powers(16, 128, default=64), powers(64, 128)
FLASH_FORWARD_SPACE = _space(_forward_fits, _HELD, _READ, _specializes, SPECIALIZED=choices(False, True))
FLASH_QUERY_SPACE = _space(_query_fits, _HELD, _READ)
FLASH_KEY_SPACE = _space(_key_fits, _READ, _HELD, _stores_may_pay, STORES=choices(False, True))
FLASH_PRODUCT_SPACE = _space(_product_fits, _HELD, _READ, least_stages=2)
FLASH_BEGIN_SPACE = Space(ROWS=powers(16, PANEL, default=64), num_warps=choices(2, 4, 8))
