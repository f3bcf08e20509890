"""The kernels of grid sampling: forward, by the grid, and the shares of the gradient by the images."""

from __future__ import annotations

from tritorch.autotune import Space, kernel, powers, warps
from tritorch.ops.pointwise.family import block_space, pointwise_default
from tritorch.ops.resample.weights import safe
from tritorch.runtime import tl

_SPACE = block_space(least=1, most=8)


def _few_elements(BLOCK, EACH, num_warps):
    """One to four places a thread, which keeps their positions and the sums of a few channels."""
    return 32 * num_warps <= BLOCK <= 128 * num_warps and BLOCK * EACH <= 512 * num_warps


_KEY = ("WEIGHT", "PLACE", "CORNERS", "RANK", "WIDE")  # the other functions come with those


_READ_SPACE = Space(
    BLOCK=powers(32, 1024, default=256), EACH=powers(1, 8), num_warps=warps(1, 8), where=(_few_elements,)
)


def read_default(device, *, count):
    """One place a thread, and four channels of it; large blocks interpreted."""
    if device.kind == "interpreter":
        return {**pointwise_default(device, count=count), "EACH": 2}
    return {"BLOCK": 256, "EACH": 4, "num_warps": 8}


def grid_default(device, *, count):
    """Few elements a thread, each of which keeps its positions and weights in registers; large blocks interpreted."""
    if device.kind == "interpreter":
        return pointwise_default(device, count=count)
    return {"BLOCK": 256, "num_warps": 4}


@kernel
def _coordinate(grid, known, at, size, CORNERS: tl.constexpr, COMPUTE: tl.constexpr):
    """A grid's coordinate number `at`, from -1 to 1, as a position in an image of `size` elements."""
    value = tl.load(grid + at, mask=known, other=0).to(COMPUTE)
    return (value + 1) * 0.5 * (size - 1) if CORNERS else ((value + 1) * size - 1) * 0.5


@kernel
def _coordinates(grid, known, size, CORNERS: tl.constexpr, RANK: tl.constexpr, COMPUTE: tl.constexpr):
    """The three positions of a place, along depth, height and width; the first is 0 where there is no depth."""
    across = _coordinate(grid, known, 0, size[2], CORNERS, COMPUTE)
    down = _coordinate(grid, known, 1, size[1], CORNERS, COMPUTE)
    back = _coordinate(grid, known, 2, size[0], CORNERS, COMPUTE) if RANK == 3 else tl.zeros_like(across)
    return back, down, across


@kernel
def _moved(position, size, PLACE: tl.constexpr, LATE: tl.constexpr, CORNERS: tl.constexpr):
    """The position, where its border moves it to."""
    return safe(position) if LATE else safe(PLACE(position, size, CORNERS))


@kernel
def _element(position, size, PLACE: tl.constexpr, LATE: tl.constexpr, CORNERS: tl.constexpr, WIDE: tl.constexpr):
    """The number of the element at a whole position, where its border moves it to."""
    found = safe(PLACE(position, size, CORNERS)) if LATE else position
    return found.to(tl.int64) if WIDE else found.to(tl.int32)


@kernel(space=_READ_SPACE, default=read_default, key=_KEY)
def grid_sample_kernel(
    x,  # images: (images, channels, *size) by x_strides
    grid,  # contiguous: (images, places, RANK), the last dimension's coordinate first
    out,  # contiguous: (images, channels, places)
    count,  # of images and places
    channels,
    places,
    size,  # of x: depth, height, width
    x_strides,
    START: tl.constexpr, WEIGHT: tl.constexpr, PLACE: tl.constexpr, LATE: tl.constexpr, CORNERS: tl.constexpr,
    DEEP: tl.constexpr,  # taps along the depth
    TAPS: tl.constexpr,  # along each of the others
    RANK: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,  # 64-bit offsets
    BLOCK: tl.constexpr,
    EACH: tl.constexpr,  # channels that are read with the same weights
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    channel = index * 0 + tl.program_id(1) * EACH
    known = index < count
    image = index // places
    grid += index * RANK
    x += image * x_strides[0] + channel * x_strides[1]
    out += (image * channels + channel) * places + index % places
    back, down, across = _coordinates(grid, known, size, CORNERS, RANK, COMPUTE)
    back, down = _moved(back, size[0], PLACE, LATE, CORNERS), _moved(down, size[1], PLACE, LATE, CORNERS)
    across = _moved(across, size[2], PLACE, LATE, CORNERS)
    totals = ()
    for _ in tl.static_range(EACH):
        totals = totals + (tl.zeros([BLOCK], COMPUTE),)  # type: ignore  # noqa: RUF005, Triton takes no starred tuples
    for i in tl.static_range(DEEP):
        deep = START(back) + i if RANK == 3 else back
        layer = _element(deep, size[0], PLACE, LATE, CORNERS, WIDE)
        for j in tl.static_range(TAPS):
            low = START(down) + j
            row = _element(low, size[1], PLACE, LATE, CORNERS, WIDE)
            weight = WEIGHT(back - deep) * WEIGHT(down - low)
            line = known & (layer >= 0) & (layer < size[0]) & (row >= 0) & (row < size[1])
            for k in tl.static_range(TAPS):
                right = START(across) + k
                column = _element(right, size[2], PLACE, LATE, CORNERS, WIDE)
                inside = line & (column >= 0) & (column < size[2])
                offset = layer * x_strides[2] + row * x_strides[3] + column * x_strides[4]
                share, sums = weight * WEIGHT(across - right), ()
                for c in tl.static_range(EACH):
                    value = tl.load(x + offset + c * x_strides[1], mask=inside & (channel + c < channels), other=0)
                    sums = sums + (totals[c] + value.to(COMPUTE) * share,)  # type: ignore  # noqa: RUF005
                totals = sums
    for c in tl.static_range(EACH):
        tl.store(out + c * places, totals[c].to(out.dtype.element_ty), mask=known & (channel + c < channels))


@kernel(space=_SPACE, default=grid_default, key=(*_KEY, "channels"))
def grid_gradient_kernel(
    grad,  # contiguous: (images, channels, places)
    x,  # images: (images, channels, *size) by x_strides
    grid,  # contiguous: (images, places, RANK)
    out,  # as grid
    count,  # of images and places
    channels,
    places,
    size,
    x_strides,
    START: tl.constexpr, WEIGHT: tl.constexpr, SLOPE: tl.constexpr,
    PLACE: tl.constexpr, PLACE_SLOPE: tl.constexpr, LATE: tl.constexpr, CORNERS: tl.constexpr,
    TAPS: tl.constexpr,
    RANK: tl.constexpr,
    COMPUTE: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if WIDE:
        index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = index < count
    image = index // places
    grad += image * channels * places + index % places
    x += image * x_strides[0]
    grid += index * RANK
    first_back, first_down, first_across = _coordinates(grid, known, size, CORNERS, RANK, COMPUTE)
    back, down = _moved(first_back, size[0], PLACE, LATE, CORNERS), _moved(first_down, size[1], PLACE, LATE, CORNERS)
    across = _moved(first_across, size[2], PLACE, LATE, CORNERS)
    by_back, by_down, by_across = back * 0, back * 0, back * 0
    for i in range(TAPS[0]):
        deep = START(back) + i if RANK == 3 else back
        layer = _element(deep, size[0], PLACE, LATE, CORNERS, WIDE)
        for j in range(TAPS[1]):
            low = START(down) + j
            row = _element(low, size[1], PLACE, LATE, CORNERS, WIDE)
            line = known & (layer >= 0) & (layer < size[0]) & (row >= 0) & (row < size[1])
            for k in range(TAPS[2]):
                right = START(across) + k
                column = _element(right, size[2], PLACE, LATE, CORNERS, WIDE)
                inside = line & (column >= 0) & (column < size[2])
                offset = layer * x_strides[2] + row * x_strides[3] + column * x_strides[4]
                total = tl.zeros([BLOCK], COMPUTE)
                value, share = x + offset, grad
                for _ in range(channels):
                    product = tl.load(value, mask=inside, other=0).to(COMPUTE)
                    total += product * tl.load(share, mask=inside, other=0).to(COMPUTE)
                    value += x_strides[1]
                    share += places
                first, second, third = WEIGHT(back - deep), WEIGHT(down - low), WEIGHT(across - right)
                by_back += total * SLOPE(back - deep) * second * third
                by_down += total * first * SLOPE(down - low) * third
                by_across += total * first * second * SLOPE(across - right)
    out += index * RANK
    if not LATE:
        by_across *= PLACE_SLOPE(first_across, size[2], CORNERS)
        by_down *= PLACE_SLOPE(first_down, size[1], CORNERS)
        by_back *= PLACE_SLOPE(first_back, size[0], CORNERS)
    tl.store(out, (by_across * ((size[2] - CORNERS) * 0.5)).to(out.dtype.element_ty), mask=known)
    tl.store(out + 1, (by_down * ((size[1] - CORNERS) * 0.5)).to(out.dtype.element_ty), mask=known)
    if RANK == 3:
        tl.store(out + 2, (by_back * ((size[0] - CORNERS) * 0.5)).to(out.dtype.element_ty), mask=known)


@kernel(space=_SPACE, default=grid_default, key=(*_KEY[:-1], "channels"))
def grid_rows_kernel(
    grad,  # contiguous: (images, channels, places)
    grid,  # contiguous: (images, places, RANK)
    rows,  # each element's share of the gradient: (images, places, taps, channels)
    targets,  # where in the gradient by the images its row belongs, `bound` for nowhere: (images, places, taps)
    bound,
    count,  # of images and places
    channels,
    places,
    size,
    START: tl.constexpr, WEIGHT: tl.constexpr, PLACE: tl.constexpr, LATE: tl.constexpr, CORNERS: tl.constexpr,
    TAPS: tl.constexpr,
    RANK: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    known = index < count
    image = index // places
    grad += image * channels * places + index % places
    grid += index * RANK
    back, down, across = _coordinates(grid, known, size, CORNERS, RANK, COMPUTE)
    back, down = _moved(back, size[0], PLACE, LATE, CORNERS), _moved(down, size[1], PLACE, LATE, CORNERS)
    across = _moved(across, size[2], PLACE, LATE, CORNERS)
    for i in range(TAPS[0]):
        deep = START(back) + i if RANK == 3 else back
        layer = _element(deep, size[0], PLACE, LATE, CORNERS, True)
        for j in range(TAPS[1]):
            low = START(down) + j
            row = _element(low, size[1], PLACE, LATE, CORNERS, True)
            line = known & (layer >= 0) & (layer < size[0]) & (row >= 0) & (row < size[1])
            for k in range(TAPS[2]):
                right = START(across) + k
                column = _element(right, size[2], PLACE, LATE, CORNERS, True)
                inside = line & (column >= 0) & (column < size[2])
                number = index * (TAPS[0] * TAPS[1] * TAPS[2]) + (i * TAPS[1] + j) * TAPS[2] + k
                target = (image * channels * size[0] + layer) * size[1] * size[2] + row * size[2] + column
                tl.store(targets + number, tl.where(inside, target, bound), mask=known)
                weight = WEIGHT(back - deep) * WEIGHT(down - low) * WEIGHT(across - right)
                share, row_start = grad, rows + number * channels
                for channel in range(channels):
                    value = weight * tl.load(share, mask=inside, other=0).to(COMPUTE)
                    tl.store(row_start + channel, value, mask=known)
                    share += places
