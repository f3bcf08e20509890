"""ReduceOp: how the values of several ranks become one."""

from __future__ import annotations

from enum import IntEnum


class ReduceOp(IntEnum):
    """How the values of several ranks become one."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7


ReduceOp.RedOpType = ReduceOp  # type: ignore[attr-defined]  # the name by which PyTorch's own enumeration goes


class reduce_op:
    """The older spelling of ReduceOp."""

    SUM, PRODUCT, MIN, MAX = ReduceOp.SUM, ReduceOp.PRODUCT, ReduceOp.MIN, ReduceOp.MAX
