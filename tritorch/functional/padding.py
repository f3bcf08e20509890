"""Padding: elements put before and after the dimensions of a tensor, or cut off there."""

from __future__ import annotations

from operator import index as as_int

from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import kind_of, need_tensors
from tritorch.ops.pooling.shape import refuse_types

Pad = TABLE["pad"]
_KERNELS = {"reflect": "reflection_pad", "replicate": "replication_pad"}


def _pairs(op, input, pad):
    """The (before, after) of every dimension; PyTorch's list begins with the last one."""
    if not isinstance(pad, (tuple, list)):
        raise TypeError(f"{op}(): argument 'pad' (position 2) must be tuple of ints, not {type(pad).__name__}")
    for position, each in enumerate(pad):
        if not hasattr(each, "__index__"):
            raise TypeError(
                f"{op}(): argument 'pad' (position 2) must be tuple of ints, but found element of type "
                f"{type(each).__name__} at pos {position}"
            )
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    ndim = input.array.ndim
    if len(pad) > 2 * ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {ndim}"
        )
    numbers = [as_int(each) for each in pad]
    given = list(zip(numbers[0::2], numbers[1::2], strict=True))[::-1]
    return ((0, 0),) * (ndim - len(given)) + tuple(given)


@export("constant_pad_nd")
def constant_pad_nd(input, pad, value=0):
    """The tensor with `value` put before and after its last dimensions, or cut there where `pad` is negative."""
    need_tensors("constant_pad_nd", input=input)
    widths = _pairs("constant_pad_nd", input, pad)
    for dim, (size, (before, after)) in enumerate(zip(input.array.shape, widths, strict=True)):
        if size + before + after < 0:
            raise RuntimeError(
                f"The input size {size}, plus negative padding {before} and {after} resulted in a negative output "
                f"size, which is invalid. Check dimension {dim} of your input."
            )
        if min(before, 0) + min(after, 0) + size < 0:
            raise RuntimeError("narrow(): length must be non-negative.")
    number = 0 if value is None else value
    if input.array.dtype.kind in "iub":
        number = bool(number) if input.array.dtype.kind == "b" else int(number)
    return Pad.apply(input, widths, "constant", number)


@export("nn.functional.pad")
def pad(input, pad, mode="constant", value=None):
    """The tensor with its last dimensions padded: pad = (left, right, top, bottom, ...), negative to cut.

    mode  constant: `value`; reflect: mirrored at the outermost elements; replicate: these repeated; circular: the
          elements from the other end. All but the first take one to three dimensions after a channel or batch.
    """
    need_tensors("pad", input=input)
    if not isinstance(pad, (tuple, list)):
        raise TypeError(f"pad(): argument 'pad' (position 2) must be tuple of ints, not {kind_of(pad)}")
    if mode == "constant":
        return constant_pad_nd(input, pad, 0.0 if value is None else value)
    widths = _pairs("pad", input, pad)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    ndim, padded = input.array.ndim, len(pad) // 2
    if not 1 <= padded <= 3 or ndim not in (padded + 1, padded + 2):
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {ndim}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    _check_borders(input, widths, padded, mode)
    if mode == "circular" and min(pad) < 0:  # what is cut off does not come round
        cut = tuple([(min(before, 0), min(after, 0)) for before, after in widths])
        input = Pad.apply(input, cut, "constant", 0)
        widths = tuple([(max(before, 0), max(after, 0)) for before, after in widths])
    return Pad.apply(input, widths, mode, 0)


def _check_borders(input, widths, padded, mode):
    shape = input.array.shape
    if mode != "circular":
        if 0 in shape[len(shape) - padded - 1 :]:
            raise RuntimeError(
                f"Expected {padded + 1}D or {padded + 2}D (batch mode) tensor with possibly 0 batch size and other "
                f"non-zero dimensions for input, but got: {list(shape)}"
            )
        refuse_types(f"{_KERNELS[mode]}{padded}d", input.array, "b")
    for dim, (size, (before, after)) in reversed(tuple(enumerate(zip(shape, widths, strict=True)))):
        if mode == "reflect" and max(before, after) >= size and (before, after) != (0, 0):
            raise RuntimeError(
                "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
                f"({before}, {after}) at dimension {dim} of input {list(shape)}"
            )
        if mode == "circular" and max(before, after) > size:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if size + before + after < 0:
            raise RuntimeError(
                "Negative padding value is resulting in an empty dimension" if mode == "circular"
                else f"Trying to create tensor with negative dimension {size + before + after}"
            )  # fmt: skip
