"""Which tiles a matrix product may take: the space of its configs, and the one by formula where nothing was tuned.

Conditions look at sizes through the next power of two only, which is the same for all sizes of a key's bucket.
"""

from __future__ import annotations

from tritorch.autotune import Space, cdiv, choices, next_power_of_2, powers, stages
from tritorch.autotune.key import bucket

SMALLEST = 16  # the least side of a tile that tensor cores take
STAGED = 48  # elements that a thread can hold on their way to shared memory without spilling
_SIDE_KEPT = 64  # tiles are not halved below this to fill the last wave
_FILL = 0.8  # of the multiprocessors, by the last wave
PARTS = (1, 2, 4, 8, 16, 32)  # into how many parts a sum may be split
_LONG = 1024  # terms of a part of a sum, of which adding up the parts is a small share
_STAGE = 16384  # bytes that are enough to have under way while as many are multiplied
_UNDER_WAY = 40960  # bytes that the L2 cache gives a multiprocessor in the time that it waits for them
_FEW, _MANY = 16, 16  # a tile so large that not every 16th multiprocessor has one, or so small that there are 16 waves


def matmul_default(device, *, rows, columns, inner, batch=1, itemsize=4, tensor_cores=True, dots=True, aligned=True):
    """The largest tile whose accumulator fits the registers, halved while the last wave would leave many SMs idle."""
    if device.kind == "interpreter":
        # Without tl.dot a block of rows x inner x columns is made.
        side, depth = (256, 256) if dots else (64, 16)
        m, n, k = (min(max(next_power_of_2(size), SMALLEST), most)
                   for size, most in ((rows, side), (columns, side), (inner, depth)))  # fmt: skip
        return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP_M": 8, "num_warps": 4, "num_stages": 1}
    m = min(max(next_power_of_2(rows), SMALLEST), 128)
    n = min(max(next_power_of_2(columns), SMALLEST), 256)
    accumulator = 32768 if tensor_cores else 4096 if dots else 1024
    while m * n > accumulator:
        m, n = (m // 2, n) if m > n else (m, n // 2)
    while max(m, n) > _SIDE_KEPT and _last_wave(rows, columns, batch, m, n, device.sms) < _FILL * device.sms:
        m, n = (m // 2, n) if m > n else (m, n // 2)
    k, depth = max(SMALLEST, min(256, next_power_of_2(inner) // 4)), 4
    if not tensor_cores:
        k, depth = 16 if dots else 8, 2
    while k > SMALLEST and (m + n) * k * itemsize * depth > device.shared_memory:
        k //= 2
    while depth > 2 and (m + n) * k * itemsize * depth > device.shared_memory:
        depth -= 1
    warps = 8 if m * n >= (16384 if tensor_cores else 4096) else 4
    # Rows that do not start at multiples of 16 elements are loaded through registers, of which there are few.
    while not aligned and k > SMALLEST and (m + n) * k > STAGED * 32 * warps:
        k //= 2
    depth = min(depth, loops(inner, k))
    return {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k, "GROUP_M": 8, "num_warps": warps, "num_stages": depth}


def _last_wave(rows, columns, batch, m, n, sms):
    tiles = cdiv(rows, m) * cdiv(columns, n) * batch
    return tiles % sms or sms


def loops(inner, BLOCK_K):
    """How often a program goes round its loop, up to a factor of two."""
    return max(next_power_of_2(inner) // BLOCK_K, 1)


def tile_count(rows, columns, batch, BLOCK_M, BLOCK_N):
    """How many tiles a product has, up to a factor of two for each of the three."""
    sides = (next_power_of_2(rows), BLOCK_M), (next_power_of_2(columns), BLOCK_N)
    across, down = (max(size // side, 1) for size, side in sides)
    return across * down * next_power_of_2(batch)


def rows_needed(BLOCK_M, rows):
    """No more rows than there are."""
    return BLOCK_M <= max(SMALLEST, next_power_of_2(rows))


def columns_needed(BLOCK_N, columns):
    """No more columns than there are."""
    return BLOCK_N <= max(SMALLEST, next_power_of_2(columns))


def depth_that_multiplies(BLOCK_K, inner, dots, tensor_cores):
    """Tensor cores take 16 elements and more; a thread by itself few, and fewer still where it keeps all products."""
    if not dots:
        return BLOCK_K < SMALLEST
    return SMALLEST <= BLOCK_K <= (max(SMALLEST, next_power_of_2(inner)) if tensor_cores else SMALLEST)


def sums_in_registers(BLOCK_M, BLOCK_N, BLOCK_K, num_warps, dots, tensor_cores):
    """A thread keeps up to 128 sums for tensor cores, 64 of its own, or 64 products that are not summed yet."""
    elements = BLOCK_M * BLOCK_N
    most = 128 if tensor_cores else 64
    return (elements if dots else elements * BLOCK_K // 2) <= most * 32 * num_warps


def two_results_in_registers(BLOCK_M, BLOCK_N, num_warps, keeps):
    """Where what an activation is given is stored beside the result, a thread has room for 64 sums."""
    return not keeps or BLOCK_M * BLOCK_N <= 64 * 32 * num_warps


def shares(rows, columns, inner, batch, side):
    """How many programs there can be with tiles of so many rows and columns, a long sum being shared out."""
    tiles = cdiv(bucket(rows)[0], side) * cdiv(bucket(columns)[0], side) * bucket(batch)[0]
    return tiles * min(max(next_power_of_2(inner) // _LONG, 1), PARTS[-1])


def is_short(rows, columns):
    """Whether three of the least tiles cover a side."""
    return min(bucket(rows)[0], bucket(columns)[0]) <= 3 * SMALLEST


def warps_have_work(BLOCK_M, BLOCK_N, num_warps, dots):
    """Eight warps want a tile of 64 by 64, four one of 16 by 16."""
    return BLOCK_M * BLOCK_N >= (4096 if num_warps == 8 and dots else 64 * num_warps)


def tensor_cores_have_work(BLOCK_M, BLOCK_N, num_warps, rows, columns, inner, batch, tensor_cores, device):
    """Eight warps want 32 sums a thread, four twice the least tile, unless even the least are few."""
    few = is_short(rows, columns) or shares(rows, columns, inner, batch, SMALLEST) <= device.sms
    return not tensor_cores or BLOCK_M * BLOCK_N >= (8192 if num_warps == 8 else 256 if few else 512)


def stages_in_shared_memory(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize, device):
    """All stages of both operands at once."""
    return (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize * num_stages <= device.shared_memory


def stages_have_loops(BLOCK_K, num_stages, inner, tensor_cores):
    """As many stages as the loop goes round at most; tensor cores starve with one, nothing else needs four."""
    most = loops(inner, BLOCK_K)
    return min(2, most) <= num_stages <= most if tensor_cores else num_stages <= min(most, 3)


def not_too_few_tiles(BLOCK_M, BLOCK_N, rows, columns, batch, device):
    """A large tile leaves a share of the multiprocessors something to do."""
    tiles = tile_count(rows, columns, batch, BLOCK_M, BLOCK_N)
    return max(BLOCK_M, BLOCK_N) <= _SIDE_KEPT or tiles * _FEW >= device.sms


def not_too_many_tiles(BLOCK_M, BLOCK_N, rows, columns, batch, dots, device):
    """Where there are waves of tiles, small ones read their operands more often than needed."""
    least = 64 if dots else 32
    return tile_count(rows, columns, batch, BLOCK_M, BLOCK_N) <= _MANY * device.sms or (
        BLOCK_M >= min(least, next_power_of_2(rows)) and BLOCK_N >= min(least, next_power_of_2(columns))
    )


def rows_to_group(BLOCK_M, GROUP_M, rows):
    """Groups that hold all tiles are one and the same: 8 stands for them."""
    return GROUP_M == 8 or GROUP_M * BLOCK_M < next_power_of_2(rows)


def sides_worth(BLOCK_M, BLOCK_N, rows, columns, inner, batch, dots, tensor_cores, device):
    """Where tiles of 64 by 64 fill the GPU, by parts of long sums too, smaller ones read operands more often.

    Not if one side is short: tiles of half the length read nothing twice; nor a short sum, of which little is read.
    """
    if not dots or inner <= 256 or shares(rows, columns, inner, batch, 64) < device.sms:
        return True
    least = 64 if tensor_cores and not is_short(rows, columns) else 32
    return BLOCK_M >= min(_whole(rows), least) and BLOCK_N >= min(_whole(columns), least)


def _whole(size):
    """The least side that covers a size of a bucket best: 96 is 3 times 32."""
    power = next_power_of_2(size)
    return max(SMALLEST, power // 4 if 4 * bucket(size)[0] <= 3 * power else power)


def sides_alike(BLOCK_M, BLOCK_N, rows, columns):
    """A tile four times as long as wide, at most, unless it covers all of the shorter side."""
    return max(BLOCK_M, BLOCK_N) <= 4 * min(BLOCK_M, BLOCK_N) or min(BLOCK_M, BLOCK_N) >= _whole(min(rows, columns))


def waves_to_group(BLOCK_M, BLOCK_N, GROUP_M, rows, columns, batch, device):
    """Tiles that run at once meet in the cache in any order; those of a part do so before those of the next."""
    return GROUP_M == 8 or tile_count(rows, columns, batch, BLOCK_M, BLOCK_N) > device.sms


def stages_under_way(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, inner, itemsize, tensor_cores):
    """A third stage where two wait for memory, a fifth where four are little to have under way."""
    stage = (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize
    if not tensor_cores or num_stages == min(loops(inner, BLOCK_K), 3):
        return True
    return (num_stages > 2 or stage >= _STAGE) and (num_stages <= 4 or 4 * stage <= _UNDER_WAY)


def staged_in_registers(BLOCK_M, BLOCK_N, BLOCK_K, num_warps, aligned):
    """Operands that do not lie at multiples of 16 elements pass through registers."""
    return aligned or BLOCK_K <= SMALLEST or (BLOCK_M + BLOCK_N) * BLOCK_K <= STAGED * 32 * num_warps


def whole_sectors(BLOCK_K, inner, itemsize, aligned, tensor_cores):
    """Sixteen elements of a half type are a short line to read: for short sums and small shared memory only."""
    return BLOCK_K > SMALLEST or itemsize > 2 or not aligned or not tensor_cores or inner <= 4 * SMALLEST


def deep_if_small(BLOCK_M, BLOCK_N, BLOCK_K, itemsize, tensor_cores):
    """Only small tiles want more than two lines of a sum at once, and they no more than four."""
    few = 256 if BLOCK_M * BLOCK_N > 4096 else 512
    return not tensor_cores or BLOCK_K * itemsize <= few or BLOCK_K <= SMALLEST


def parts_have_loops(SPLIT_K, BLOCK_K, inner):
    """Each part goes round its loop a few times."""
    return SPLIT_K == 1 or loops(inner, BLOCK_K) >= 4 * SPLIT_K


def not_too_many_parts(SPLIT_K, BLOCK_M, BLOCK_N, rows, columns, batch, device):
    """Parts are for multiprocessors without a tile."""
    return SPLIT_K == 1 or tile_count(rows, columns, batch, BLOCK_M, BLOCK_N) * SPLIT_K <= 4 * device.sms


def not_too_few_parts(SPLIT_K, BLOCK_M, BLOCK_N, BLOCK_K, rows, columns, inner, batch, itemsize, dots, device):
    """Not so few that most of the GPU idles while a long sum could be shared out; those of few results may be whole."""
    whole = not dots or itemsize > 4 or (is_short(rows, columns) and next_power_of_2(inner) <= 4 * _LONG)
    if SPLIT_K == PARTS[-1] or (SPLIT_K == 1 and whole):
        return True
    more = 8 * SPLIT_K, BLOCK_M, BLOCK_N
    return not (parts_have_loops(more[0], BLOCK_K, inner) and not_too_many_parts(*more, rows, columns, batch, device))


_PARTS_CONDITIONS = (parts_have_loops, not_too_many_parts)


def tiles_or_parts(BLOCK_M, BLOCK_N, SPLIT_K, rows, columns, batch, device):
    """A large tile leaves a share of the multiprocessors a tile, or a part of one."""
    tiles = tile_count(rows, columns, batch, BLOCK_M, BLOCK_N)
    return max(BLOCK_M, BLOCK_N) <= _SIDE_KEPT or tiles * SPLIT_K * _FEW >= device.sms


_OF_MATRICES = (
    rows_needed, columns_needed, depth_that_multiplies, sums_in_registers, warps_have_work, stages_in_shared_memory,
    stages_have_loops, tiles_or_parts, rows_to_group, tensor_cores_have_work, sides_worth, sides_alike, waves_to_group,
    stages_under_way,
)  # fmt: skip

MATMUL_SPACE = Space(
    BLOCK_M=powers(16, 256, default=128), BLOCK_N=powers(16, 256, default=128), BLOCK_K=powers(8, 256, default=64),
    GROUP_M=choices(1, 8, default=8), SPLIT_K=choices(*PARTS, default=1),
    num_warps=choices(4, 8), num_stages=stages(1, 5, default=4),
    where=(*_OF_MATRICES, two_results_in_registers, staged_in_registers, whole_sectors, deep_if_small,
           not_too_few_parts, *_PARTS_CONDITIONS),
)  # fmt: skip


def shared_memory_of(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, SPLIT_K, PIECES, itemsize, adds, keeps, wide_result):
    """The bytes of all stages, of barriers, and of a piece of the result with what is added to it and kept beside."""
    element = 4 if SPLIT_K > 1 else (4 if wide_result else itemsize) * (1 + adds + keeps)
    stages = (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize * num_stages
    return stages + BLOCK_M * BLOCK_N // PIECES * element + 1024


def tiles_in_shared_memory(
    BLOCK_M, BLOCK_N, BLOCK_K, num_stages, SPLIT_K, PIECES, itemsize, adds, keeps, wide_result, device
):  # fmt: skip
    """All stages of both operands, and what is stored at once."""
    needed = shared_memory_of(
        BLOCK_M, BLOCK_N, BLOCK_K, num_stages, SPLIT_K, PIECES, itemsize, adds, keeps, wide_result
    )
    return needed <= device.shared_memory


def sides_needed(BLOCK_M, BLOCK_N, rows, columns):
    """No more rows and columns than there are, but 64, which four warps multiply at once."""
    return BLOCK_M <= max(64, next_power_of_2(rows)) and BLOCK_N <= max(64, next_power_of_2(columns))


def most_sums(tensor_cores, itemsize, aligned=True):
    """How many elements a tile may have: what else passes through registers, and sums of float8 in two, take some."""
    if not tensor_cores:
        return 8192
    return 32768 if aligned and itemsize > 1 else 16384


def sums_of_a_thread(BLOCK_M, BLOCK_N, num_warps, itemsize):
    """Up to 128 sums a thread; eight warps have 64 rows for each four, and at least 32 sums a thread."""
    elements = BLOCK_M * BLOCK_N
    return elements <= min(4096 * num_warps, most_sums(True, itemsize)) and (
        num_warps == 4 or (BLOCK_M >= 128 and elements >= 8192)
    )


def lines_worth(BLOCK_K, itemsize):
    """A descriptor's rows are whole lines of 128 bytes, up to two of them."""
    return 128 <= BLOCK_K * itemsize <= 256


def stages_worth(BLOCK_M, BLOCK_N, BLOCK_K, num_stages, itemsize):
    """Enough under way to wait for the L2 cache while a tile is multiplied."""
    return num_stages > 2 or (BLOCK_M + BLOCK_N) * BLOCK_K * itemsize >= 32768


def pieces_worth(BLOCK_M, BLOCK_N, PIECES):
    """Only large results are stored in pieces."""
    return PIECES == 1 or BLOCK_M * BLOCK_N >= 8192 * PIECES


DESCRIPTOR_SPACE = Space(
    BLOCK_M=powers(64, 256, default=128), BLOCK_N=powers(64, 256, default=256), BLOCK_K=powers(32, 256, default=64),
    GROUP_M=choices(8), SPLIT_K=choices(*PARTS, default=1), PIECES=choices(1, 2, 4, default=2),
    num_warps=choices(4, 8), num_stages=stages(2, 6, default=4),
    where=(
        sides_needed, sums_of_a_thread, tiles_in_shared_memory, lines_worth, stages_worth, pieces_worth,
        tiles_or_parts, not_too_many_tiles, *_PARTS_CONDITIONS,
    ),
)  # fmt: skip
