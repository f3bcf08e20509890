"""Every way to launch the gradients of group_norm, in both memory formats, against NumPy in double precision."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from forced_knobs import launched_with
from tolerances import tolerance

import tritorch as torch
from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending
from tritorch.nn import functional as F
from tritorch.ops.normalization.group_kernel import group_gradients_kernel
from tritorch.ops.normalization.layout import over_groups
from tritorch.ops.normalization.program_sums import program_sums_kernel
from tritorch.ops.normalization.row_norm import GroupNorm, GroupNormGradients
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

H200 = generation(90)
WHOLE = {"ROWS": 2, "COLUMNS": 64, "SPLITS": 1, "num_warps": 4}
AGAIN = {"ROWS": 2, "COLUMNS": 16, "SPLITS": 1, "num_warps": 4}
IN_PARTS = {"ROWS": 2, "COLUMNS": 8, "SPLITS": 4, "num_warps": 4}
WAYS = pytest.mark.parametrize("knobs", [WHOLE, AGAIN, IN_PARTS], ids=["whole", "again", "parts"])
SHAPES = {  # images and groups; the last has fewer places than parts
    "spans of 4": ((3, 12, 7, 9), 3), "spans of 5": ((2, 15, 4, 16), 3), "channels": ((2, 5, 50), 5),
    "one group": ((3, 6, 5, 8), 1), "short": ((2, 4, 9), 2),
}  # fmt: skip


def arguments(shape, groups, dtype=np.float32, innermost=False, weighted=True):
    random = np.random.default_rng(sum(shape))

    def draw(*sizes):
        return random.standard_normal(sizes).astype(dtype)

    def image():
        array = draw(shape[0], *shape[2:], shape[1]) if innermost else draw(*shape)
        return np.moveaxis(array, -1, 1) if innermost else array

    layout = over_groups(shape, groups)
    grad, x, weight = image(), (image() + 3).astype(dtype), draw(shape[1]) if weighted else None
    if innermost:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    _, mean, variance = GroupNorm.host(x, weight, None, layout, 1e-5)
    return grad, x, weight, mean, variance, layout, 1e-5


def launched(values, knobs):
    """What the op gives with some knobs of its kernel forced, and the launches that took."""
    return launched_with(group_gradients_kernel, knobs, H200, lambda: GroupNormGradients().forward(*values))


def check(found, values):
    wide = [each.astype(np.float64) if isinstance(each, np.ndarray) else each for each in values]
    for each, wanted in zip(found, GroupNormGradients.reference(*wide), strict=True):
        relative, absolute = tolerance(values[0].dtype, length=values[0].size)
        scale = max(np.abs(wanted).max(), 1)
        np.testing.assert_allclose(each.astype(np.float64), wanted, rtol=relative, atol=absolute * scale)


@WAYS
@pytest.mark.parametrize("innermost", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("name", SHAPES)
def test_groups_of_all_sizes(name, innermost, knobs):
    for dtype, weighted in ((np.float32, True), (ml_dtypes.bfloat16, False)):
        values = arguments(*SHAPES[name], dtype, innermost, weighted)
        with guarded_memory() as guarded:
            found, launches = launched(values, knobs)
            assert not guarded.broken()
        check(found, values)
        assert found[0].strides == values[1].strides or values[1].ndim == 3  # no format is known of three dimensions
        kernels = [group_gradients_kernel] * (2 if knobs["SPLITS"] > 1 else 1)
        assert [each.kernel for each in launches] == [*kernels, program_sums_kernel]


@WAYS
def test_sums_have_the_same_bits_each_time(knobs):
    values = arguments(*SHAPES["spans of 4"])
    first, again = (launched(values, knobs)[0] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.tobytes() == other.tobytes()


@WAYS
def test_operands_are_read_as_they_lie(knobs):
    grad, x, *rest = arguments((2, 12, 7, 9), 3)
    turned, doubled = np.ascontiguousarray(grad.T).T, np.repeat(x, 2, 3)[..., ::2]
    for pair in ((turned, x), (grad, doubled), (np.broadcast_to(grad[:1, :, :1, :1], x.shape), turned)):
        found, _ = launched((*pair, *rest), knobs)
        check(found, (*pair, *rest))


def test_large_groups_are_read_in_parts_only_where_they_are_few():
    for images, launches in ((1, 3), (40, 2)):
        x = np.zeros((images, 8, 96, 96), np.float32)
        statistics = np.ones((2, images * 4), np.float32)
        with pretending(H200), recording_launches(run=False) as found:
            GroupNormGradients().forward(x, x, None, *statistics, over_groups(x.shape, 4), 1e-5)
        assert len(found) == launches


def gradients(device, shape, groups, wanted):
    """Those of a group_norm by its input, weight and bias as far as they are wanted, and the launches they took."""
    random = np.random.default_rng(0)
    values = [random.standard_normal(each).astype(np.float32) for each in (shape, shape[1:2], shape[1:2], shape)]
    *inputs, grad = (torch.tensor(each, device=device) for each in values)
    inputs = [each.requires_grad_(want) for each, want in zip(inputs, wanted, strict=True)]
    found = F.group_norm(inputs[0], groups, *inputs[1:])
    with recording_launches() as launches:
        given = torch.autograd.grad(found, [each for each in inputs if each.requires_grad], grad)
    return [each.numpy() for each in given], [each.kernel.__name__ for each in launches]


TOGETHER = ["group_gradients_kernel", "program_sums_kernel"]
CALLS = {
    "all": ((2, 8, 5), 2, (True, True, True), TOGETHER),
    "weight and bias": ((2, 8, 5), 2, (False, True, True), ["channel_sums_kernel"]),
    "input": ((2, 8, 5), 2, (True, False, False), ["group_gradients_kernel"]),
    "input and bias": ((2, 8, 5), 2, (True, False, True), TOGETHER),
    "more channels than a tile takes": ((2, 4096, 3), 1, (True, True, True),
                                        ["channel_sums_kernel", "norm_rows_backward_kernel"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_what_a_gradient_launches(name):
    *call, expected = CALLS[name]
    found, launches = gradients("interpreter", *call)
    assert launches == expected
    for each, wanted in zip(found, gradients("cpu", *call)[0], strict=True):
        relative, absolute = tolerance(np.dtype(np.float32), length=wanted.size)
        np.testing.assert_allclose(each, wanted, rtol=relative, atol=absolute * max(np.abs(wanted).max(), 1))
