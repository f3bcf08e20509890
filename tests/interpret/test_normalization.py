"""Every way to launch the gradients of a normalisation over the last dimensions, against NumPy in double precision."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from forced_knobs import launched_with
from tolerances import tolerance

from tritorch.autotune import generation
from tritorch.ops.normalization.gradients_kernel import norm_gradients_kernel
from tritorch.ops.normalization.layout import over_last
from tritorch.ops.normalization.program_sums import program_sums_kernel
from tritorch.ops.normalization.row_norm import LayerNorm, LayerNormGradients, RmsNorm, RmsNormGradients
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

FEW = replace(generation(90), sms=3)  # so that a program walks over many rows
WHOLE = {"ROWS": 2, "COLUMNS": 128, "PROGRAMS": 1, "STAGES": 2, "num_warps": 4}
IN_PARTS = {"ROWS": 4, "COLUMNS": 32, "PROGRAMS": 1, "STAGES": 2, "num_warps": 4}


def arguments(op, rows, columns, dtype, more, biased, weighted=True):
    random = np.random.default_rng(rows + columns)

    def draw(*shape):
        return random.standard_normal(shape).astype(dtype)

    layout = over_last((rows, columns), 1)
    x, weight = draw(rows, columns) + 3, draw(columns) if weighted else None
    _, *statistics = op.host(x, weight, None, layout, 1e-5)
    return (draw(rows, columns), draw(rows, columns) if more else None, x.astype(dtype), weight,
            *(None, *statistics)[-2:], layout, 1e-5, biased)  # fmt: skip


def wide(values):
    return [each.astype(np.float64) if isinstance(each, np.ndarray) else each for each in values]


def launched(op, values, knobs, device=FEW):
    """What the op gives with some knobs of its kernel forced, and the launches that took."""
    return launched_with(norm_gradients_kernel, knobs, device, lambda: op().forward(*values))


def check(op, found, values):
    expected, dtype = op.reference(*wide(values)), values[0].dtype
    assert len(found) == len(expected)
    for each, wanted in zip(found, expected, strict=True):
        relative, absolute = tolerance(dtype, length=max(values[0].shape))
        scale = max(np.abs(wanted).max(), 1)
        np.testing.assert_allclose(each.astype(np.float64), wanted, rtol=relative, atol=absolute * scale)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("rows", [1, 23])
@pytest.mark.parametrize("knobs", [WHOLE, IN_PARTS], ids=["whole", "parts"])
@pytest.mark.parametrize("of, op", [(LayerNorm, LayerNormGradients), (RmsNorm, RmsNormGradients)])
def test_programs_that_walk_over_rows(of, op, knobs, rows, dtype):
    for more, biased in ((False, True), (True, False)):
        values = arguments(of, rows, 100, dtype, more, biased)
        with guarded_memory() as guarded:
            found, launches = launched(op, values, knobs)
            assert not guarded.broken()
        check(op, found, values)
        assert [each.kernel for each in launches] == [norm_gradients_kernel, program_sums_kernel]
        assert launches[0].grid == (min(-(-rows // knobs["ROWS"]), 3 * knobs["PROGRAMS"]),)


@pytest.mark.parametrize("knobs", [WHOLE, IN_PARTS], ids=["whole", "parts"])
def test_sums_have_the_same_bits_each_time(knobs):
    values = arguments(LayerNorm, 23, 100, np.float32, True, True)
    first, again = (launched(LayerNormGradients, values, knobs)[0] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("knobs", [WHOLE, IN_PARTS], ids=["whole", "parts"])
def test_operands_are_read_as_they_lie(knobs):
    grad, more, x, *rest = arguments(LayerNorm, 9, 100, np.float32, True, True, weighted=False)
    turned = [np.ascontiguousarray(each.T).T for each in (grad, more, x)]
    values = (*turned[:2], np.repeat(x, 2, 0)[::2], *rest)
    found, _ = launched(LayerNormGradients, values, knobs)
    check(LayerNormGradients, found, values)


def test_long_rows_are_read_in_parts_by_default():
    values = arguments(LayerNorm, 3, 9000, np.float32, False, True)
    found, (first, _) = launched(LayerNormGradients, values, {})
    assert not first.keywords["WHOLE"] and first.keywords["ROWS"] > 1
    check(LayerNormGradients, found, values)
