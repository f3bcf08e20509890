"""Pointwise ops mean what PyTorch's mean: promotion, numbers, errors, NaN, kinks, casts, devices."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch.autograd import grad
from tritorch.namespaces import exported
from tritorch.ops.base import TABLE
from tritorch.ops.pointwise.family import Pointwise, PointwiseGradient
from tritorch.runtime.device import CPU
from tritorch.validation import on_device, samples_of

functional = exported("nn.functional")
NAN, INF = math.nan, math.inf
DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
          torch.float32, torch.float64)  # fmt: skip
# Row by column, in the order of DTYPES: what adding tensors of two dtypes gives.
PROMOTED = """
    bool     uint8    int8     int16    int32    int64    float16  bfloat16 float32  float64
    uint8    uint8    int16    int16    int32    int64    float16  bfloat16 float32  float64
    int8     int16    int8     int16    int32    int64    float16  bfloat16 float32  float64
    int16    int16    int16    int16    int32    int64    float16  bfloat16 float32  float64
    int32    int32    int32    int32    int32    int64    float16  bfloat16 float32  float64
    int64    int64    int64    int64    int64    int64    float16  bfloat16 float32  float64
    float16  float16  float16  float16  float16  float16  float16  float32  float32  float64
    bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 bfloat16 float32  bfloat16 float32  float64
    float32  float32  float32  float32  float32  float32  float32  float32  float32  float64
    float64  float64  float64  float64  float64  float64  float64  float64  float64  float64
"""
TABLE_OF_DTYPES = [line.split() for line in PROMOTED.strip().splitlines()]


@pytest.fixture(params=["cpu", "interpreter"])
def device(request):
    torch.set_default_device(request.param)
    return request.param


def same(tensor, expected, dtype=None):
    """Whether a tensor holds exactly `expected` (NaN equal to NaN), and is of `dtype`."""
    found = np.asarray(tensor.detach().cpu().double().numpy())
    np.testing.assert_array_equal(found, np.asarray(expected, np.float64))
    if dtype is not None:
        assert tensor.dtype is dtype


def gradients(function, *values):
    """The gradients of the sum of `function` by tensors of `values`."""
    leaves = [torch.tensor(value, requires_grad=True) for value in values]
    result = function(*leaves)
    result.backward(torch.ones_like(result))
    return [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("row", range(len(DTYPES)), ids=lambda row: DTYPES[row].name)
def test_two_dtypes_promote(row):
    for column, second in enumerate(DTYPES):
        x, y = torch.tensor([1, 2]).to(DTYPES[row]), torch.tensor([2, 1]).to(second)
        expected = torch.__dict__[TABLE_OF_DTYPES[row][column]]
        assert (x + y).dtype is expected
        assert (x == y).dtype is torch.bool
        quotient = expected if expected.is_floating_point else torch.float32
        assert (x / y).dtype is quotient
        if expected is not torch.bool:
            assert (x**y).dtype is expected


def test_a_tensor_without_dimensions_only_lifts_the_category(device):
    few = torch.tensor([1, 2], dtype=torch.int32)
    assert (few + torch.tensor(1)).dtype is torch.int32
    assert (few + torch.tensor(1.0, dtype=torch.float64)).dtype is torch.float64
    assert (torch.ones(2, dtype=torch.float16) + torch.tensor(1.0)).dtype is torch.float16
    assert (torch.tensor(1) + torch.tensor(1, dtype=torch.int32)).dtype is torch.int64


def test_python_numbers_keep_or_lift_the_dtype(device):
    assert (torch.ones(2, dtype=torch.float16) * 2.5).dtype is torch.float16
    assert (torch.ones(2, dtype=torch.int32) * 2).dtype is torch.int32
    same(torch.tensor([1, 2]) * 2.5, [2.5, 5], torch.float32)
    same(torch.tensor([True, False]) + 2, [3, 2], torch.int64)
    same(torch.tensor([True, True]) + True, [1, 1], torch.bool)
    same(1 - torch.tensor([1, 2]), [0, -1], torch.int64)
    same(1 / torch.tensor([2, 4]), [0.5, 0.25], torch.float32)
    same(2 ** torch.tensor([3, 0]), [8, 1], torch.int64)
    same(torch.tensor([250, 1], dtype=torch.uint8) + 300, [38, 45], torch.uint8)
    same(torch.tensor([44, 255], dtype=torch.uint8) == 300, [True, False], torch.bool)


def test_bools_count_as_truth(device):
    true, false = torch.tensor([True, True]), torch.tensor([True, False])
    same(true + false, [1, 1], torch.bool)
    same(true * false, [1, 0], torch.bool)
    same(false < true, [0, 1], torch.bool)
    same(~false, [0, 1], torch.bool)
    same(false ^ true, [0, 1], torch.bool)
    same(torch.square(false), [1, 0], torch.int64)


def test_integer_division_and_remainders(device):
    x, y = torch.tensor([7, -7, 7, -7]), torch.tensor([2, 2, -2, -2])
    same(x // y, [3, -4, -4, 3], torch.int64)
    same(torch.div(x, y, rounding_mode="trunc"), [3, -3, -3, 3], torch.int64)
    same(x % y, [1, 1, -1, -1], torch.int64)
    same(torch.fmod(x, y), [1, -1, 1, -1], torch.int64)
    same(x / y, [3.5, -3.5, -3.5, 3.5], torch.float32)


def test_integers_divided_by_zero():
    for name in ("floor_divide", "remainder", "fmod"):
        function = getattr(torch, name)
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            function(torch.tensor([1, 2]), torch.tensor([1, 0]))
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            function(torch.tensor([1, 2]), 0)
        on_kernels = function(torch.tensor([5, 2], device="interpreter"), torch.tensor([0, 1], device="interpreter"))
        assert on_kernels[0].item() == 0
    same(torch.tensor([1, -1, 0]) / 0, [INF, -INF, NAN])


def test_floats_rounded_and_left_over(device):
    x = torch.tensor([5.5, -5.5, INF, 1.0])
    same(x // torch.tensor([INF, INF, 2.0, 0.0]), [0, -1, NAN, INF])
    same(x % torch.tensor([INF, INF, 2.0, 0.0]), [5.5, INF, NAN, NAN])
    same(torch.round(torch.tensor([0.5, 1.5, 2.5, -0.5])), [0, 2, 2, 0])


def test_powers(device):
    assert (torch.tensor([3, 2, -2]) ** 39).tolist() == [3**39, 2**39, -(2**39)]
    same(torch.tensor([1, -1, 2, -1]) ** torch.tensor([-1, -1, -1, -2]), [1, -1, 0, 1], torch.int64)
    with pytest.raises(RuntimeError, match="Integers to negative integer powers are not allowed"):
        torch.tensor([2]) ** -1
    base, exponent = gradients(torch.pow, [0.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 2.0])
    same(base, [0, 1, 0, 0])
    np.testing.assert_allclose(exponent.cpu().numpy(), [0, 0, math.log(2), 0], *tolerance("float32"))


def test_nan_and_infinities_pass(device):
    x, y = torch.tensor([1.0, NAN, 2.0, -INF]), torch.tensor([NAN, 1.0, 2.0, INF])
    same(torch.maximum(x, y), [NAN, NAN, 2, INF])
    same(torch.minimum(x, y), [NAN, NAN, 2, -INF])
    same(x.clamp(0, 1.5), [1, NAN, 1.5, 0])
    same(x.clamp(min=NAN), [NAN, NAN, NAN, NAN])
    same(x.clamp(3, 2), [2, NAN, 2, 2])
    same(x.relu(), [1, NAN, 2, 0])
    same(x.sign(), [1, 0, 1, -1])
    same(x.isnan(), [0, 1, 0, 0], torch.bool)
    same(x.isinf(), [0, 0, 0, 1], torch.bool)
    same(x.isfinite(), [1, 0, 1, 0], torch.bool)
    same(torch.logaddexp(y, torch.tensor([1.0, -INF, -INF, INF])), [NAN, 1, 2, INF])


def test_slopes_at_kinks_and_ties(device):
    same(gradients(torch.relu, [0.0, -0.0, 1.0, NAN])[0], [0, 0, 1, 1])
    same(gradients(torch.abs, [0.0, 2.0, -2.0])[0], [0, 1, -1])
    assert [each.tolist() for each in gradients(torch.maximum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0])] == [
        [0.5, 0.0, 1.0],
        [0.5, 1.0, 0.0],
    ]
    same(gradients(lambda x: x.clamp(0, 1), [0.0, 1.0, 2.0, -1.0])[0], [1, 1, 0, 0])
    same(gradients(functional["hardtanh"], [-1.0, 1.0, 0.5])[0], [0, 0, 1])
    same(gradients(functional["leaky_relu"], [0.0, 1.0])[0], [np.float32(0.01), 1])


def test_a_masked_gradient_is_zero_even_if_infinite():
    x = torch.tensor([-1.0, 1.0] * 4000, requires_grad=True)  # more than what small arrays' path takes
    x.relu().backward(torch.full((8000,), INF))
    same(x.grad, [0, INF] * 4000)


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_where_by_bits_is_where(size, dtype):
    random = np.random.default_rng(0)
    condition, x, y = random.random(size) < 0.5, *random.integers(-9, 9, (2, size)).astype(dtype)
    if dtype is not np.int64:
        x[::7], y[::5] = NAN, -INF
    for first, second in ((x, y), (x, 0), (0, y), (x, 2), (-2, y)):
        found = TABLE["where"].quick(condition, first, second)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.where(condition, first, second))


def test_comparing_to_what_is_no_number():
    x = torch.tensor([1.0])
    assert (x == None) is False  # noqa: E711
    assert (x != "a") is True
    with pytest.raises(TypeError, match="not supported between instances"):
        x < None  # noqa: B015
    with pytest.raises(TypeError, match=r"eq.*other.*NoneType"):
        torch.eq(x, None)


REFUSED = {
    "add a word": (
        lambda x: torch.add(x, "a"),
        TypeError,
        r"add\(\): argument 'other' \(position 2\) must be Tensor, not str",
    ),
    "exp of a number": (
        lambda x: torch.exp(1.0),
        TypeError,
        r"exp\(\): argument 'input' \(position 1\) must be Tensor",
    ),
    "shapes": (
        lambda x: x + torch.ones(3),
        RuntimeError,
        r"size of tensor a \(2\) must match the size of tensor b \(3\)",
    ),
    "bool - bool": (lambda x: (x > 0) - (x > 0), RuntimeError, "with two bool tensors is not supported"),
    "float - bool": (lambda x: x - (x > 0), RuntimeError, "with a bool tensor is not supported"),
    "-bool": (lambda x: -(x > 0), RuntimeError, "Negation"),
    "abs of bool": (lambda x: (x > 0).abs(), NotImplementedError, "abs_cpu.*Bool"),
    "gelu of int": (lambda x: functional["gelu"](x.long()), NotImplementedError, "GeluKernelImpl.*Long"),
    "float & int": (lambda x: x & 1, NotImplementedError, "bitwise_cpu.*Float"),
    "~float": (lambda x: ~x, TypeError, "operator.invert"),
    "rounding_mode": (lambda x: torch.div(x, x, rounding_mode="x"), RuntimeError, "found 'x'"),
    "float alpha": (lambda x: torch.add(x.long(), 1, alpha=1.5), RuntimeError, "argument alpha must not be a floating"),
    "bool alpha": (lambda x: torch.add(x, 1, alpha=True), RuntimeError, "Boolean alpha"),
    "no bound": (lambda x: x.clamp(), RuntimeError, "At least one of 'min' or 'max' must not be None"),
    "maximum of a number": (lambda x: torch.maximum(x, 2), TypeError, "must be Tensor, not int"),
    "where of ints": (lambda x: torch.where(x.long(), 1, 2), RuntimeError, "boolean tensor, but got .* Long"),
    "integer mask": (lambda x: x.masked_fill(x.long(), 1), RuntimeError, "only supports boolean masks"),
    "a wide fill": (lambda x: x.masked_fill(x > 0, torch.ones(1)), RuntimeError, "0-dimensional value tensor"),
    "in-place to int": (lambda x: x.long().add_(1.5), RuntimeError, "result type Float can't be cast .* Long"),
    "fill too large": (lambda x: x.byte().fill_(300), RuntimeError, "value cannot be converted to type uint8_t"),
    "fill wide": (lambda x: x.fill_(torch.ones(2)), RuntimeError, "0-dimension value tensor but got tensor with 1"),
    "isclose": (lambda x: torch.isclose(x, x.double()), RuntimeError, "Float did not match Double"),
    "to nowhere": (lambda x: x.to("foo"), RuntimeError, "at start of device string: foo"),
    "to keyword": (lambda x: x.to(foo=1), TypeError, "foo"),
    "copy_": (lambda x: x.copy_(torch.ones(3)), RuntimeError, "must match the size of tensor b"),
    "copy_ of more dimensions": (
        lambda x: x.copy_(torch.ones(1, 2)),
        RuntimeError,
        "doesn't match the broadcast shape",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, device):
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        call(torch.tensor([1.0, 2.0]))


def test_casts(device):
    same(torch.tensor([1.9, -1.9, 300.0, -1.0]).to(torch.uint8), [1, 255, 44, 255], torch.uint8)
    same(torch.tensor([300, -1]).to(torch.uint8), [44, 255], torch.uint8)
    same(torch.tensor([0.0, NAN, 0.1]).bool(), [0, 1, 1], torch.bool)
    same(torch.tensor([1.5, -2.5]).long(), [1, -2], torch.int64)
    same(torch.tensor([1.5, 1e5]).half(), [1.5, INF], torch.float16)
    assert torch.tensor([1]).type_as(torch.tensor([1.0])).dtype is torch.float32
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    x.half().double().sum().backward()
    same(x.grad, [1, 1], torch.float32)


def test_to_gives_the_tensor_itself_where_nothing_changes():
    x = torch.ones(2, 3)
    for made in (x.to("cpu"), x.to(torch.float32), x.to(x), x.to(), x.cpu(), x.float(), x.contiguous(),
                 x.to(device="cpu", dtype=torch.float32)):  # fmt: skip
        assert made is x
    assert x.to(torch.float32, copy=True) is not x
    for made in (x.to("cpu", torch.int64), x.to(torch.int64, True), x.to(dtype=torch.int64),
                 x.type(torch.int64), x.type("torch.LongTensor"), x.to(torch.ones(1).long())):  # fmt: skip
        assert made.dtype is torch.int64
    assert x.type() == "torch.FloatTensor"


def test_moves_copy_and_gradients_move_back():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    there = x.to("interpreter")
    there.detach().fill_(7.0)
    same(x, [1, 2])
    (there * 3).cpu().sum().backward()
    assert x.grad.device is CPU
    same(x.grad, [3, 3])


def test_contiguous_and_clone(device):
    x = torch.ones(2, 3).t()
    assert not x.is_contiguous()
    assert x.contiguous().is_contiguous()
    assert x.clone().data_ptr() != x.data_ptr()


def test_filled_and_overwritten(device):
    same(torch.zeros(2, dtype=torch.uint8).fill_(-1), [255, 255])
    same(torch.zeros(2, dtype=torch.int64).fill_(2.7), [2, 2])
    same(torch.zeros(2, 3, dtype=torch.int32).copy_(torch.tensor([1.9, 2.0, -3.5])), [[1, 2, -3]] * 2)
    source = torch.ones(3, requires_grad=True)
    target = torch.zeros(2, 3)
    target.copy_(source)
    target.sum().backward()
    same(source.grad, [2, 2, 2])
    leaf = torch.ones(3, requires_grad=True)
    doubled = leaf * 2
    doubled.fill_(5.0)
    (doubled * doubled).sum().backward()
    same(leaf.grad, [0, 0, 0])


def test_in_place_activations(device):
    x = torch.tensor([-1.0, 2.0])
    assert functional["relu"](x, inplace=True) is x
    same(x, [0, 2])
    same(functional["relu6"](torch.tensor([7, -1, 3])), [6, 0, 3], torch.int64)


def test_empty_and_without_dimensions(device):
    assert (torch.zeros(0, 3) + torch.zeros(3)).shape == (0, 3)
    assert torch.zeros(0).exp().shape == (0,)
    number = torch.tensor(2.0) * 3
    assert number.shape == () and number.item() == 6.0
    assert isinstance(torch.tensor(2.0).relu().array, np.ndarray)


def test_closeness():
    x = torch.tensor([1.0, NAN, INF, -INF])
    same(torch.isclose(x, torch.tensor([1.000001, NAN, INF, INF])), [1, 0, 1, 0])
    same(torch.isclose(x, x, equal_nan=True), [1, 1, 1, 1])
    assert torch.allclose(torch.tensor([1.0]), torch.tensor([1.000001])) is True
    assert torch.equal(torch.tensor([1.0]), torch.tensor([1])) is True
    assert torch.equal(torch.tensor([1.0]), torch.tensor([1.0, 1.0])) is False


WITH_GRADIENTS = sorted(name for name, op in TABLE.items()
                        if issubclass(op, Pointwise) and not issubclass(op, PointwiseGradient)
                        and op.backward is Pointwise.backward and any(op.gradients))  # fmt: skip


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_recorded_gradients_are_the_kernels_gradients(name):
    """Under create_graph a gradient is composed of ops; it must be what the gradient's own op gives."""
    op = TABLE[name]
    for sample in samples_of(op, np.float64):
        args = [on_device(each, CPU, True) for each in sample]
        leaves = [arg for arg in args if getattr(arg, "requires", False)]
        result = op.apply(*args)
        if not leaves or not result.requires_grad:
            continue
        random = np.random.default_rng(zlib.crc32(name.encode()))
        seed = on_device(random.standard_normal(result.shape), CPU)
        plain = grad(result, leaves, seed, retain_graph=True)
        recorded = grad(result, leaves, seed, create_graph=True)
        for first, second in zip(plain, recorded, strict=True):
            np.testing.assert_allclose(second.detach().numpy(), first.numpy(), *tolerance("float64", gradient=True))
