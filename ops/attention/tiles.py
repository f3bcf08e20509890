"""Which tiles the kernels of attention may take: the space of their configs, and the one by formula.

ROWS are queries and COLUMNS keys of a tile, DEPTH how many elements of a query are multiplied at a time.
"""

from __future__ import annotations

from tritorch.autotune import Space, choices, next_power_of_2, powers, stages

LARGEST_WIDTH = 256  # of a query or value that a tile can hold
_LEAST_SIDE = 16  # of a tile that is multiplied
# Triton lays out an operand by the narrowest load it was computed from. Where weights depend on a mask of bytes, a
# thread then holds 8 neighbours of a row and 4 threads 32: of a row of 16, some would be summed twice.
_LEAST_SIDE_MASKED = 32
_SUMS = 144  # that a thread can hold, of scores and of what is summed by them
_DEPTH_OF_THREADS = 16  # elements that threads multiply at a time, without tensor cores

# What decides beside the sizes; `heads` are those of all queries of the batch: how many programs there are.
ATTENTION_FACTS = ("heads", "CAUSAL", "BOOLEAN", "DROPOUT", "WIDE", "PRECISION")


def _widest(width, value_width):
    return min(next_power_of_2(max(width, value_width, _LEAST_SIDE)), LARGEST_WIDTH)


def _tile(fits, sums, device, length, keys, width, value_width, itemsize, tensor_cores, plain, aligned):
    """Tiles whose sums fit the registers; without tensor cores, rows are multiplied a few elements at a time.

    `sums` is 2 for the kernels of gradients; a mask or dropout, where it is not `plain`, takes registers too.
    """
    widest = _widest(width, value_width)
    least = _LEAST_SIDE if plain or not tensor_cores else _LEAST_SIDE_MASKED
    rows, columns = (max(least, next_power_of_2(each)) for each in (length, keys))
    if device.kind == "interpreter":
        return {"ROWS": min(rows, 256), "COLUMNS": min(columns, 512), "DEPTH": widest, "num_warps": 4, "num_stages": 1}
    if not tensor_cores:
        side = 16 if itemsize == 8 or widest > 128 // sums or not plain else 32
        depth = _DEPTH_OF_THREADS
        return {"ROWS": min(rows, side), "COLUMNS": min(columns, side), "DEPTH": depth, "num_warps": 4, "num_stages": 1}
    if sums == 1:
        most = (128 if plain else 64, 64) if widest <= 128 else (64, 32)
    else:
        most = (64, 64 if plain and widest <= 64 else 32) if widest <= 128 else (32, 32)
    if itemsize == 4 or not aligned:
        most = (max(least, most[0] // 2), max(least, most[1] // 2)) if widest <= 128 else (least, least)
    rows, columns = min(rows, most[0]), min(columns, most[1])
    warps = 8 if widest > 64 or (sums > 1 and max(rows, columns) > _LEAST_SIDE) else 4
    stages = 2 if widest > 64 or itemsize == 4 else 3
    while stages > 1 and not fits(rows, columns, warps, stages, width, value_width, itemsize, tensor_cores, device):
        stages -= 1
    return {"ROWS": rows, "COLUMNS": columns, "DEPTH": widest, "num_warps": warps, "num_stages": stages}


def forward_default(
    device, *, length, keys, width, value_width, itemsize=4, tensor_cores=True, plain=True, aligned=True
):  # fmt: skip
    """Tiles for one sum beside one product."""
    return _tile(_forward_fits, 1, device, length, keys, width, value_width, itemsize, tensor_cores, plain, aligned)


def query_default(device, *, length, keys, width, value_width, itemsize=4, tensor_cores=True, plain=True, aligned=True):
    """Tiles for one sum by query beside two products."""
    return _tile(_query_fits, 2, device, length, keys, width, value_width, itemsize, tensor_cores, plain, aligned)


def key_default(device, *, length, keys, width, value_width, itemsize=4, tensor_cores=True, plain=True, aligned=True):
    """Tiles for two sums by key beside two products: as many keys as the other kernel has queries."""
    config = _tile(_key_fits, 2, device, length, keys, width, value_width, itemsize, tensor_cores, plain, aligned)
    if device.kind == "interpreter":
        return config
    rows = min(config["ROWS"], config["COLUMNS"])
    busy = _warps_have_work(rows, config["COLUMNS"], config["num_warps"], width, value_width)
    return config | {"ROWS": rows, "num_warps": config["num_warps"] if busy else 4}


def _no_larger(ROWS, COLUMNS, length, keys):
    """No more queries and keys than there are, up to the least side of a tile."""
    least = _LEAST_SIDE_MASKED
    return max(least, next_power_of_2(length)) >= ROWS and max(least, next_power_of_2(keys)) >= COLUMNS


def _sides_of_masked(ROWS, COLUMNS, plain, tensor_cores):
    """Where scores are masked, a side of 16 would be summed wrongly by tensor cores."""
    return plain or not tensor_cores or min(ROWS, COLUMNS) >= _LEAST_SIDE_MASKED


def _whole_or_few(DEPTH, width, value_width, tensor_cores):
    """Tensor cores take whole rows, threads by themselves a few elements at a time."""
    return DEPTH == (_widest(width, value_width) if tensor_cores else _DEPTH_OF_THREADS)


def _tiles_of_threads(ROWS, COLUMNS, num_stages, tensor_cores):
    """Without tensor cores operands lie in registers, which a pipeline would fill."""
    return tensor_cores or (ROWS * COLUMNS <= 32 * 32 and num_stages == 1)


def _warps_have_work(ROWS, COLUMNS, num_warps, width, value_width):
    """Eight warps want more than 16 by 16 scores, or wide rows to share."""
    return num_warps == 4 or max(ROWS, COLUMNS) >= 32 or _widest(width, value_width) > 64


def _pipelined(num_stages, keys, COLUMNS):
    """No more stages than tiles of keys."""
    return num_stages <= max(next_power_of_2(keys) // COLUMNS, 1) or num_stages <= 3


def _fits(sums, held, read, num_warps, num_stages, width, value_width, itemsize, device):
    """Sums in registers; what is held, and all stages of two lines of `read` tiles, in shared memory."""
    lines = num_stages * (width + value_width) if num_stages > 1 else max(width, value_width)
    return sums <= _SUMS * 32 * num_warps and (held + read * lines) * itemsize <= device.shared_memory


def _forward_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, itemsize, tensor_cores, device):
    """Scores and a sum; queries and weights are held, keys and values read."""
    sums, held = ROWS * (COLUMNS + value_width), ROWS * (width + COLUMNS)
    return not tensor_cores or _fits(
        sums, held, COLUMNS, num_warps, num_stages, width, value_width, itemsize, device
    )  # fmt: skip


def _query_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, itemsize, tensor_cores, device):
    """Two products and a sum; queries, gradients and slopes are held, keys and values read."""
    sums, held = ROWS * (2 * COLUMNS + width), ROWS * (width + value_width + COLUMNS)
    return not tensor_cores or _fits(
        sums, held, COLUMNS, num_warps, num_stages, width, value_width, itemsize, device
    )  # fmt: skip


def _key_fits(ROWS, COLUMNS, num_warps, num_stages, width, value_width, itemsize, tensor_cores, device):
    """Two products and two sums; keys, values, weights and slopes are held, queries and gradients read."""
    sums, held = COLUMNS * (2 * ROWS + width + value_width), COLUMNS * (width + value_width + 2 * ROWS)
    return not tensor_cores or _fits(
        sums, held, ROWS, num_warps, num_stages, width, value_width, itemsize, device
    )  # fmt: skip


_CONDITIONS = (_no_larger, _sides_of_masked, _whole_or_few, _tiles_of_threads, _warps_have_work, _pipelined)


def _space(fits):
    return Space(
        ROWS=powers(16, 256, default=64), COLUMNS=powers(16, 128, default=64), DEPTH=powers(16, 256, default=64),
        num_warps=choices(4, 8), num_stages=stages(1, 4, default=2), where=(*_CONDITIONS, fits),
    )  # fmt: skip


FORWARD_SPACE, QUERY_SPACE, KEY_SPACE = map(_space, (_forward_fits, _query_fits, _key_fits))
