"""Which tiles a convolution may take: those of a product, less those whose addresses and masks fill the registers."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers, stages
from tritorch.ops.matrix.tiles import (
    SMALLEST,
    columns_needed,
    depth_that_multiplies,
    loops,
    matmul_default,
    not_too_few_tiles,
    not_too_many_tiles,
    rows_needed,
    rows_to_group,
    stages_have_loops,
    stages_in_shared_memory,
    tile_count,
)

MOST_PARTS = 256
_MOST_SUMS = 8192  # of a tile by formula
_OF_IMAGES, _OF_OTHERS = 16, 32  # elements that a thread can load beside its sums: an image's have masks to compute


def gather_default(
    device, *, rows, columns, inner, batch=1, itemsize=4, tensor_cores=True, dots=True, wide=False
):  # fmt: skip
    """The default of a product, smaller and less deep: addresses and masks of gathered operands take registers."""
    return _gathered(images_by_rows, device, rows, columns, inner, batch, itemsize, tensor_cores, dots, wide)


def _gathered(fits, device, rows, columns, inner, batch, itemsize, tensor_cores, dots, wide):
    config = matmul_default(device, rows=rows, columns=columns, inner=inner, batch=batch, itemsize=itemsize,
                            tensor_cores=tensor_cores, dots=dots)  # fmt: skip
    if device.kind == "interpreter":
        return config
    m, n, k = config["BLOCK_M"], config["BLOCK_N"], min(config["BLOCK_K"], 32)
    while m * n > _MOST_SUMS:
        m, n = (m // 2, n) if m > n else (m, n // 2)
    warps = 8 if wide or m * n > 4096 else config["num_warps"]
    while k > SMALLEST and not fits(m, n, k, warps, dots):
        k //= 2
    warps = warps if fits(m, n, k, warps, dots) else 8
    depth = min(2, loops(inner, k))
    return config | {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "num_warps": warps, "num_stages": depth}


def weight_default(
    device, *, rows, columns, inner, batch=1, itemsize=4, tensor_cores=True, dots=True, wide=False
):  # fmt: skip
    """The default of a gathered product, and enough parts of the long sum to give every multiprocessor a tile."""
    config = _gathered(images_by_columns, device, rows, columns, inner, batch, itemsize, tensor_cores, dots, wide)
    del config["GROUP_M"]
    tiles = tile_count(rows, columns, batch, config["BLOCK_M"], config["BLOCK_N"])
    if device.kind == "interpreter":
        wanted = cdiv(inner, 2048)
    else:
        wanted = min(2 * device.sms // tiles, inner // (4 * config["BLOCK_K"]))
    parts = 1
    while parts * 2 <= min(wanted, MOST_PARTS):
        parts *= 2
    return {**config, "PARTS": parts}


def gathered_sums(BLOCK_M, BLOCK_N, BLOCK_K, num_warps, dots, tensor_cores):
    """Half as many sums a thread as a product has, or 64 products that are not summed yet."""
    elements = BLOCK_M * BLOCK_N
    return (elements if dots else elements * BLOCK_K) <= (64 if tensor_cores or not dots else 32) * 32 * num_warps


def _loaded(images, others, depth, warps):
    return images * depth <= _OF_IMAGES * 32 * warps and others * depth <= _OF_OTHERS * 32 * warps


def images_by_rows(BLOCK_M, BLOCK_N, BLOCK_K, num_warps, dots):
    """The addresses and masks of what is gathered, its rows being places in images."""
    return not dots or _loaded(BLOCK_M, BLOCK_N, BLOCK_K, num_warps)


def images_by_columns(BLOCK_M, BLOCK_N, BLOCK_K, num_warps, dots):
    """The addresses and masks of what is gathered, its columns being places in images."""
    return not dots or _loaded(BLOCK_N, BLOCK_M, BLOCK_K, num_warps)


def gathering_warps_have_work(BLOCK_M, BLOCK_N, num_warps, wide):
    """Eight warps want a tile of 32 by 64, or share the work of 64-bit addresses."""
    return wide or BLOCK_M * BLOCK_N >= (2048 if num_warps == 8 else 64 * num_warps)


def warps_for_wide(num_warps, wide):
    """Addresses of 64 bits take the registers of eight warps."""
    return num_warps == 8 or not wide


_CONDITIONS = (
    rows_needed, columns_needed, depth_that_multiplies, gathered_sums, gathering_warps_have_work,
    warps_for_wide, stages_in_shared_memory, stages_have_loops, not_too_few_tiles, not_too_many_tiles,
)  # fmt: skip
_TILES = {
    "BLOCK_M": powers(16, 256, default=64), "BLOCK_N": powers(16, 256, default=64),
    "BLOCK_K": powers(8, 128, default=32), "num_warps": choices(4, 8), "num_stages": stages(1, 4, default=2),
}  # fmt: skip


def parts_that_fill(BLOCK_M, BLOCK_N, BLOCK_K, PARTS, rows, columns, inner, batch, device):
    """One part where tiles fill the GPU; more where they do not, each with a loop, to a few waves at most."""
    if PARTS == 1:
        return True
    tiles = tile_count(rows, columns, batch, BLOCK_M, BLOCK_N)
    return tiles * PARTS <= 4 * device.sms and PARTS * 2 * max(BLOCK_K, SMALLEST) <= next_power_of_2(inner)


def parts_enough(BLOCK_M, BLOCK_N, BLOCK_K, PARTS, rows, columns, inner, batch, device):
    """Not so few that most of the GPU idles while a long sum could be shared out."""
    return PARTS == MOST_PARTS or not parts_that_fill(
        BLOCK_M, BLOCK_N, BLOCK_K, 8 * PARTS, rows, columns, inner, batch, device
    )


GATHER_SPACE = Space(**_TILES, GROUP_M=choices(1, 8, default=8), where=(*_CONDITIONS, images_by_rows, rows_to_group))
WEIGHT_SPACE = Space(
    **_TILES,
    PARTS=powers(1, MOST_PARTS, default=1),
    where=(*_CONDITIONS, images_by_columns, parts_that_fill, parts_enough),
)
