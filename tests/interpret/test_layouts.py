"""Interpret tier: every op gives the same however its inputs lie in memory, forward and backward."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.runtime.device import INTERPRETER
from tritorch.validation import check_forward, check_gradient, has_floating_input, is_differentiable, samples_of

MOST_ELEMENTS = 3000


def across(array):
    """Columns first."""
    return array.copy(order="F")


def innermost(array):
    """The second dimension innermost, as channels_last has it."""
    order = (0, *range(2, array.ndim), 1) if array.ndim > 1 else (0,)
    back = sorted(range(array.ndim), key=order.__getitem__)
    return array.transpose(order).copy().transpose(back)


def backwards(array):
    """Every dimension with a negative step."""
    turned = (slice(None, None, -1),) * array.ndim
    return array[turned].copy()[turned]


def apart(array):
    """Every second element of a larger array, from an address that no vector load is aligned to."""
    larger = np.zeros([2 * size + 1 for size in array.shape], array.dtype)
    inner = larger[(slice(1, None, 2),) * array.ndim]
    inner[...] = array
    return inner


def can_lie_otherwise(value):
    return isinstance(value, np.ndarray) and value.ndim > 0 and 0 < value.size <= MOST_ELEMENTS


def usable(op):
    """Two samples of the op with arrays to lay out: those with the most dimensions."""
    found = [sample for sample in samples_of(op) if any(map(can_lie_otherwise, sample))]
    return sorted(found, key=lambda s: -sum(each.ndim for each in s if can_lie_otherwise(each)))[:2]


LAUNCHING = [name for name, op in TABLE.items() if not op.creates and not op.views and usable(op)]


@pytest.mark.parametrize("layout", [across, innermost, backwards, apart], ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("name", sorted(LAUNCHING))
def test_the_layout_of_inputs_changes_nothing(name, layout):
    op = TABLE[name]
    findings = []
    for number, sample in enumerate(usable(op)):
        places = [at for at, each in enumerate(sample) if can_lie_otherwise(each)]
        chosen = {at for at in places if len(places) == 1 or zlib.crc32(f"{name}{layout.__name__}{at}".encode()) % 3}
        laid = tuple(layout(each) if at in chosen else each for at, each in enumerate(sample))
        findings.append(check_forward(op, laid, number, INTERPRETER, np.float32))
        if is_differentiable(op) and has_floating_input(sample):
            findings.append(check_gradient(op, laid, number, INTERPRETER, np.float32))
    wrong = [str(finding) for finding in findings if not finding.ok]
    assert not wrong, "\n".join(wrong)
