"""Which tiles the kernels of attention over packed sequences may take: the space of their configs, and one by formula.

ROWS are queries and COLUMNS keys of a tile, DEPTH how many elements of a row are multiplied at a time.
"""

from __future__ import annotations

from tritorch.autotune import Space, choices, next_power_of_2, powers, stages
from tritorch.ops.attention.tiles import LARGEST_WIDTH

_LEAST_SIDE = 16
_DEPTH_OF_THREADS = 16  # elements that threads multiply at a time, without tensor cores
_SUMS = 144  # that a thread can hold
_SCORES = 64  # of two products that a thread can hold beside two sums, with what the window allows of them

# What decides beside the sizes: how many programs there are, and the switches of the window.
VARLEN_FACTS = ("heads", "LEFT", "RIGHT", "WIDE", "PRECISION")


def _widest(width, value_width):
    return min(max(width, value_width), LARGEST_WIDTH)


def _tile(fits, sums, device, length, keys, width, value_width, itemsize, tensor_cores):
    """Tiles whose sums fit the registers; `sums` is 2 for the kernels of gradients."""
    widest = _widest(width, value_width)
    rows, columns = (max(_LEAST_SIDE, next_power_of_2(each)) for each in (length, keys))
    if device.kind == "interpreter":
        return {"ROWS": min(rows, 64), "COLUMNS": min(columns, 64), "DEPTH": widest, "num_warps": 4, "num_stages": 1}
    if not tensor_cores:
        side = 16 if itemsize == 8 or widest > 128 // sums else 32
        tile = {"ROWS": min(rows, side), "COLUMNS": min(columns, side), "DEPTH": _DEPTH_OF_THREADS}
        return {**tile, "num_warps": 8 if itemsize == 8 and widest > 128 else 4, "num_stages": 1}
    hopper = device.capability == 90  # whose products take operands from shared memory, and leave registers for sums
    if sums == 1:
        most = (128 if hopper else 64, 64) if widest <= 128 else (64, 32)
    else:
        most = (64, 64 if hopper else 32) if widest <= 128 else (32, 32)
    if itemsize == 4:
        most = (most[0] // 2, most[1] // 2) if widest <= 128 else (_LEAST_SIDE, _LEAST_SIDE)
    rows, columns = min(rows, most[0]), min(columns, most[1])
    warps = 8 if widest > 64 or (sums > 1 and max(rows, columns) > _LEAST_SIDE) else 4
    depth = 2 if widest > 128 or itemsize == 4 else 3  # registers leave room for one program on a multiprocessor
    while depth > 1 and not fits(rows, columns, warps, depth, width, value_width, itemsize, tensor_cores, device):
        depth -= 1
    return {"ROWS": rows, "COLUMNS": columns, "DEPTH": widest, "num_warps": warps, "num_stages": depth}


def varlen_default(device, *, length, keys, width, value_width, itemsize=2, tensor_cores=True):
    """Tiles for one sum beside one product."""
    return _tile(_forward_fits, 1, device, length, keys, width, value_width, itemsize, tensor_cores)


def varlen_query_default(device, *, length, keys, width, value_width, itemsize=2, tensor_cores=True):
    """Tiles for one sum by query beside two products."""
    return _tile(_query_fits, 2, device, length, keys, width, value_width, itemsize, tensor_cores)


def varlen_key_default(device, *, length, keys, width, value_width, itemsize=2, tensor_cores=True):
    """Tiles for two sums by key beside two products: keys in the place of queries."""
    config = _tile(_key_fits, 2, device, keys, length, width, value_width, itemsize, tensor_cores)
    rows, columns = config["COLUMNS"], config["ROWS"]
    if device.kind == "interpreter":
        return config | {"ROWS": rows, "COLUMNS": columns}
    if tensor_cores and (_widest(width, value_width) > 64 or device.capability != 90):
        rows = min(rows, 32)
    if device.capability != 90:
        config["num_stages"] = min(config["num_stages"], 2)
    busy = _warps_have_work(rows, columns, config["num_warps"], width, value_width)
    return config | {"ROWS": rows, "COLUMNS": columns, "num_warps": config["num_warps"] if busy else 4}


def _no_larger(ROWS, COLUMNS, length, keys):
    """No more queries and keys than there are, up to the least side of a tile."""
    return max(32, next_power_of_2(length)) >= ROWS and max(32, next_power_of_2(keys)) >= COLUMNS


def _whole_or_few(DEPTH, width, value_width, tensor_cores):
    """Tensor cores take whole rows, threads by themselves a few elements at a time."""
    return (_widest(width, value_width) if tensor_cores else _DEPTH_OF_THREADS) == DEPTH


def _tiles_of_threads(ROWS, COLUMNS, num_stages, tensor_cores):
    """Without tensor cores operands lie in registers, which a pipeline would fill."""
    return tensor_cores or (ROWS * COLUMNS <= 32 * 32 and num_stages == 1)


def _warps_have_work(ROWS, COLUMNS, num_warps, width, value_width):
    """Eight warps want more than 16 by 16 scores, or wide rows to share."""
    return num_warps == 4 or max(ROWS, COLUMNS) >= 32 or _widest(width, value_width) > 64


def _fits(sums, held, read, num_warps, num_stages, width, value_width, itemsize, device):
    """Sums in registers; what is held, and all stages of two lines of `read` tiles, in shared memory."""
    lines = num_stages * (width + value_width) if num_stages > 1 else max(width, value_width)
    return sums <= _SUMS * 32 * num_warps and (held + read * lines) * itemsize <= device.shared_memory


def _forward_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, itemsize, tensor_cores, device):
    """Scores and a sum; queries and weights are held, keys and values read."""
    sums, held = ROWS * (COLUMNS + value_width), ROWS * (width + COLUMNS)
    return not tensor_cores or _fits(sums, held, COLUMNS, num_warps, num_stages, width, value_width, itemsize, device)


def _query_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, itemsize, tensor_cores, device):
    """Two products and a sum; queries, gradients and slopes are held, keys and values read."""
    sums, held = ROWS * (2 * COLUMNS + width), ROWS * (width + value_width + COLUMNS)
    return not tensor_cores or _fits(sums, held, COLUMNS, num_warps, num_stages, width, value_width, itemsize, device)


def _key_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, itemsize, tensor_cores, device):
    """Two products and two sums; keys, values, weights and slopes are held, queries and gradients read."""
    sums, held = COLUMNS * (2 * ROWS + width + value_width), COLUMNS * (width + value_width + 2 * ROWS)
    return not tensor_cores or (
        2 * ROWS * COLUMNS <= _SCORES * 32 * num_warps
        and _fits(sums, held, ROWS, num_warps, num_stages, width, value_width, itemsize, device)
    )


def _space(fits):
    return Space(
        ROWS=powers(16, 128, default=64), COLUMNS=powers(16, 128, default=64), DEPTH=powers(16, 256, default=64),
        num_warps=choices(4, 8), num_stages=stages(1, 4, default=2),
        where=(_no_larger, _whole_or_few, _tiles_of_threads, _warps_have_work, fits),
    )  # fmt: skip


VARLEN_SPACE, VARLEN_QUERY_SPACE, VARLEN_KEY_SPACE = map(_space, (_forward_fits, _query_fits, _key_fits))
