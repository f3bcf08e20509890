"""Cooperative launches on the interpreter: programs that wait for one another."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tritorch.runtime import tl
from tritorch.runtime.interpreter import KernelError
from tritorch.runtime.kernel import Kernel


@Kernel
def neighbours(here):
    """What a kernel calls after its programs have met."""
    return (here + 1) % tl.num_programs(0)


@Kernel
def ring_kernel(values, counter, rounds, VOLATILE: tl.constexpr):
    """Each program adds to its value that of the next one, round for round."""
    here, count = tl.program_id(0), tl.num_programs(0)
    for step in range(rounds):
        old = tl.load(values + step * count + here)
        if VOLATILE:
            while tl.load(counter, volatile=True) < count * step:
                pass
        else:
            while tl.atomic_add(counter, 0, sem="acquire") < count * step:
                pass
        other = tl.load(values + step * count + neighbours(here))
        tl.store(values + (step + 1) * count + here, old + other)
        tl.debug_barrier()
        tl.atomic_add(counter, 1, sem="release")


@Kernel
def failing_kernel(counter, NUMBER: tl.constexpr):
    """The last program fails while the others wait for it."""
    if tl.program_id(0) == tl.num_programs(0) - 1:
        tl.arange(0, NUMBER)
    while tl.load(counter, volatile=True) == 0:
        pass


@Kernel
def hasty_kernel(values, counter):
    """Each program looks once, and takes what is there."""
    here, count = tl.program_id(0), tl.num_programs(0)
    tl.store(values + here, here + 1)
    tl.atomic_add(counter, 1, sem="release")
    if tl.atomic_add(counter, 0, sem="acquire") <= count:
        tl.store(values + count + here, tl.load(values + neighbours(here)))


def test_what_a_program_does_not_wait_for_is_not_there():
    values = np.zeros((2, 3), np.int32)
    hasty_kernel[(3,)](values, np.zeros(1, np.int32), launch_cooperative_grid=True)
    assert values.tolist() == [[1, 2, 3], [0, 0, 1]]


@pytest.mark.parametrize("volatile", [True, False])
def test_programs_wait_for_each_other(volatile):
    count, rounds = 5, 7
    values, counter = np.zeros((rounds + 1, count), np.int32), np.zeros(1, np.int32)
    values[0] = range(count)
    expected = values[0]
    for _ in range(rounds):
        expected = expected + np.roll(expected, -1)
    ring_kernel[(count,)](values, counter, rounds, VOLATILE=volatile, launch_cooperative_grid=True)
    assert (values[-1] == expected).all()
    assert counter[0] == count * rounds


def test_a_failure_ends_all_programs():
    before = threading.active_count()
    with pytest.raises(KernelError, match=r"program \(3, 0, 0\) of grid \(4, 1, 1\)"):
        failing_kernel[(4,)](np.zeros(1, np.int32), NUMBER=3, launch_cooperative_grid=True)
    assert threading.active_count() == before
