"""A pointwise op whose result is written over one of its arguments: one launch, and nothing allocated."""

from __future__ import annotations

import functools

import numpy as np

from tritorch.ops.base import Op
from tritorch.ops.pointwise.cast import OverwrittenBy, copy_elements
from tritorch.ops.pointwise.family import Pointwise
from tritorch.ops.pointwise.kernel import launch_pointwise


class Over(Op, abstract=True):
    """`member` of the arguments, written over the array, which comes first and again in its place among them."""

    in_place = True
    member: type[Pointwise]

    @classmethod
    def host(cls, array, *arguments):
        """By NumPy's `out=` where the op is one of its functions and nothing is promoted."""
        member = cls.member
        if type(member.quick) is np.ufunc and array.dtype in member.straight:
            plain = member.straight[array.dtype]
            if all(getattr(each, "dtype", None) == array.dtype or type(each) in plain for each in arguments):
                member.quick(*arguments, out=array)
                return array
        array[...] = member.host(*arguments)
        return array

    def forward(self, array, *arguments):
        """One launch."""
        member = self.member
        compute, result = member.promoted(arguments)
        return launch_pointwise(member.op_name, member.value, arguments, compute, result, member.condition, out=array)


class CopiedOver(Op, abstract=True):
    """A source, broadcast and cast, written over the array, which comes first and again."""

    in_place = True

    @staticmethod
    def host(array, _, source):
        """As the reference gives it."""
        array[...] = OverwrittenBy.reference(array, source)
        return array

    def forward(self, array, _, source):
        """One launch."""
        copy_elements(np.broadcast_to(source, array.shape) if isinstance(source, np.ndarray) else source, array)
        return array


@functools.cache
def over(op):
    """The op that writes what `op` gives over an array, or None where there is none."""
    if op is OverwrittenBy:
        return CopiedOver
    if not issubclass(op, Pointwise) or op.forward is not Pointwise.forward:
        return None
    return type(f"{op.__name__}Over", (Over,), {"member": op, "op_name": f"{op.op_name}_"}, abstract=True)


@functools.lru_cache(maxsize=4096)
def gives(op, kinds):
    """The NumPy dtype of the result of an op for arguments of `kinds`: (dtype, dimensionless) of an array or a type."""
    if op is OverwrittenBy:
        return kinds[0][0]
    stand_ins = [np.zeros((), kind[0]) if kind[1] else np.zeros(1, kind[0]) for kind in kinds if type(kind) is tuple]
    arrays = iter(stand_ins)
    try:
        return op.promoted([next(arrays) if type(kind) is tuple else kind() for kind in kinds])[1]
    except (TypeError, RuntimeError, NotImplementedError):
        return None  # it will say so itself
