"""Programs that meet at barriers, interpreted: each sees what all wrote before."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tritorch.runtime.barrier import arrivals_for, grid_barrier
from tritorch.runtime.interpreter import KernelError
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl, triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@Kernel
def sums(
    x,  # each step's row is the sum of the row before, plus the program's number: (count + 1, programs)
    arrivals,  # (1,)
    count,
    BLOCK: tl.constexpr,
):
    programs, me = tl.num_programs(0), tl.program_id(0)
    i = tl.arange(0, BLOCK)
    for step in range(count):
        row = tl.load(x + step * programs + i, mask=i < programs, other=0)
        tl.store(x + (step + 1) * programs + me, tl.sum(row, 0) + me)
        grid_barrier(arrivals)


def expected(x, count):
    for step in range(count):
        x[step + 1] = x[step].sum() + np.arange(x.shape[1])
    return x


@pytest.mark.parametrize("programs", [1, 2, 7])
def test_each_step_sees_the_whole_step_before(programs):
    x = np.zeros((5, programs), np.int64)
    x[0] = 1
    wanted = expected(x.copy(), 4)
    sums[(programs,)](x, arrivals_for(x), 4, BLOCK=8, launch_cooperative_grid=True)
    np.testing.assert_array_equal(x, wanted)


@Kernel
def quits(
    x,  # (programs,)
    arrivals,  # (1,)
    FAIL: tl.constexpr,
):
    me = tl.program_id(0)
    if me != 1:
        grid_barrier(arrivals)
    tl.store(x + me, 1)
    if me == 2:
        tl.static_assert(not FAIL, "enough")


def test_a_program_that_leaves_others_waiting_is_an_error():
    x, threads = np.zeros(3, np.int32), threading.active_count()
    with pytest.raises(KernelError, match=r"kernel quits.*programs \[\(0, 0, 0\), \(2, 0, 0\)\] wait at a barrier"):
        quits[(3,)](x, arrivals_for(x), FAIL=False, launch_cooperative_grid=True)
    np.testing.assert_array_equal(x, [0, 1, 0])
    assert threading.active_count() == threads


def test_a_failing_program_ends_all():
    x, threads = np.zeros(3, np.int32), threading.active_count()

    with pytest.raises(KernelError, match=r"kernel fails, program \(1, 0, 0\) of grid \(3, 1, 1\).*enough"):
        fails[(3,)](x, arrivals_for(x), launch_cooperative_grid=True)
    assert threading.active_count() == threads


@Kernel
def fails(
    x,  # (programs,)
    arrivals,  # (1,)
):
    grid_barrier(arrivals)
    if tl.program_id(0) == 1:
        tl.static_assert(False, "enough")
    grid_barrier(arrivals)


def test_a_barrier_needs_a_cooperative_launch():
    x = np.zeros((2, 2), np.int64)
    with pytest.raises(KernelError, match="without launch_cooperative_grid=True"):
        sums[(2,)](x, arrivals_for(x), 1, BLOCK=2)
