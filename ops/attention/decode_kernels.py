"""Attention of few queries to many keys: programs share out the keys, and a second kernel joins what they found.

Batch times heads programs would leave most of a GPU idle while a sequence is generated. All queries of all heads
that share keys are the rows of one tile, so that keys and values are read once (Dao et al., "Flash-Decoding", 2023).
Each part gives its own result and the logarithm of its sum of exponentials; parts are joined in order, so results are
the same at every run.
"""

from __future__ import annotations

from tritorch.autotune import Space, choices, kernel, next_power_of_2, powers, stages
from tritorch.ops.attention.kernels import load_rows, masked, products_of_rows
from tritorch.ops.attention.tiles import LARGEST_WIDTH
from tritorch.runtime import tl

MOST_PARTS = 128
_MOST_ROWS, _LEAST_ROWS = 64, 16  # of a tile: all queries of all heads that share keys
_LEAST_ROWS_MASKED = 32  # see tiles.py: a mask of bytes decides how operands are laid out
_DEPTH_OF_THREADS = 16  # elements that threads multiply at a time, without tensor cores
_SUMS = 96  # that a thread can hold, of four bytes
_PROGRAMS = 3  # for two multiprocessors, at least, by formula: one of them alone waits for what it reads
_FEWEST_TILES = 4  # of keys in a part, by formula


def most_rows(itemsize):
    """How many queries, of all heads that share keys, a tile can hold."""
    return _MOST_ROWS if itemsize <= 4 else _MOST_ROWS // 2


def _rows_of_tile(rows, plain, itemsize):
    """The side of a tile that holds `rows` queries."""
    return min(max(_LEAST_ROWS if plain else _LEAST_ROWS_MASKED, next_power_of_2(rows)), most_rows(itemsize))


def _widest(width, value_width):
    return min(max(width, value_width), LARGEST_WIDTH)


def split_default(device, *, rows, heads, keys, width, value_width, itemsize=2, tensor_cores=True, plain=True):
    """Tiles of 64 keys, and as many parts as give every multiprocessor work; `heads` are of keys, of all batches."""
    side, widest = _rows_of_tile(rows, plain, itemsize), _widest(width, value_width)
    if device.kind == "interpreter":
        return {"ROWS": side, "COLUMNS": 64, "DEPTH": widest, "PARTS": 4, "num_warps": 4, "num_stages": 1}
    if not tensor_cores:
        columns, depth, deep = 16, _DEPTH_OF_THREADS, 1
    else:
        columns, depth, deep = 64 if widest * itemsize <= 256 else 32, widest, 3
    parts = 1
    while (
        parts < MOST_PARTS
        and 2 * parts * heads < _PROGRAMS * device.sms
        and parts * 2 * columns * _FEWEST_TILES <= next_power_of_2(keys)
    ):
        parts *= 2
    warps = 4 if _sums_in_registers(side, columns, 4, value_width, itemsize) else 8
    config = {"ROWS": side, "COLUMNS": columns, "DEPTH": depth, "PARTS": parts, "num_warps": warps}
    while deep > 1 and not _fits(side, columns, deep, width, value_width, itemsize, tensor_cores, device):
        deep -= 1
    return config | {"num_stages": deep}


def _rows_as_needed(ROWS, rows, plain, itemsize):
    """One tile holds all queries."""
    return _rows_of_tile(rows, plain, itemsize) == ROWS


def _whole_or_few(DEPTH, width, value_width, tensor_cores):
    """Tensor cores take whole rows, threads by themselves a few elements at a time."""
    return (_widest(width, value_width) if tensor_cores else _DEPTH_OF_THREADS) == DEPTH


def _tiles_of_threads(COLUMNS, num_stages, tensor_cores):
    """Without tensor cores operands lie in registers, which a pipeline would fill."""
    return tensor_cores or (COLUMNS <= 32 and num_stages == 1)


def _columns_under_masks(COLUMNS, plain, tensor_cores):
    """Rows of weights that depend on a mask of bytes have 32 elements at least, see tiles.py."""
    return plain or not tensor_cores or COLUMNS >= 32


def _sums_in_registers(ROWS, COLUMNS, num_warps, value_width, itemsize):
    """Scores, weights and sums of a tile."""
    return ROWS * (2 * COLUMNS + value_width) * max(itemsize, 4) <= 4 * _SUMS * 32 * num_warps


def _warps_have_work(ROWS, COLUMNS, num_warps):
    """Eight warps want 512 scores."""
    return num_warps == 4 or ROWS * COLUMNS >= 512


def _fits(ROWS, COLUMNS, num_stages, width, value_width, itemsize, tensor_cores, device):
    """Queries, weights, and the keys and values of all stages in shared memory."""
    elements = ROWS * (width + COLUMNS) + num_stages * COLUMNS * (width + value_width)
    return not tensor_cores or elements * itemsize <= device.shared_memory


def _parts_have_keys(COLUMNS, PARTS, keys):
    """A tile of keys at least."""
    return PARTS == 1 or COLUMNS * PARTS <= next_power_of_2(keys)


SPLIT_SPACE = Space(
    ROWS=powers(_LEAST_ROWS, _MOST_ROWS, default=_LEAST_ROWS), COLUMNS=powers(16, 128, default=64),
    DEPTH=powers(16, 256, default=128), PARTS=powers(1, MOST_PARTS, default=16),
    num_warps=choices(4, 8), num_stages=stages(1, 4, default=3),
    where=(_rows_as_needed, _whole_or_few, _tiles_of_threads, _columns_under_masks, _sums_in_registers,
           _warps_have_work, _fits, _parts_have_keys),
)  # fmt: skip


@kernel(
    space=SPLIT_SPACE,
    default=split_default,
    key=("BOOLEAN", "WIDE", "PRECISION"),
    do_not_specialize=("keys", "parts", "tiles"),  # which grow from token to token
)
def split_kernel(
    q,  # queries: (batch, heads, length, width) by its strides
    k,  # keys: (batch, heads / group, keys, width) by its strides
    v,  # values: (batch, heads / group, keys, value width) by its strides
    mask,  # None, or what may be attended or is added: (batch, heads, length, keys) by its strides
    out,  # what each part attends: (batch, heads, length, value width, parts) by its strides
    log_sum,  # of the exponentials of a row's scores in a part: (parts, batch, heads, length)
    heads,
    group,
    length,
    keys,
    width,
    value_width,
    q_strides,
    k_strides,
    v_strides,
    mask_strides,
    out_strides,
    parts,
    tiles,  # of keys, of a part
    scale: tl.float64,
    empty: tl.float64,  # the logarithm of a sum of nothing
    BOOLEAN: tl.constexpr,  # the mask says what may be attended
    WIDE: tl.constexpr,  # 64-bit offsets within a head
    ACCUMULATE: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,  # elements of a row multiplied at a time
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    part, place = tl.program_id(0) % parts, tl.program_id(0) // parts
    shared = heads // group  # heads of keys
    batch, key_head = (place // shared).to(tl.int64), (place % shared).to(tl.int64)
    k += batch * k_strides[0] + key_head * k_strides[1]
    v += batch * v_strides[0] + key_head * v_strides[1]
    number = tl.arange(0, ROWS)
    row_inside = number < group * length
    head, row = key_head * group + number // length, (number % length).to(tl.int64)
    q_rows = q + batch * q_strides[0] + head * q_strides[1] + row * q_strides[2]
    tile = load_rows(q_rows, q_strides[3], row_inside, width, 0, WIDTH if DEPTH >= WIDTH else DEPTH)
    if mask is not None:
        mask += batch * mask_strides[0]
    mask_rows = head * mask_strides[1] + row * mask_strides[2]
    highest = tl.full([ROWS], float("-inf"), ACCUMULATE)
    sums = tl.zeros([ROWS], ACCUMULATE)
    total = tl.zeros([ROWS, VALUE_WIDTH], ACCUMULATE)
    for start in range(part * tiles * COLUMNS, tl.minimum(keys, (part + 1) * tiles * COLUMNS), COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        if WIDE:
            column = column.to(tl.int64)
        column_inside = column < keys
        k_rows = k + column * k_strides[2]
        if DEPTH >= WIDTH:
            other = load_rows(k_rows, k_strides[3], column_inside, width, 0, WIDTH)
            zero = tl.zeros([ROWS, COLUMNS], ACCUMULATE)
            scores = tl.dot(tile, tl.trans(other), zero, input_precision=PRECISION, out_dtype=ACCUMULATE)
        else:
            scores = products_of_rows(
                q_rows, q_strides[3], row_inside, k_rows, k_strides[3], column_inside, width,
                ACCUMULATE, PRECISION, WIDTH, DEPTH, ROWS, COLUMNS,
            )  # fmt: skip
        scores = masked(
            scores * scale.to(ACCUMULATE), mask, mask_rows[:, None] + column[None, :] * mask_strides[3],
            row_inside[:, None], column_inside[None, :], column_inside[None, :], BOOLEAN, True, ACCUMULATE,
        )  # fmt: skip
        higher = tl.maximum(highest, tl.max(scores, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher).to(ACCUMULATE)
        weights = tl.exp(scores - base[:, None])
        shrink = tl.exp(highest - base)
        sums = sums * shrink + tl.sum(weights, 1)
        value = load_rows(v + column * v_strides[2], v_strides[3], column_inside, value_width, 0, VALUE_WIDTH)
        total = total * shrink[:, None]
        total = tl.dot(weights.to(value.dtype), value, total, input_precision=PRECISION, out_dtype=ACCUMULATE)
        highest = higher
    none = sums == 0
    result = total / tl.where(none, 1.0, sums).to(ACCUMULATE)[:, None]
    batches = tl.num_programs(0) // parts // shared
    line = ((part * batches + batch) * heads + head) * length + row
    logarithm = tl.where(none, empty.to(ACCUMULATE), highest + tl.log(sums))
    tl.store(log_sum + line, logarithm.to(ACCUMULATE), mask=row_inside)
    column = tl.arange(0, VALUE_WIDTH)
    out += batch * out_strides[0] + part.to(tl.int64) * out_strides[4]
    out_rows = out + head * out_strides[1] + row * out_strides[2]
    tl.store(
        out_rows[:, None] + column[None, :] * out_strides[3], result.to(out.dtype.element_ty),
        mask=row_inside[:, None] & (column < value_width)[None, :],
    )  # fmt: skip


@kernel(do_not_specialize=("parts",))
def join_kernel(
    part_out,  # what each part attended: (parts, rows of all heads, value width)
    part_log_sum,  # logarithms of the parts' sums, -inf where there was nothing: (parts, rows of all heads)
    out,  # the result: (batch, heads, length, value width) by its strides
    log_sum,  # logarithms of the whole sums, 0 where there was nothing: (batch, heads, length)
    heads,
    length,
    value_width,
    out_strides,
    parts,
    ACCUMULATE: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,  # parts at a time
):
    rows, line = tl.num_programs(0), tl.program_id(0).to(tl.int64)
    column, inside = tl.arange(0, VALUE_WIDTH), tl.arange(0, VALUE_WIDTH) < value_width
    highest = tl.full([1], float("-inf"), ACCUMULATE)
    sums = tl.zeros([1], ACCUMULATE)
    total = tl.zeros([VALUE_WIDTH], ACCUMULATE)
    for start in range(0, parts, BLOCK):
        part = (start + tl.arange(0, BLOCK)).to(tl.int64)
        at = part * rows + line
        logarithm = tl.load(part_log_sum + at, mask=part < parts, other=float("-inf"))
        found = tl.load(
            part_out + at[:, None] * value_width + column[None, :],
            mask=(part < parts)[:, None] & inside[None, :], other=0,
        )  # fmt: skip
        higher = tl.maximum(highest, tl.max(logarithm, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher).to(ACCUMULATE)
        share, shrink = tl.exp(logarithm - base), tl.exp(highest - base)
        sums = sums * shrink + tl.sum(share, 0)
        total = total * shrink + tl.sum(found * share[:, None], 0)
        highest = higher
    none = sums == 0
    result = total / tl.where(none, 1.0, sums).to(ACCUMULATE)
    tl.store(log_sum + line + tl.arange(0, 1), tl.where(none, 0.0, highest + tl.log(sums)).to(ACCUMULATE))
    place, row = line // length, line % length
    out += place // heads * out_strides[0] + place % heads * out_strides[1] + row * out_strides[2]
    tl.store(out + column * out_strides[3], result.to(out.dtype.element_ty), mask=inside)
