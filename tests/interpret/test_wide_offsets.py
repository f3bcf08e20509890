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


def spread(array, folder):
    """The same elements, the first and the last along the first dimension APART, in a file that is nearly all hole."""
    step = -(-APART // (array.shape[0] - 1)) * array.itemsize
    reach = step * array.shape[0] + array.nbytes
    with open(folder / "hole", "w+b") as file:
        file.truncate(2 * reach)
        memory = mmap.mmap(file.fileno(), 2 * reach)
    strides = (step, *np.empty(array.shape[1:], array.dtype).strides)
    wide = np.ndarray(array.shape, array.dtype, memory, reach, strides)
    wide[...] = array
    return wide


def can_be_spread(value):
    return isinstance(value, np.ndarray) and value.ndim > 0 and value.shape[0] > 1 and 0 < value.size <= MOST_ELEMENTS


def usable(op):
    """A sample of the op with an array that can be spread, the one with the most of them and the most dimensions."""
    found = [sample for sample in samples_of(op) if any(map(can_be_spread, sample))]
    return max(found, key=lambda s: sum(each.ndim for each in s if can_be_spread(each)), default=None)


LAUNCHING = [name for name, op in TABLE.items() if not op.creates and not op.views and usable(op)]


@pytest.mark.parametrize("name", sorted(LAUNCHING))
def test_elements_more_than_two_to_the_31_apart(name, tmp_path):
    op = TABLE[name]
    sample = usable(op)
    places = [at for at, each in enumerate(sample) if can_be_spread(each)]
    chosen = places[zlib.crc32(name.encode()) % len(places)]
    wide = tuple(spread(each, tmp_path) if at == chosen else each for at, each in enumerate(sample))
    findings = [check_forward(op, wide, chosen, INTERPRETER, np.float32)]
    if is_differentiable(op) and has_floating_input(sample):
        findings.append(check_gradient(op, wide, chosen, INTERPRETER, np.float32))
    wrong = [str(finding) for finding in findings if not finding.ok]
    assert not wrong, "\n".join(wrong)
