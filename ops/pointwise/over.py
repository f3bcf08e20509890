"""A pointwise op whose result is written over one of its arguments: one launch, and nothing allocated."""

from __future__ import annotations

import functools
from typing import NamedTuple

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
        """The member's result, copied."""
        array[...] = cls.member.host(*arguments)
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


class Given(NamedTuple):
    """What an op gives for arguments of some kinds: of which dtype, and by which NumPy function alone, if any."""

    dtype: np.dtype
    ufunc: np.ufunc | None


_known: dict = {}


def given_by(op, arguments):
    """The Given for arrays and numbers; None where the op refuses them."""
    kinds = [op]
    for each in arguments:
        dtype = getattr(each, "dtype", None)
        kinds.append(each.__class__ if dtype is None else dtype.num if each.shape else ~dtype.num)
    kinds = tuple(kinds)
    try:
        return _known[kinds]
    except KeyError:
        found = _known[kinds] = _given_by(op, arguments)
        return found


def _given_by(op, arguments):
    if not all(hasattr(each, "dtype") or type(each) in (int, float, bool) for each in arguments):
        return None
    if op is OverwrittenBy:
        return Given(arguments[0].dtype, None)
    stand_ins = [np.zeros(each.shape and 1, each.dtype) if hasattr(each, "dtype") else each for each in arguments]
    try:
        dtype = op.promoted(stand_ins)[1]
    except (TypeError, RuntimeError, NotImplementedError):
        return None  # the op says what is wrong itself
    plain = op.straight.get(dtype)
    alone = plain is not None and all(
        each.dtype == dtype if hasattr(each, "dtype") else type(each) in plain for each in arguments
    )
    return Given(dtype, op.quick if alone and type(op.quick) is np.ufunc else None)
