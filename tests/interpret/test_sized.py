"""Interpret tier: arguments of a given size, made for the tuner and the benchmark, are what an op can take."""

from __future__ import annotations

import inspect
import zlib

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.ops.draw import Draw
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes
from tritorch.validation import check_forward

SMALL = 8  # sizes are no larger here
SIZED = sorted(name for name, op in TABLE.items() if op.sized is not None)


def small_sizes(op):
    """The sizes of an op by name, in a signature that names them all with a default."""
    parameters = list(inspect.signature(op.sized).parameters.values())[1:]
    assert parameters, f"{op.op_name}: nothing to size"
    return {each.name: min(each.default, SMALL) for each in parameters}


@pytest.mark.parametrize("name", SIZED)
def test_sized_arguments(name):
    op = TABLE[name]
    for dtype in (np.dtype(np.float64), dtypes.bfloat16.numpy):  # whose tolerances no sum of this size comes near
        sample = op.fitted(*op.sized(Draw(dtype, zlib.crc32(name.encode())), **small_sizes(op)))
        assert isinstance(sample, tuple)
        finding = check_forward(op, sample, 0, devices.INTERPRETER, dtype)
        assert finding.ok, str(finding)
