"""Which tile and how many parts a product takes where nothing was tuned: those whose estimate, in clocks, is least.

A program takes, for each element along the sum, the time of its multiplications or that of its operands from the L2
cache, whichever is longer; a tile of 128 by 256 is about where both are even on a GPU of the H100's kind. The rates are
those of NVIDIA's architecture papers (products of halves a clock and multiprocessor: A100 1024, H100 2048, B200 4096);
the others are round numbers, which only have to put tiles in order.
"""

from __future__ import annotations

from tritorch.autotune import cdiv, next_power_of_2
from tritorch.ops.matrix.tiles import (
    PARTS,
    SMALLEST,
    STAGED,
    loops,
    matmul_default,
    most_sums,
    not_too_many_parts,
    parts_have_loops,
    pieces_worth,
    shared_memory_of,
    sides_alike,
)

_FROM_L2 = 50  # bytes a clock and multiprocessor
_STORED = 64
_SHARED = 0.25  # of the shorter of multiplying and loading is not hidden by the longer
_START = 1500  # clocks until the first products, with the launch's share
_LAUNCH = 3500  # of the launch that adds up parts
_BUSY = 8  # warps that a multiprocessor needs to multiply by itself without waiting


def pointer_default(
    device, *, rows, columns, inner, batch=1, itemsize=4, tensor_cores=True, dots=True, aligned=True, keeps=False
):  # fmt: skip
    """The best tile by estimate, as many stages as fit; for integers and float64 that of `matmul_default`, whole."""
    sizes = rows, columns, inner, batch
    if device.kind == "interpreter" or not dots or itemsize > 4:
        config = matmul_default(device, rows=rows, columns=columns, inner=inner, batch=batch, itemsize=itemsize,
                                tensor_cores=tensor_cores, dots=dots, aligned=aligned)  # fmt: skip
        return config | {"SPLIT_K": 1}
    groups = tensor_cores and device.capability >= 90 and rows >= 64
    most = most_sums(tensor_cores, itemsize, aligned and not keeps)
    m, n, parts = best(device, sizes, itemsize, tensor_cores, most, 64 if groups else SMALLEST)
    k = _depth(m, n, inner, itemsize, tensor_cores)
    warps = 8 if not aligned and m * n >= 8192 else _warps(m, n)
    # Rows that do not start at multiples of 16 elements are loaded through registers, of which there are few.
    while not aligned and k > SMALLEST and (m + n) * k > STAGED * 32 * warps:
        k //= 2
    while k > SMALLEST and (m + n) * k * itemsize * 2 > device.shared_memory:
        k //= 2
    turns = max(loops(cdiv(inner, parts), k), min(2, loops(inner, k)))
    depth = min(4 if tensor_cores else 3, turns, device.shared_memory // ((m + n) * k * itemsize))
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP_M": 8, "SPLIT_K": parts, "num_warps": warps,
            "num_stages": depth}  # fmt: skip


def descriptor_default(
    device, *, rows, columns, inner, batch=1, itemsize=2, adds=False, keeps=False, wide_result=False
):
    """The best tile by estimate; as many stages as fit, beside what is left of a result that is stored in pieces."""
    m, n, parts = best(
        device, (max(rows, 64), max(columns, 64), inner, batch), itemsize, True, most_sums(True, itemsize), 64
    )
    n = max(n, 64)
    k = 128 // itemsize
    room = [
        (depth, pieces) for depth in (6, 5, 4, 3, 2) for pieces in (1, 2, 4)
        if pieces_worth(m, n, pieces)
        and shared_memory_of(m, n, k, depth, parts, pieces, itemsize, adds, keeps, wide_result) <= device.shared_memory
    ]  # fmt: skip
    depth, pieces = room[0]
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP_M": 8, "SPLIT_K": parts, "PIECES": pieces,
            "num_warps": 8 if m >= 128 and m * n >= 16384 else 4, "num_stages": depth}  # fmt: skip


def _warps(m, n):
    return 8 if m * n >= 16384 else 4


def _depth(m, n, inner, itemsize, tensor_cores):
    """Lines of 128 bytes, two of them for small tiles; without tensor cores a thread holds what it loads."""
    if not tensor_cores:
        return SMALLEST
    k = (128 if m + n > 192 else 256) // itemsize
    return max(SMALLEST, min(k, next_power_of_2(inner)))


def best(device, sizes, itemsize, tensor_cores, most, least_rows):
    """The sides of a tile of at most so many elements, and the parts, that have the least estimate."""
    rows, columns, inner, batch = sizes
    many = cdiv(rows, 64) * cdiv(columns, 64) * batch >= device.sms
    least, longest = 64 if many else SMALLEST, 256 if tensor_cores else 128
    found = []
    for m in _sides(rows, max(least, least_rows), longest):
        for n in _sides(columns, least, longest):
            k = _depth(m, n, inner, itemsize, tensor_cores)
            for parts in PARTS if m * n <= most and sides_alike(m, n, rows, columns) else ():
                if parts_have_loops(parts, k, inner) and not_too_many_parts(parts, m, n, rows, columns, batch, device):
                    found.append((_clocks(device, sizes, m, n, parts, itemsize, tensor_cores), parts, -m * n, m, n))
    _, parts, _, m, n = min(found)
    return m, n, parts


def _sides(size, least, longest):
    """The sides that a tile may have along a dimension; below `least` one that holds all of a short dimension."""
    whole = max(min(next_power_of_2(size), longest), SMALLEST)
    return [side for side in (16, 32, 64, 128, 256) if min(least, whole) <= side <= whole]


def _clocks(device, sizes, m, n, parts, itemsize, tensor_cores):
    rows, columns, inner, batch = sizes
    programs, together = cdiv(rows, m) * cdiv(columns, n) * batch * parts, 1
    if tensor_cores:
        rate = (1024 if device.capability < 90 else 2048 if device.capability < 100 else 4096) * 2 / itemsize
        rate = rate / 2 if m < 64 and device.capability >= 90 else rate  # a warp group multiplies 64 rows
    else:
        warps = _warps(m, n)
        sums = m * n / (32 * warps)
        rate, together = 128 * sums / (sums + 8), _BUSY // warps  # 8 for what a thread loads beside
    line = min(columns, 128 // itemsize)  # what is read at once where rows of the right operand lie one after the other
    products, loads = m * n / rate, (m + max(n, line)) * itemsize / _FROM_L2
    each = max(products, loads) + _SHARED * min(products, loads)
    one = cdiv(inner, parts) * each + m * n * 4 / _STORED + _START
    clocks = cdiv(programs, device.sms * together) * together * one
    if parts > 1:
        clocks += _LAUNCH + rows * columns * batch * 4 * 2 * parts / (_FROM_L2 * device.sms)
    return clocks
