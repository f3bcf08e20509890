"""Which tiles the convolutions take that loop over taps and channels by pointers."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers, stages
from tritorch.autotune.key import bucket
from tritorch.ops.convolution.tiles import MOST_PARTS
from tritorch.ops.matrix.tiles import sides_alike

_LEAST = 16
_FILL = 0.8  # of the multiprocessors, by a first wave of tiles


def _shared_memory(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize):
    """The bytes of all stages."""
    return (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize * num_stages


def _interpreted(rows, columns, inner):
    """Few large tiles, which NumPy multiplies."""
    m, n, k = (min(max(next_power_of_2(size), _LEAST), 256) for size in (rows, columns, inner))
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "num_warps": 4, "num_stages": 1}


def tap_default(device, *, rows, columns, inner, batch=1, itemsize=2, tensor_cores=True, wide=False, aligned=True):
    """Tiles of 128 by 128 for tensor cores, smaller where those would leave multiprocessors idle."""
    if device.kind == "interpreter":
        return _interpreted(rows, columns, inner) | {"GROUP_M": 8}
    m, n = min(max(next_power_of_2(rows), _LEAST), 128), min(max(next_power_of_2(columns), _LEAST), 128)
    if not (tensor_cores and aligned):
        m, n = min(m, 64), min(n, 64)
    while max(m, n) > 64 and cdiv(rows, m) * cdiv(columns, n) * batch < _FILL * device.sms:
        m, n = (m // 2, n) if m > n else (m, n // 2)
    k = min(max(next_power_of_2(inner), _LEAST), _deepest(itemsize, tensor_cores, aligned))
    warps = 8 if wide or not aligned or m * n >= (8192 if tensor_cores else 4096) else 4
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP_M": 8, "num_warps": warps,
            "num_stages": _depth(device, m, n, k, itemsize) if tensor_cores else 2}  # fmt: skip


def _deepest(itemsize, tensor_cores, aligned):
    """How much of a sum at once: 128 bytes of neighbours, less where they pass through registers one by one."""
    return (128 // itemsize if aligned else 32) if tensor_cores else _LEAST


def _depth(device, m, n, k, itemsize):
    """Up to four stages, of which two programs fit a multiprocessor."""
    depth = 4
    while depth > 2 and 2 * _shared_memory(m, n, k, depth, itemsize) > device.shared_memory:
        depth -= 1
    return depth


def tap_weight_default(
    device, *, rows, columns, inner, batch=1, itemsize=2, tensor_cores=True, wide=False, aligned=True
):
    """The same over images and places, in parts that give every multiprocessor two tiles."""
    if device.kind == "interpreter":
        return _interpreted(rows, columns, min(inner, 256)) | {"PARTS": 1 if inner < 512 else 2}
    most = 128 if tensor_cores and aligned else 64
    m, n = min(max(next_power_of_2(rows), _LEAST), most), min(max(next_power_of_2(columns), _LEAST), most)
    k = min(max(next_power_of_2(inner), _LEAST), _deepest(itemsize, tensor_cores, aligned))
    warps = 8 if wide or not aligned or m * n >= (8192 if tensor_cores else 4096) else 4
    tiles, parts = cdiv(rows, m) * cdiv(columns, n) * batch, 1
    while 2 * parts <= min(MOST_PARTS, 2 * device.sms // tiles, inner // (4 * k)):
        parts *= 2
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "PARTS": parts, "num_warps": warps,
            "num_stages": min(_depth(device, m, n, k, itemsize), 3) if tensor_cores else 2}  # fmt: skip


def _rows_needed(BLOCK_M, rows):
    """No more rows than there are."""
    return BLOCK_M <= max(_LEAST, next_power_of_2(rows))


def _columns_needed(BLOCK_N, columns):
    """No more columns than there are."""
    return BLOCK_N <= max(_LEAST, next_power_of_2(columns))


def _depth_needed(BLOCK_K, inner, tensor_cores):
    """No more of a sum than there is; without tensor cores a thread keeps what it multiplies in registers."""
    return BLOCK_K <= (max(_LEAST, next_power_of_2(inner)) if tensor_cores else _LEAST)


def _sums_of_a_thread(BLOCK_M, BLOCK_N, num_warps, tensor_cores):
    """Up to 64 sums a thread for tensor cores, 32 of its own; at least one."""
    return 32 * num_warps <= BLOCK_M * BLOCK_N <= (64 if tensor_cores else 32) * 32 * num_warps


def _loads_of_a_thread(BLOCK_M, BLOCK_N, BLOCK_K, num_warps, aligned):
    """Up to 64 elements of each operand; 16 of both where each has an address of its own."""
    if aligned:
        return max(BLOCK_M, BLOCK_N) * BLOCK_K <= 64 * 32 * num_warps
    return (BLOCK_M + BLOCK_N) * BLOCK_K <= 16 * 32 * num_warps or max(BLOCK_M, BLOCK_N, BLOCK_K) == _LEAST


def _warps_for_wide(num_warps, wide):
    """Addresses of 64 bits take the registers of eight warps."""
    return num_warps == 8 or not wide


def _stages_fit(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize, device):
    """All stages of both operands at once."""
    return _shared_memory(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize) <= device.shared_memory


def _lines_worth(BLOCK_K, inner, itemsize, aligned, tensor_cores):
    """What is read at once of a row: 64 to 256 bytes, all of it where it is shorter."""
    whole = max(_LEAST, next_power_of_2(inner))
    return not (tensor_cores and aligned) or min(64, whole * itemsize) <= BLOCK_K * itemsize <= 256


def _stages_worth(num_stages, tensor_cores):
    """Tensor cores starve with one stage, nothing else needs more than three."""
    return num_stages >= 2 if tensor_cores else num_stages <= 3


def _sides_worth(BLOCK_M, BLOCK_N, rows, columns, batch, tensor_cores, aligned, device):
    """Small tiles, which read their operands more often, are for where large ones are few."""
    sizes = next_power_of_2(rows), next_power_of_2(columns)
    many = cdiv(sizes[0], 64) * cdiv(sizes[1], 64) * batch >= device.sms
    least = 64 if tensor_cores and aligned and many else 32 if many else _LEAST
    return BLOCK_M >= min(least, sizes[0]) and BLOCK_N >= min(least, sizes[1])


def _warps_have_work(BLOCK_M, BLOCK_N, num_warps, tensor_cores, aligned, wide):
    """Eight warps, unless addresses need their registers, want 16 sums a thread."""
    return num_warps == 4 or not tensor_cores or wide or not aligned or BLOCK_M * BLOCK_N >= 4096


def _parts_have_work(PARTS, BLOCK_K, inner):
    """Each part goes round its loop a few times."""
    return PARTS == 1 or 2 * PARTS * BLOCK_K <= next_power_of_2(inner)


def _parts_fill(PARTS, BLOCK_M, BLOCK_N, BLOCK_K, rows, columns, inner, batch, device):
    """As many parts as give a multiprocessor one to four of them, or as there are."""
    tiles = cdiv(bucket(rows)[0], BLOCK_M) * cdiv(bucket(columns)[0], BLOCK_N) * batch
    few = tiles * PARTS < device.sms and 2 * PARTS <= MOST_PARTS and 16 * PARTS * BLOCK_K <= next_power_of_2(inner)
    return not few and (PARTS == 1 or tiles * PARTS <= 4 * device.sms)


_CONDITIONS = (_rows_needed, _columns_needed, _depth_needed, _sums_of_a_thread, _loads_of_a_thread, _warps_for_wide,
               _stages_fit, _lines_worth, _stages_worth, _sides_worth, _warps_have_work, sides_alike)  # fmt: skip
_TILES = {
    "BLOCK_M": powers(16, 256, default=128), "BLOCK_N": powers(16, 256, default=128),
    "BLOCK_K": powers(16, 128, default=64), "num_warps": choices(4, 8), "num_stages": stages(1, 4, default=3),
}  # fmt: skip
TAP_SPACE = Space(**_TILES, GROUP_M=choices(1, 8, default=8), where=_CONDITIONS)
TAP_WEIGHT_SPACE = Space(
    **_TILES, PARTS=powers(1, MOST_PARTS, default=1), where=(*_CONDITIONS, _parts_have_work, _parts_fill)
)  # fmt: skip
