"""Which tiles and which way of multiplying the kernels of recurrent layers take."""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers, stages
from tritorch.autotune.key import bucket

# Numbers of a launch that change with every length of sequences, or with every step.
CHANGING = ("steps", "origin", "direction", "first_step", "last_step")

_TILES = ((16, 16), (32, 16), (64, 16), (32, 32), (64, 32), (64, 64))  # rows by units, the most programs first
_LARGE_TILES = ((64, 32), (32, 32), (16, 32), (16, 16))  # where there are so many that programs cannot run at once
_ROOM = 4096  # bytes of shared memory for what the compiler needs beside tiles


def steps_default(device, *, batch, hidden, itemsize=4, tensor_cores=False, gated=False, back=False, aligned=False):
    """The smallest tiles whose programs run at once, so that all multiprocessors share a step; else one step alone."""
    if device.kind == "interpreter":
        return _config(max(16, next_power_of_2(batch)), side := max(16, min(next_power_of_2(hidden), 256)), side)
    known = {
        "batch": batch, "hidden": hidden, "itemsize": itemsize, "tensor_cores": tensor_cores, "gated": gated,
        "back": back, "aligned": aligned, "device": device,
    }  # fmt: skip
    ways = list(_ways(max(16, next_power_of_2(_inner(hidden, gated, back))), tensor_cores, gated and not back, aligned))
    together = _TILES if tensor_cores else ((16, 8), *_TILES)
    for tiles, at_once in ((together, True), (_LARGE_TILES, False)):
        for rows, units in tiles:
            for way in ways:
                config = _config(rows, units, **way, together=at_once)
                if STEPS_SPACE.allows(config, **known):
                    return config
    return _config(16, 16, 16)


def _config(rows, units, depth, num_warps=4, num_stages=1, flipped=False, split=1, together=False, kept=False):
    return {
        "ROWS": rows, "UNITS": units, "DEPTH": depth, "FLIPPED": flipped, "SPLIT": split, "TOGETHER": together,
        "KEPT": kept, "num_warps": num_warps, "num_stages": num_stages,
    }  # fmt: skip


def _ways(inner, tensor_cores, four, aligned):
    """How to multiply, the best first: weights that are kept, those that come anew in each step, anything."""
    for warp in (4, 8):
        if four:
            yield {"depth": inner, "num_warps": warp, "flipped": True, "kept": True}
    for depth in (inner, 512, 256, 128):
        yield {"depth": depth, "num_warps": 8, "split": 1 if four else 8, "kept": True}
    if four:
        yield {"depth": 64, "num_warps": 4, "kept": True}
    if four and tensor_cores:
        yield {"depth": 64, "num_warps": 8, "num_stages": 3, "flipped": True}
    for depth, split in ((256 if tensor_cores or inner <= 256 else 128, 8), (64, 4), (64, 1), (32, 1)):
        for deep in (3, 2, 1) if aligned else (1,):
            yield {"depth": depth, "num_warps": 8, "num_stages": deep, "split": split}
    for depth in (64, 32, 16):
        for deep in (2, 1) if aligned and tensor_cores else (1,):
            yield {"depth": depth, "num_warps": 4, "num_stages": deep}


def _columns(UNITS, gated, back):
    """Columns of a program's product: those of four gates on the way forward."""
    return 4 * UNITS if gated and not back else UNITS


def _inner(hidden, gated, back):
    """Terms of each sum."""
    return 4 * hidden if gated and back else hidden


def _no_larger(ROWS, UNITS, DEPTH, batch, hidden, gated, back):
    """Tiles of the rows and units there are."""
    width, inner = max(16, next_power_of_2(hidden)), max(16, next_power_of_2(_inner(hidden, gated, back)))
    return max(16, next_power_of_2(batch)) >= ROWS and width >= UNITS and inner >= DEPTH


def _programs_fit(TOGETHER, ROWS, UNITS, batch, hidden, device):
    """Programs that wait for one another all have a multiprocessor."""
    return not TOGETHER or cdiv(bucket(batch)[0], ROWS) * cdiv(bucket(hidden)[0], UNITS) <= device.sms


def _kept_fit(ROWS, UNITS, DEPTH, SPLIT, KEPT, TOGETHER, hidden, itemsize, tensor_cores, gated, back, device):
    """Kept weights are multiplied in shared memory, and have room there."""
    columns, inner = _columns(UNITS, gated, back), max(16, next_power_of_2(_inner(hidden, gated, back)))
    beside = max(ROWS * DEPTH * itemsize, ROWS * columns * SPLIT * 4)
    fit = columns * inner * itemsize + beside + _ROOM <= device.shared_memory
    return not KEPT or (TOGETHER and tensor_cores and fit)


def _kept_in_registers(ROWS, UNITS, DEPTH, FLIPPED, KEPT, num_warps, hidden, itemsize, gated, back):
    """Tiles pass through registers on their way to shared memory: of weights; of rows, which are asked for early."""
    width, inner = 512 * 32 * num_warps, max(16, next_power_of_2(_inner(hidden, gated, back)))
    rows = ROWS * inner * itemsize
    few = rows < width + FLIPPED or (rows <= 2 * width and 8 * ROWS * DEPTH * itemsize <= width)
    return not KEPT or (few and _columns(UNITS, gated, back) * DEPTH * itemsize <= width)


def _addresses_in_registers(ROWS, FLIPPED, SPLIT, KEPT, num_warps, hidden, gated, back):
    """Triton 3.6 holds the address of each instruction's part of kept weights; 8 warps need twice as many as 4."""
    many = not FLIPPED and SPLIT == 1 and ROWS >= 64 and num_warps > 4
    return not (KEPT and many) or _inner(hidden, gated, back) < 1024


def _operands_in_registers(ROWS, UNITS, DEPTH, KEPT, num_warps, itemsize, gated, back, aligned):
    """So do those that come anew, each number by itself where rows are not aligned."""
    sides = ROWS + _columns(UNITS, gated, back)
    return KEPT or sides * DEPTH * (itemsize if aligned else 8) <= 256 * 32 * num_warps


def _aligned_ways(FLIPPED, SPLIT, KEPT, num_stages, aligned):
    """Rows that are not aligned are multiplied in the plainest way."""
    return aligned or not (FLIPPED or KEPT or SPLIT > 1 or num_stages > 1)


def _stages_fit(ROWS, UNITS, DEPTH, SPLIT, KEPT, num_stages, itemsize, gated, back, device):
    columns = _columns(UNITS, gated, back)
    tiles = (ROWS + columns) * DEPTH * itemsize * num_stages + ROWS * columns * SPLIT * 4
    return KEPT or tiles + _ROOM <= device.shared_memory


def _sums_in_registers(ROWS, UNITS, SPLIT, num_warps, tensor_cores, gated, back, aligned):
    """The sums, and what they are multiplied from."""
    most = 32 if tensor_cores and aligned and SPLIT == 1 else 16
    return ROWS * _columns(UNITS, gated, back) * SPLIT <= most * 32 * num_warps


def _units_in_registers(ROWS, UNITS, num_warps, tensor_cores, gated, back, aligned):
    """On the way back, up to sixteen numbers for each unit."""
    return not (gated and back) or ROWS * UNITS <= (8 if tensor_cores and aligned else 4) * 32 * num_warps


def _warps_have_work(ROWS, UNITS, SPLIT, num_warps, gated, back):
    return num_warps <= 4 or ROWS * _columns(UNITS, gated, back) * SPLIT >= 1024


def _stages_have_loops(DEPTH, KEPT, num_stages, hidden, gated, back):
    return num_stages == 1 or (not KEPT and num_stages * DEPTH <= next_power_of_2(_inner(hidden, gated, back)))


def _flipped_helps(UNITS, DEPTH, FLIPPED, SPLIT, KEPT, num_warps, hidden, tensor_cores, gated, back, device):
    """Enough columns for the instruction that takes 64 on its left; kept ones in one tile, else they spill."""
    inner = max(16, next_power_of_2(_inner(hidden, gated, back)))
    whole = not KEPT or (inner <= DEPTH and device.capability < 100)
    return not FLIPPED or (
        tensor_cores and SPLIT == 1 and num_warps >= 4 and whole and _columns(UNITS, gated, back) >= 64
    )


def _split_by_warps(DEPTH, SPLIT, num_warps, itemsize):
    return SPLIT == 1 or (num_warps >= SPLIT and DEPTH >= 16 * SPLIT and itemsize <= 4)


def _alone_if_too_many(TOGETHER, ROWS, UNITS, batch, hidden, device):
    """Programs that can run at once do so: a launch for each step takes longer than a meeting after it."""
    return TOGETHER or cdiv(bucket(batch)[0], ROWS) * cdiv(bucket(hidden)[0], UNITS) > device.sms


def _stages_enough(DEPTH, KEPT, num_stages, hidden, tensor_cores, gated, back, aligned):
    """Tensor cores starve where each turn of the loop waits for its own weights."""
    several = next_power_of_2(_inner(hidden, gated, back)) > DEPTH
    return num_stages > 1 or KEPT or not (tensor_cores and aligned and several)


def _ways_of_a_single_step(TOGETHER, KEPT, SPLIT, FLIPPED):
    """A step that is launched alone has many programs, and multiplies in the plainest way."""
    return TOGETHER or not (KEPT or FLIPPED or SPLIT > 1)


def _programs_share(TOGETHER, ROWS, UNITS, batch, hidden, device):
    """Programs that wait for one another share a step among an eighth of the multiprocessors, or are the smallest."""
    programs = cdiv(bucket(batch)[0], ROWS) * cdiv(bucket(hidden)[0], UNITS)
    return not TOGETHER or 8 * programs >= device.sms or (ROWS == 16 and UNITS <= 16)


def _deep_enough(ROWS, DEPTH, KEPT, hidden, gated, back, tensor_cores):
    """Short pieces of a sum wait for each other; kept weights are in few pieces."""
    inner = max(16, next_power_of_2(_inner(hidden, gated, back)))
    least = (64 if ROWS >= 64 else 128) if KEPT else 32
    return not tensor_cores or min(inner, least) <= DEPTH <= (inner if KEPT else 256)


STEPS_SPACE = Space(
    ROWS=powers(16, 64, default=16), UNITS=powers(8, 64, default=16), DEPTH=powers(16, 2048, default=32),
    FLIPPED=choices(False, True), SPLIT=choices(1, 4, 8, default=1), TOGETHER=choices(False, True),
    KEPT=choices(False, True), num_warps=choices(4, 8), num_stages=stages(1, 3, default=1),
    where=(
        _no_larger, _programs_fit, _kept_fit, _kept_in_registers, _addresses_in_registers, _operands_in_registers,
        _aligned_ways, _stages_fit,
        _sums_in_registers, _units_in_registers, _warps_have_work, _stages_have_loops, _flipped_helps, _split_by_warps,
        _ways_of_a_single_step, _programs_share, _deep_enough, _alone_if_too_many, _stages_enough,
    ),
)  # fmt: skip
