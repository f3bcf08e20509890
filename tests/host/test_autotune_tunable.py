"""The lookup of a config by device arrays, which are stood in for: whatever their number, what was found comes back."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from tritorch.autotune import Space, generation
from tritorch.autotune.tunable import KERNELS, TunableKernel, pretending, set_answer

DEVICE = object()  # where arrays are


def array(kind=np.float32, pointer=4096):
    return SimpleNamespace(device=DEVICE, code=np.dtype(kind).num, pointer=pointer, dtype=np.dtype(kind))


def nothing(x, out, size, BLOCK):
    """A kernel that is never run."""


@pytest.fixture
def kernel():
    made = TunableKernel(nothing, Space(BLOCK=(1, 2)), lambda device, *, size: {"BLOCK": 1})
    yield made
    del KERNELS[made.kernel_name]


@pytest.fixture
def asked(kernel):
    """The keys that were looked up, each of which gets a config of its own."""
    keys = []
    before = set_answer(lambda kernel, key, device, known: keys.append(key) or {"BLOCK": len(keys)})
    with pretending(generation(90)):
        yield keys
    set_answer(before)


def test_a_known_launch_is_looked_up_once(kernel, asked):
    first = kernel.config((array(), array()), size=100)
    assert kernel.config((array(), array()), size=100) is first and len(asked) == 1
    assert kernel.config((array(), array()), size=101) is not first
    assert kernel.config((array(), None), size=100) is not first
    assert kernel.config((array(), array(pointer=4100)), size=100) is not first
    assert kernel.config((array(np.float64), array()), size=100) is not first
    assert len(asked) == 5 and kernel.config((array(), array()), size=100) is first


def test_launches_may_differ_in_how_many_arrays_they_give(kernel, asked):
    two = kernel.config((array(), array()), size=100)
    three = kernel.config((array(), array(), array()), size=100)
    one = kernel.config((array(),), size=100)
    assert len(asked) == 3 and len({id(one), id(two), id(three)}) == 3
    for config, count in ((one, 1), (two, 2), (three, 3)):
        assert kernel.config(tuple(array() for _ in range(count)), size=100) is config
    assert len(asked) == 3


def test_what_is_looked_up_takes_the_names_of_sizes_and_facts(kernel, asked):
    kernel.config((array(), array()), size=100)
    assert list(inspect.signature(kernel.config).parameters) == ["_arrays", "size"]
    with pytest.raises(TypeError, match="colour"):
        kernel.config((array(), array()), size=100, colour=1)
