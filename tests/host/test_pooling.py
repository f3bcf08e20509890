"""Pooling: plain numbers, ties, NaN, padding, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close, tolerance

import tritorch as torch
from tritorch.autograd import grad
from tritorch.runtime.language import triton_missing

F = torch.nn.functional
max_pool2d, avg_pool2d, adaptive_avg_pool2d = F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d
DEVICES = ["cpu"] if triton_missing() else ["cpu", "interpreter"]
NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize("device", DEVICES)
def test_largest_and_where_it_is(device):
    x = torch.tensor([[[1.0, 2, 5, 5], [4, 3, 5, 5]]], device=device)
    values, indices = max_pool2d(x, 2, return_indices=True)
    assert values.tolist() == [[[4.0, 5.0]]]
    assert indices.tolist() == [[[4, 2]]]  # the first of equals


@pytest.mark.parametrize("device", DEVICES)
def test_nan_wins_and_the_last_of_them(device):
    x = torch.tensor([[[1.0, NAN, INFINITY, NAN]]], device=device)
    values, indices = max_pool2d(x, (1, 4), return_indices=True)
    assert np.isnan(values.item())
    assert indices.item() == 3


@pytest.mark.parametrize("device", DEVICES)
def test_padding_never_wins(device):
    x = torch.full((1, 1, 2, 2), -INFINITY, device=device)
    values, indices = max_pool2d(x, 2, stride=1, padding=1, return_indices=True)
    assert values.tolist() == [[[[-INFINITY] * 3] * 3]]
    assert indices.tolist() == [[[[0, 0, 1], [0, 0, 1], [2, 2, 3]]]]


@pytest.mark.parametrize("device", DEVICES)
def test_gradient_goes_to_the_largest_and_adds_where_windows_share_it(device):
    x = torch.tensor([[[1.0, 3, 2]]], device=device, requires_grad=True)
    seed = torch.tensor([[[10.0, 1.0]]], device=device, requires_grad=True)
    (found,) = grad(max_pool2d(x, (1, 2), stride=1), [x], seed, create_graph=True)
    assert found.tolist() == [[[0.0, 11.0, 0.0]]]
    (again,) = grad(found, [seed], torch.tensor([[[5.0, 7.0, 9.0]]], device=device))
    assert again.tolist() == [[[7.0, 7.0]]]


def test_many_planes_on_the_host():
    x = np.random.default_rng(0).standard_normal((40, 30, 12, 14)).astype(np.float32)
    t = torch.tensor(x, requires_grad=True)
    found = max_pool2d(t, 2)
    expected = x.reshape(40, 30, 6, 2, 7, 2).max((3, 5))
    assert np.array_equal(found.detach().numpy(), expected)
    (gradient,) = grad(found.sum(), [t])
    assert np.array_equal(gradient.numpy(), (x == expected.repeat(2, 2).repeat(2, 3)).astype(np.float32))


def test_ceil_mode_counts_windows_that_begin_inside():
    x = torch.ones(1, 1, 5, 5)
    assert max_pool2d(x, 2, ceil_mode=True).shape == (1, 1, 3, 3)
    assert max_pool2d(x, 2, stride=3, ceil_mode=True).shape == (1, 1, 2, 2)
    assert avg_pool2d(x, 2, ceil_mode=True).tolist() == [[[[1.0] * 3] * 3]]


@pytest.mark.parametrize("device", DEVICES)
def test_averages(device):
    x = torch.tensor(np.arange(16.0).reshape(1, 1, 4, 4), device=device)
    assert avg_pool2d(x, 2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert avg_pool2d(x, 2, padding=1, count_include_pad=False).tolist()[0][0][0] == [0.0, 1.5, 3.0]
    assert avg_pool2d(x, 2, divisor_override=1).tolist() == [[[[10.0, 18.0], [42.0, 50.0]]]]
    assert adaptive_avg_pool2d(x, 1).tolist() == [[[[7.5]]]]
    bounds = tolerance(np.float64)
    np.testing.assert_allclose(adaptive_avg_pool2d(x, (3, None)).numpy()[0, 0, 1], [6.0, 7.0, 8.0, 9.0], *bounds)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_windows_of_a_cube_are_windows_of_its_lines(ndim, device):
    x = torch.tensor(np.random.default_rng(ndim).standard_normal((2, 3, *(7,) * ndim)), device=device)
    largest, mean = (getattr(F, f"{name}_pool{ndim}d") for name in ("max", "avg"))
    expected_largest = expected_mean = x.numpy()
    for dim in range(2, 2 + ndim):
        parts = [expected_largest.take(range(start, start + 5, 2), dim) for start in range(3)]
        expected_largest = np.maximum.reduce(parts)
        expected_mean = sum(expected_mean.take(range(start, start + 5, 2), dim) for start in range(3)) / 3
    values, indices = largest(x, 3, 2, return_indices=True)
    assert np.array_equal(values.numpy(), expected_largest)
    assert np.array_equal(x.flatten(2).gather(2, indices.flatten(2)).numpy(), expected_largest.reshape(2, 3, -1))
    close(mean(x, 3, 2), expected_mean)
    assert torch.equal(largest(x[0], 3, 2), values[0])  # without a batch


@pytest.mark.parametrize("device", DEVICES)
def test_what_was_pooled_is_put_back(device):
    x = torch.tensor([[[1.0, 4, 2, 3]]], device=device)
    values, indices = F.max_pool1d(x, 2, return_indices=True)
    assert F.max_unpool1d(values, indices, 2).tolist() == [[[0.0, 4, 0, 3]]]
    assert F.max_unpool1d(values, indices, 2, output_size=(5,)).tolist() == [[[0.0, 4, 0, 3, 0]]]


def test_an_index_outside_is_refused_before_anything_is_written():
    with pytest.raises(RuntimeError, match=r"Found an invalid max index: 4 \(output volumes are of size 4\)"):
        F.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 4]]]), 2)
    with pytest.raises(ValueError, match="dim 0 must be between 2 and 6"):
        F.max_unpool1d(torch.ones(1, 1, 2), torch.tensor([[[0, 1]]]), 2, output_size=(9,))


@pytest.mark.parametrize("device", DEVICES)
def test_even_windows_share_elements_where_they_must(device):
    x = torch.tensor([[[1.0, 2, 3, 4, 5]]], device=device, requires_grad=True)
    assert F.adaptive_avg_pool1d(x, 3).tolist() == [[[1.5, 3, 4.5]]]
    values, indices = F.adaptive_max_pool1d(x, 3, return_indices=True)
    assert (values.tolist(), indices.tolist()) == ([[[2.0, 4, 5]]], [[[1, 3, 4]]])
    (found,) = grad(F.adaptive_avg_pool1d(x, 3).sum(), [x])
    close(found, [[[0.5, 1 / 2 + 1 / 3, 1 / 3, 1 / 3 + 1 / 2, 0.5]]])


@pytest.mark.parametrize("device", DEVICES)
def test_random_windows_follow_their_samples(device):
    x = torch.arange(8.0, device=device).reshape(1, 1, 1, 8).expand(1, 1, 2, 8)
    samples = torch.tensor([[[0.6, 0.0]]], device=device)  # the first is for the width: windows begin at 0, 3, 6
    assert F.fractional_max_pool2d(x, (1, 2), (2, 3), _random_samples=samples).tolist() == [[[[1.0, 4, 7]] * 2]]
    torch.manual_seed(3)
    drawn = F.fractional_max_pool2d(x, (1, 2), output_ratio=(1, 0.5))
    torch.manual_seed(3)
    assert torch.equal(drawn, F.fractional_max_pool2d(x, (1, 2), output_ratio=(1, 0.5)))
    assert drawn.shape == (1, 1, 2, 4)


def test_norms_of_windows():
    close(F.lp_pool1d(torch.tensor([[[3.0, 4, 6, 8]]]), 2, 2), [[[5.0, 10.0]]])


def test_averages_of_integers_are_cut():
    x = torch.tensor([[[-3, 0, 3, 4]]])
    assert F.avg_pool1d(x, 2).tolist() == [[[-1, 3]]]
    with pytest.raises(NotImplementedError, match="not implemented for 'Int'"):
        F.avg_pool1d(x.int(), 2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_mean_with_infinity_is_infinite_only_where_it_is_seen(device):
    x = torch.tensor([[[1.0, INFINITY, 2, 4, 6]]], device=device)
    assert F.adaptive_avg_pool1d(x, 3).tolist() == [[[INFINITY, INFINITY, 5]]]


@pytest.mark.parametrize(
    ("shape", "arguments", "text"),
    [
        ((3, 3), (2,), "non-empty 3D or 4D (batch mode) tensor expected for input"),
        ((1, 3, 1, 1), (2,), "Given input size: (3x1x1). Calculated output size: (3x0x0). Output size is too small"),
        ((1, 3, 4, 4), (2, None, 2), "but got pad=2, kernel_size=2 and dilation=1"),
        ((1, 3, 4, 4), (2, 0), "stride should not be zero"),
        ((1, 0, 4, 4), (2,), "optional 0 dim batch size for input, but got:[1, 0, 4, 4]"),
        ((1, 3, 4, 4), ((2, 2, 2),), "max_pool2d: kernel_size must either be a single int, or a tuple of two ints"),
    ],
)
def test_what_does_not_fit_is_refused(shape, arguments, text):
    with pytest.raises(RuntimeError) as caught:
        max_pool2d(torch.ones(*shape), *arguments)
    assert text in str(caught.value)
