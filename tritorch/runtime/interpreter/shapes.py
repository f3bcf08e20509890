"""What Triton computes anew for the type of each intermediate result, kept by shape.

A kernel's blocks have a handful of shapes, and checking one, wrapping it and comparing it takes more time than what
NumPy does with the elements. Shapes that are equal are one object here, so that most comparisons are of identity.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import triton.language as tl
from triton.runtime import interpreter as stock

_block_init, _block_eq, _tensor_init = tl.block_type.__init__, tl.block_type.__eq__, tl.tensor.__init__
_semantic = type(stock.interpreter_semantic)
_cast, _broadcast = _semantic.cast, _semantic.broadcast_impl_value
_computation_type = functools.cache(stock.interpreter_semantic.computation_type_impl)
_SCALAR = tl.tensor(None, tl.int1)


class Known(NamedTuple):
    """What block types and tensors of one shape have in common; nothing changes it."""

    shape: Any  # of the type: numbers in a tuple of Triton's
    numel: int
    text: str
    tensor_shape: Any  # of the tensor: the same as constants
    tensor_numel: Any


@functools.cache
def _known(shape):
    """All about a shape, by Triton's own checks and wrapping."""
    block = object.__new__(tl.block_type)
    _block_init(block, tl.int1, list(shape))
    tensor = object.__new__(tl.tensor)
    _tensor_init(tensor, None, block)
    return Known(block.shape, block.numel, str(block.shape), tensor.shape, tensor.numel)


def block_init(self, element_ty, shape):
    """block_type.__init__."""
    sizes = shape.values if type(shape) is tl.tuple else shape
    try:
        known = _known(tuple([each.value if type(each) is tl.constexpr else each for each in sizes]))
    except TypeError:  # no sizes, which Triton names
        _block_init(self, element_ty, shape)
    else:
        self.element_ty, self.shape, self.numel = element_ty, known.shape, known.numel
        self.name = f"<{known.text}, {element_ty}>"


def block_eq(self, other):
    """block_type.__eq__."""
    if type(other) is tl.block_type and self.shape is other.shape and self.element_ty is other.element_ty:
        return True
    return _block_eq(self, other)


def tensor_init(self, handle, type):
    """tensor.__init__."""
    self.handle, self.type, self.dtype = handle, type, type.scalar
    if type.is_block():
        known = _known(tuple(type.shape.values))
        self.shape, self.numel = known.tensor_shape, known.tensor_numel
    else:
        self.shape, self.numel = _SCALAR.shape, _SCALAR.numel


def cast(self, input, dst_ty, *rest, **keywords):
    """The conversion of a tensor; most are to the type that it has."""
    return input if input.type.scalar is dst_ty else _cast(self, input, dst_ty, *rest, **keywords)


def broadcast(self, lhs, rhs):
    """Two tensors in one shape; most are, or one is a number."""
    left, right = lhs.type, rhs.type
    if not right.is_block():
        return (lhs, _splat(self, rhs, left)) if left.is_block() else (lhs, rhs)
    if not left.is_block():
        return _splat(self, lhs, right), rhs
    return (lhs, rhs) if left.shape is right.shape else _broadcast(self, lhs, rhs)


def _splat(semantic, scalar, like):
    type = tl.block_type(scalar.dtype, like.shape)
    return tl.tensor(semantic.builder.create_splat(type, scalar.handle), type)


def computation_type(self, *kinds):
    """The type in which two operands of some types are combined."""
    return _computation_type(*kinds)


def patch_shapes(changes):
    """Note with `changes` what replaces Triton's."""
    changes.set_attr(tl.block_type, "__init__", block_init)
    changes.set_attr(tl.block_type, "__eq__", block_eq)
    changes.set_attr(tl.tensor, "__init__", tensor_init)
    changes.set_attr(_semantic, "cast", cast)
    changes.set_attr(_semantic, "broadcast_impl_value", broadcast)
    changes.set_attr(_semantic, "computation_type_impl", computation_type)
