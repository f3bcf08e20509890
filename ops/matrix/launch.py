"""How a product is launched: which kernel its operands' layout and the device allow, in parts or whole, and its end."""

from __future__ import annotations

import math
from typing import NamedTuple

from tritorch.autotune import cdiv, device_of
from tritorch.ops.layout import broadcast_strides, element_strides, empty_like, merge, needs_64_bits
from tritorch.ops.matrix.descriptor_kernel import descriptor_kernel
from tritorch.ops.matrix.epilogue import sum_parts_kernel
from tritorch.ops.matrix.kernel import accumulator, dot_settings, matmul_kernel, operand_strides
from tritorch.ops.shape.pad import launch_pad
from tritorch.runtime import descriptors
from tritorch.runtime.specialise import ALIGNMENT, address_of

WORTH_DESCRIBING = 64 * 128  # elements of the result for each multiprocessor: few are over before they pay
WORTH_REARRANGING = 1024  # rows and columns: so often is each element of an operand multiplied that is copied first
_LONGEST_STEP = 2**40  # bytes, of a descriptor


class Layout(NamedTuple):
    """How the operands of a product lie: sizes, the merged batch, and steps in elements."""

    rows: int
    columns: int
    inner: int
    batch: tuple
    a_batch: tuple
    b_batch: tuple
    residual_batch: tuple
    a_row: int
    a_inner: int
    b_inner: int
    b_column: int
    residual_row: int
    residual_column: int
    wide: bool  # whether an offset can pass 2^31


def laid_out(a, b, residual, bias_step, shape):
    """The Layout of operands whose product has `shape`, and of what is added to it."""
    *batch, rows, columns = shape
    inner = a.shape[-1]
    (*a_batch, a_row, a_inner), (*b_batch, b_inner, b_column) = operand_strides(a, shape), operand_strides(b, shape)
    *more, residual_row, residual_column = [0] * len(shape) if residual is None else broadcast_strides(residual, shape)
    # Batches of one and the same right operand are more rows of one product, where the rows go on evenly.
    if batch and not any(b_batch):
        flat, steps = merge((*batch, rows), [(*a_batch, a_row), (*more, residual_row)])
        if len(flat) < 2:
            rows = math.prod((*batch, rows))
            a_row, residual_row = ((*each, 0)[0] for each in steps)
            batch = a_batch = b_batch = more = ()
    flat, steps = merge(batch, [tuple(a_batch), tuple(b_batch), tuple(more)])
    wide = (
        needs_64_bits((rows, inner), [(a_row, a_inner)])
        or needs_64_bits((inner, columns), [(b_inner, b_column)])
        or needs_64_bits((rows, columns), [(columns, 1), (residual_row, residual_column), (0, bias_step)])
    )
    return Layout(rows, columns, inner, flat, *steps, a_row, a_inner, b_inner, b_column, residual_row, residual_column,
                  wide)  # fmt: skip


class Described(NamedTuple):
    """How a descriptor reads an operand: TURNED where its columns lie without gaps, and the steps."""

    turned: bool
    step: int
    batch_steps: tuple  # none for one and the same matrix


def described(array, sizes, steps, batch_steps):
    """The Described of an operand of `sizes` that lies by `steps`, or None where no descriptor can be made of it."""
    itemsize = array.dtype.itemsize
    whole = ALIGNMENT // itemsize
    if address_of(array) % ALIGNMENT:
        return None
    for turned, (length, outer), (step, unit) in ((False, sizes[::-1], steps), (True, sizes, steps[::-1])):
        if unit != 1:
            continue
        if outer == 1:  # no step is ever made
            step = cdiv(length, whole) * whole
        if not any(batch_steps):
            batch_steps = ()
        if all(0 < each < _LONGEST_STEP // itemsize and each % whole == 0 for each in (step, *batch_steps)):
            return Described(turned, step, batch_steps)
    return None


def takes_descriptors(a, layout, tensor_cores):
    """Whether the device makes descriptors, and the product is worth the microsecond that takes."""
    device = device_of(a)
    if not (tensor_cores and descriptors.enabled and device.capability >= descriptors.CAPABILITY and layout.inner):
        return False
    size = layout.rows * layout.columns * math.prod(layout.batch)
    return len(layout.batch) < 3 and min(layout.rows, layout.columns) >= 64 and size >= WORTH_DESCRIBING * device.sms


def operands_described(a, b, layout):
    """The Described of both operands, None for one that no descriptor can be made of."""
    first = described(a, (layout.rows, layout.inner), (layout.a_row, layout.a_inner), layout.a_batch)
    other = described(b, (layout.inner, layout.columns), (layout.b_inner, layout.b_column), layout.b_batch)
    return first, other


def rearranged(array):
    """A copy of which a descriptor can be made: the rows, or columns that lie without gaps, start at 16 bytes."""
    steps = element_strides(array)
    turned = steps[-2] == 1 and steps[-1] != 1
    order = (*range(array.ndim - 2), array.ndim - 1, array.ndim - 2)
    rows = array.transpose(*order) if turned else array
    length, whole = rows.shape[-1], ALIGNMENT // array.dtype.itemsize
    copy = launch_pad(rows, (*[(0, 0)] * (rows.ndim - 1), (0, -length % whole)), "constant", 0)[..., :length]
    return copy.transpose(*order) if turned else copy


class Ending(NamedTuple):
    """What becomes of a product's sums: activation(alpha * sums + bias) + beta * residual."""

    bias: object
    bias_step: int
    residual: object
    alpha: float
    beta: float
    activation: object
    before: object  # None, or where what the activation is given goes

    @property
    def scaled(self):
        """Whether alpha or beta is not one."""
        return self.alpha != 1 or (self.residual is not None and self.beta != 1)


_NOTHING = Ending(None, 0, None, 1.0, 1.0, None, None)


def launch_matmul(a, b, shape, bias=None, activation=None, residual=None, alpha=1, beta=1, out=None, before=None):
    """activation(alpha * (a @ b) + bias) + beta * residual, as a contiguous array of `shape`.

    a is (..., rows, inner), b (..., inner, columns), batches broadcast; `bias` has an element for each column or one,
    `residual` broadcasts to `shape`. The result is written to `out` where that is given: a contiguous array of `shape`,
    which may be the residual itself, for sums to be added to what is there. What the activation is given goes to
    `before`, an array like the result, where there is one.
    """
    out = empty_like(a, shape) if out is None else out
    if out.size == 0:
        return out
    step = element_strides(bias)[0] if bias is not None and bias.shape == shape[-1:] else 0
    layout = laid_out(a, b, residual, step, shape)
    ending = Ending(bias, step, residual, float(alpha), float(beta), activation, before)
    constants, sizes = dot_settings(a.dtype)
    if takes_descriptors(a, layout, sizes["tensor_cores"]):
        places = operands_described(a, b, layout)
        if None in places and len(layout.batch) < 2 and min(layout.rows, layout.columns) >= WORTH_REARRANGING:
            a, b = (array if place else rearranged(array) for array, place in zip((a, b), places, strict=True))
            layout = laid_out(a, b, residual, step, shape)
            places = operands_described(a, b, layout)
        if None not in places:
            _by_descriptors(a, b, out, layout, ending, constants, places)
            return out
    _by_pointers(a, b, out, layout, ending, constants, sizes)
    return out


def _by_pointers(a, b, out, layout, ending, constants, sizes):
    aligned = all(step == 1 or step % 16 == 0
                  for step in (layout.a_row, layout.a_inner, layout.b_inner, layout.b_column))  # fmt: skip
    rank, count = len(layout.batch), math.prod(layout.batch)
    config = matmul_kernel.config(
        (a, b, ending.bias, ending.residual, ending.before, out), rows=layout.rows, columns=layout.columns,
        inner=layout.inner, batch=count, aligned=aligned, keeps=ending.before is not None, **sizes,
        ACTIVATION=ending.activation, SCALED=ending.scaled, PRECISION=constants["PRECISION"], RANK=rank,
        WIDE=layout.wide, a_across=layout.a_inner != 1, b_across=layout.b_column != 1,
    )  # fmt: skip
    tiles = cdiv(layout.rows, config["BLOCK_M"]) * cdiv(layout.columns, config["BLOCK_N"])
    end, target = _end_and_target(a, out, layout, ending, config["SPLIT_K"])
    matmul_kernel[(tiles * count * config["SPLIT_K"],)](
        a, b, end.bias, end.residual, end.before, target, layout.rows, layout.columns, layout.inner, layout.a_row,
        layout.a_inner, layout.b_inner, layout.b_column, end.bias_step, layout.residual_row, layout.residual_column,
        layout.batch, (*layout.a_batch, *layout.b_batch, *layout.residual_batch), end.alpha, end.beta, RANK=rank,
        ACTIVATION=end.activation, SCALED=end.scaled, WIDE=layout.wide,
        EVEN_K=layout.inner % config["BLOCK_K"] == 0, **constants, **config,
    )  # fmt: skip
    _sum_parts(target, out, layout, ending, config["SPLIT_K"])


def _by_descriptors(a, b, out, layout, ending, constants, places):
    first, other = places
    count = math.prod(layout.batch)
    whole, residual = ALIGNMENT // out.dtype.itemsize, ending.residual
    itemsizes = [each.dtype.itemsize for each in (out, residual) if each is not None]
    facts = {
        "PRECISION": constants["PRECISION"], "WIDE": layout.wide, "A_TURNED": first.turned, "B_TURNED": other.turned,
        "A_RANK": len(first.batch_steps), "B_RANK": len(other.batch_steps), "RANK": len(layout.batch),
        "OUT_DESCRIBED": layout.columns % whole == 0 and not address_of(out) % ALIGNMENT,
    }  # fmt: skip
    config = descriptor_kernel.config(
        (a, b, ending.bias, residual, ending.before, out), rows=layout.rows, columns=layout.columns,
        inner=layout.inner, batch=count, itemsize=a.dtype.itemsize,
        adds=residual is not None, keeps=ending.before is not None, wide_result=max(itemsizes) > a.dtype.itemsize,
        ACTIVATION=ending.activation, SCALED=ending.scaled, **facts,
    )  # fmt: skip
    tiles = cdiv(layout.rows, config["BLOCK_M"]) * cdiv(layout.columns, config["BLOCK_N"])
    end, target = _end_and_target(a, out, layout, ending, config["SPLIT_K"])
    programs = min(tiles * count * config["SPLIT_K"], device_of(a).sms)
    descriptor_kernel[(programs,)](
        a, b, end.bias, end.residual, end.before, target, layout.rows, layout.columns, layout.inner, count, first.step,
        other.step, layout.batch, first.batch_steps, other.batch_steps, end.bias_step, layout.residual_row,
        layout.residual_column, layout.residual_batch, end.alpha, end.beta, ACTIVATION=end.activation,
        SCALED=end.scaled, **facts, **config,
    )  # fmt: skip
    _sum_parts(target, out, layout, ending, config["SPLIT_K"])


def _end_and_target(a, out, layout, ending, parts):
    """How a kernel that splits sums into `parts` ends, and what it writes: for more than one the bare sums."""
    if parts == 1:
        return ending, out
    shape = (parts, math.prod(layout.batch), layout.rows, layout.columns)
    return _NOTHING, empty_like(a, shape, accumulator(a.dtype))


def _sum_parts(work, out, layout, ending, parts):
    """The sum of the parts of a product, where there are some, with its end."""
    if parts == 1:
        return
    rank, count = len(layout.batch), math.prod(layout.batch)
    facts = {"ACTIVATION": ending.activation, "SCALED": ending.scaled, "RANK": rank, "WIDE": layout.wide}
    facts["PARTS"] = parts
    config = sum_parts_kernel.config(
        (work, ending.bias, ending.residual, ending.before, out), rows=layout.rows, columns=layout.columns,
        batch=count, **facts,
    )  # fmt: skip
    blocks = cdiv(layout.rows, config["ROWS"]) * cdiv(layout.columns, config["COLUMNS"])
    sum_parts_kernel[(blocks * count,)](
        work, ending.bias, ending.residual, ending.before, out, layout.rows, layout.columns, count, ending.bias_step,
        layout.residual_row, layout.residual_column, layout.batch,
        (*layout.a_batch, *layout.b_batch, *layout.residual_batch), ending.alpha, ending.beta, **facts, **config,
    )  # fmt: skip
