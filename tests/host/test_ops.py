"""Host tier: every op on the CPU against its reference, and its gradient against differences, for every dtype."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch
from tritorch.ops.base import EXPORTS, TABLE
from tritorch.ops.draw import Draw
from tritorch.runtime import dtypes
from tritorch.validation import check_op, depends_on_dtype, on_device

KINDS = [dtypes.float32.numpy, dtypes.float64.numpy, dtypes.float16.numpy, dtypes.bfloat16.numpy]


def report(findings):
    wrong = [str(finding) for finding in findings if not finding.ok]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_reference_and_gradient(name):
    report(check_op(name, "cpu", np.float64))
    report(check_op(name, "cpu", np.float32))


@pytest.mark.parametrize("kind", KINDS[2:], ids=str)
@pytest.mark.parametrize("name", sorted(filter(lambda name: depends_on_dtype(TABLE[name]), TABLE)))
def test_half_precision(name, kind):
    report(check_op(name, "cpu", kind, gradients=False))


def function_of(op):
    functions = [EXPORTS[name] for name in op.exports if not name.startswith("Tensor.__")]
    return functions[0] if functions else None


def made_of(value):
    if isinstance(value, (list, tuple)):
        return type(value)(made_of(each) for each in value)
    return on_device(value, tritorch.device("cpu"))


@pytest.mark.parametrize("name", sorted(name for name, op in TABLE.items() if function_of(op)))
def test_errors_are_what_the_op_says(name):
    op = TABLE[name]
    for args, kwargs, kind, text in op.errors(Draw()):
        made = [made_of(a) for a in args]
        with pytest.raises(kind) as caught:
            function_of(op)(*made, **kwargs)
        assert text in str(caught.value)


@pytest.mark.parametrize("name", sorted(name for name, op in TABLE.items() if function_of(op)))
def test_a_call_without_tensors_is_a_type_error(name):
    op = TABLE[name]
    if op.creates:
        return
    with pytest.raises(TypeError):
        function_of(op)("no tensor", "at all")
    with pytest.raises(TypeError):
        function_of(op)(tritorch.ones(2, 2), no_such_argument=1)
