"""Interpret tier: every kernel's numbers, forward and backward, against the reference; no GPU, no compiler.

In guarded memory: kernels must not touch memory beside their buffers, nor write to inputs, nor leave results unset.
"""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.runtime import dtypes
from tritorch.runtime.guarded import guarded_memory
from tritorch.validation import check_op, depends_on_dtype


def report(findings):
    wrong = [str(finding) for finding in findings if not finding.ok]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_kernel_against_reference(name):
    with guarded_memory() as guarded:
        report(check_op(name, "interpreter", np.float32))
        assert not guarded.broken(), f"{guarded.broken()} of {len(guarded.buffers)} buffers were written beside"
        assert getattr(TABLE[name], "in_place", False) or not guarded.changed(), f"{guarded.changed()} inputs changed"


@pytest.mark.parametrize("kind", [dtypes.bfloat16.numpy, dtypes.float64.numpy], ids=str)
@pytest.mark.parametrize("name", sorted(filter(lambda name: depends_on_dtype(TABLE[name]), TABLE)))
def test_kernel_in_other_dtypes(name, kind):
    report(check_op(name, "interpreter", kind, gradients=False))
