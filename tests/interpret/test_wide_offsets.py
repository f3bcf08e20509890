"""Interpret tier: inputs whose elements lie more than 2^31 apart, for every op: kernels take 64-bit offsets then.

The memory between the elements is a hole in a file. It reaches as far before an array as behind it, so that
an offset that wraps around reads a zero there instead of ending the process.
"""

from __future__ import annotations

import mmap
import zlib

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.runtime.device import INTERPRETER
from tritorch.validation import check_forward, check_gradient, has_floating_input, is_differentiable, samples_of

APART = 2**31 + 64  # elements
MOST_ELEMENTS = 4000


def spread(array, dim, folder):
    """The same elements, the first and the last along a dimension APART, in a file that is nearly all hole."""
    array = np.moveaxis(array, dim, 0)
    step = -(-APART // (array.shape[0] - 1)) * array.itemsize
    reach = step * array.shape[0] + array.nbytes
    with open(folder / "hole", "w+b") as file:
        file.truncate(2 * reach)
        memory = mmap.mmap(file.fileno(), 2 * reach)
    strides = (step, *np.empty(array.shape[1:], array.dtype).strides)
    wide = np.ndarray(array.shape, array.dtype, memory, reach, strides)
    wide[...] = array
    return np.moveaxis(wide, 0, dim)


def can_be_spread(value, dim):
    present = isinstance(value, np.ndarray) and value.ndim > 0 and 0 < value.size <= MOST_ELEMENTS
    return present and value.shape[dim] > 1 and (dim == 0 or value.ndim > 1)


def usable(op, dim):
    """A sample of the op with an array that can be spread, the one with the most of them and the most dimensions."""
    found = [(sum(each.ndim for each in sample if can_be_spread(each, dim)), sample) for sample in samples_of(op)]
    most, sample = max(found, key=lambda each: each[0])
    return sample if most else None


LAUNCHING = [
    (name, dim)
    for name, op in sorted(TABLE.items())
    for dim in (0, -1)
    if not op.creates and not op.views and usable(op, dim)
]


@pytest.mark.parametrize(("name", "dim"), LAUNCHING)
def test_elements_more_than_two_to_the_31_apart(name, dim, tmp_path):
    op = TABLE[name]
    sample = usable(op, dim)
    places = [at for at, each in enumerate(sample) if can_be_spread(each, dim)]
    chosen = places[zlib.crc32(name.encode()) % len(places)]
    wide = tuple(spread(each, dim, tmp_path) if at == chosen else each for at, each in enumerate(sample))
    findings = [check_forward(op, wide, chosen, INTERPRETER, np.float32)]
    if is_differentiable(op) and has_floating_input(sample):
        findings.append(check_gradient(op, wide, chosen, INTERPRETER, np.float32))
    wrong = [str(finding) for finding in findings if not finding.ok]
    assert not wrong, "\n".join(wrong)
