"""What the op table cannot show of integers, floats and activations: exact bits, compositions, names, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.nn import functional as F


@pytest.fixture(params=["cpu", "interpreter"])
def device(request):
    torch.set_default_device(request.param)
    return request.param


def holds(tensor, expected, dtype):
    """Whether a tensor holds exactly `expected` and is of `dtype`."""
    assert tensor.dtype is dtype
    np.testing.assert_array_equal(tensor.detach().cpu().double().numpy(), np.asarray(expected, np.float64))


def test_nextafter_goes_one_bit(device):
    for dtype, smallest, step in (
        (torch.float64, 5e-324, 2.0**-52),
        (torch.float32, 2.0**-149, 2.0**-23),
        (torch.float16, 2.0**-24, 2.0**-10),
        (torch.bfloat16, 2.0**-133, 2.0**-7),
    ):
        start = torch.tensor([0.0, 0.0, 1.0, -1.0, 1.0, 2.0, math.nan], dtype=dtype)
        end = torch.tensor([1.0, -1.0, 2.0, -2.0, 1.0, math.inf, 1.0], dtype=dtype)
        expected = [smallest, -smallest, 1 + step, -1 - step, 1, 2 + 2 * step, math.nan]
        holds(torch.nextafter(start, end), expected, dtype)


def test_frexp(device):
    values = [0.0, 1.0, -3.0, 2.0**-140, 2.0**127, math.inf, math.nan]
    mantissa, exponent = torch.frexp(torch.tensor(values))
    holds(mantissa, [0, 0.5, -0.75, 0.5, 0.5, math.inf, math.nan], torch.float32)
    holds(exponent, [0, 1, 2, -139, 128, 0, 0], torch.int32)
    again = torch.ldexp(mantissa[:4], exponent[:4])
    holds(again, values[:4], torch.float32)


def test_shifts_out_of_range(device):
    x = torch.tensor([1, -8, 3], dtype=torch.int32)
    holds(x << torch.tensor([40, 1, -1], dtype=torch.int32), [0, -16, 0], torch.int32)
    holds(x >> torch.tensor([40, 1, -1], dtype=torch.int32), [0, -4, 0], torch.int32)
    holds(1 << torch.tensor([3]), [8], torch.int64)
    with pytest.raises(NotImplementedError, match="\"lshift_cpu\" not implemented for 'Float'"):
        x << 1.5


def test_divisors(device):
    x, y = torch.tensor([12, -18, 0, 7], dtype=torch.int16), torch.tensor([18, 12, 0, 0], dtype=torch.int16)
    holds(torch.gcd(x, y), [6, 6, 0, 7], torch.int16)
    holds(torch.lcm(x, y), [36, 36, 0, 0], torch.int16)


def test_nan_to_num_takes_the_limits_of_the_dtype(device):
    odd = torch.tensor([math.nan, math.inf, -math.inf, 2.0], dtype=torch.float16)
    holds(odd.nan_to_num(), [0, 65504, -65504, 2], torch.float16)
    holds(odd.nan_to_num(1.0, 3.0, -3.0), [1, 3, -3, 2], torch.float16)
    whole = torch.tensor([1, 2])
    assert torch.nan_to_num(whole) is not whole


def test_fmax_passes_over_nan(device):
    x, y = torch.tensor([math.nan, 1.0, math.nan]), torch.tensor([2.0, math.nan, math.nan])
    holds(torch.fmax(x, y), [2, 1, math.nan], torch.float32)
    holds(torch.fmin(x, y), [2, 1, math.nan], torch.float32)


def test_prelu_sums_the_gradient_of_a_channel(device):
    x = torch.tensor([[[-1.0, 2.0], [-3.0, -4.0]]])
    weight = torch.tensor([0.5, 0.25], requires_grad=True)
    result = F.prelu(x, weight)
    holds(result, [[[-0.5, 2], [-0.75, -1]]], torch.float32)
    result.sum().backward()
    holds(weight.grad, [-1, -7], torch.float32)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.prelu(x, torch.ones(2)), "parameter numbers = 2 and channel size = 3"),
        (lambda x: F.prelu(x, torch.ones(1, 3)), "scalar or 1D tensor, but got: ndim = 2"),
        (lambda x: F.prelu(x, torch.ones(3, dtype=torch.float64)), "Got Float and Double"),
        (lambda x: F.glu(x), "dimension 1 is size 3"),
        (lambda x: F.rrelu(x, 0.5, 0.1), "Lower bound should be less than or equal to the upper bound"),
        (lambda x: F.softshrink(x, -1.0), "lambda must be in range"),
        (lambda x: torch.mvlgamma(x, 0), "p has to be greater than or equal to 1"),
        (lambda x: torch.heaviside(x, torch.ones(3, dtype=torch.float64)), "different dtypes"),
    ],
)
def test_refused(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(torch.ones(2, 3))


def test_rrelu_draws_a_slope_for_each_element(device):
    torch.manual_seed(0)
    x = torch.full((200,), -1.0)
    slopes = -F.rrelu(x, 0.25, 0.75, training=True)
    assert 0.25 <= slopes.min().item() < 0.3 and 0.7 < slopes.max().item() <= 0.75
    close(F.rrelu(x, 0.25, 0.75), np.full(200, -0.5))


def test_gumbel_softmax_is_one_hot_with_a_soft_gradient(device):
    torch.manual_seed(0)
    logits = torch.zeros(6, 4, requires_grad=True)
    hard = F.gumbel_softmax(logits, hard=True)
    close(hard.sum(1), np.ones(6))
    assert hard.max(1).values.min().item() > 0.99
    (hard * torch.arange(4)).sum().backward()
    assert logits.grad.abs().sum().item() > 0


def test_names_that_write_over_their_input(device):
    for function, expected in (
        (F.relu_, [0, 2]),
        (F.selu_, [-1.111330737, 2.101401975]),
        (F.celu_, [-0.632120559, 2]),
        (F.elu_, [-0.632120559, 2]),
        (F.leaky_relu_, [-0.01, 2]),
        (F.hardtanh_, [-1, 1]),
        (lambda x: torch.threshold_(x, 0, 5), [5, 2]),
    ):
        x = torch.tensor([-1.0, 2.0])
        assert function(x) is x
        close(x, expected)


def test_a_reflected_operator_belongs_to_a_tensor():
    x = torch.tensor([2, 3])
    holds(7 | x, [7, 7], torch.int64)
    with pytest.raises(TypeError):
        torch.Tensor.__radd__(1, x)
    with pytest.raises(TypeError):
        torch.rsub(1, x)
