"""Convolution: plain numbers, paddings, layouts, first and second gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch.autograd import grad
from tritorch.ops.base import EXPORTS, TABLE
from tritorch.runtime.language import triton_missing

(
    conv2d,
    conv1d,
    transposed,
) = (EXPORTS[f"nn.functional.{name}"] for name in ("conv2d", "conv1d", "conv_transpose2d"))
DEVICES = ["cpu"] if triton_missing() else ["cpu", "interpreter"]


def numbers(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


@pytest.mark.parametrize("device", DEVICES)
def test_a_small_one_by_hand(device):
    x = torch.tensor([[[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]]], device=device)
    w = torch.tensor([[[[1.0, 0], [0, -1]]]], device=device)
    bias = torch.tensor([0.5], device=device)
    assert conv2d(x, w, bias).tolist() == [[[[-3.5, -3.5], [-3.5, -3.5]]]]
    assert conv2d(x, w, padding=1, stride=2).tolist() == [[[[-1.0, -3.0], [-7.0, -4.0]]]]
    assert conv2d(x, w, padding="same").tolist() == [[[[-4.0, -4.0, 3.0], [-4.0, -4.0, 6.0], [7.0, 8.0, 9.0]]]]


@pytest.mark.parametrize("device", DEVICES)
def test_unbatched_is_a_batch_of_one(device):
    x, w = torch.tensor(numbers(3, 6, 5), device=device), torch.tensor(numbers(4, 3, 3, 3), device=device)
    assert np.array_equal(conv2d(x, w).numpy(), conv2d(x.unsqueeze(0), w).numpy()[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shape", "weight", "rest"),
    [((2, 4, 7, 6), (6, 2, 3, 2), {"stride": (2, 3), "padding": (1, 2), "dilation": (1, 2), "groups": 2}),
     ((2, 3, 6, 6), (4, 3, 3, 3), {"padding": 1}),
     ((3, 5, 5), (2, 3, 1, 1), {}), ((1, 2, 9, 5), (3, 2, 2, 2), {"stride": 3})],
)  # fmt: skip
def test_first_and_second_gradients_against_differences(shape, weight, rest, device):
    x, w = (torch.tensor(numbers(*each), device=device, requires_grad=True) for each in (shape, weight))
    out = conv2d(x, w, **rest)
    seed = torch.tensor(numbers(*out.shape, 1)[..., 0], device=device, requires_grad=True)
    first = grad(out, [x, w], seed, create_graph=True)
    towards = [torch.tensor(numbers(*each.shape) + 0.5, device=device) for each in (x, w)]
    total = sum((gradient * direction).sum() for gradient, direction in zip(first, towards, strict=True))
    # d/dt conv(x + t dx, w + t dw) . seed at 0, and the mixed second difference, exact for a bilinear function.
    with torch.no_grad():
        moved = [conv2d(x + towards[0], w, **rest) - out, conv2d(x, w + towards[1], **rest) - out]
        expected = sum((each * seed).sum() for each in moved).item()
        mixed = conv2d(towards[0], towards[1], **rest)
    np.testing.assert_allclose(total.item(), expected, *tolerance(np.float64, gradient=True, length=out.numel()))
    by_x, by_w, by_seed = grad(total, [x, w, seed])
    expected = (mixed * seed).sum().item()
    bounds = tolerance(np.float64, gradient=True, length=out.numel())
    np.testing.assert_allclose((by_x * towards[0]).sum().item(), expected, *bounds)
    np.testing.assert_allclose((by_w * towards[1]).sum().item(), expected, *bounds)
    np.testing.assert_allclose(by_seed.numpy(), sum(moved).numpy(), *bounds)


def test_pieces_of_images_add_up():
    """More images than the host path takes at once, and a last piece that is shorter."""
    x, w = numbers(5, 40, 40, 40).astype(np.float32), numbers(8, 40, 3, 3).astype(np.float32)
    rest = ((1, 1), (1, 1, 1, 1), (1, 1), 1)
    bounds = tolerance(np.float32, gradient=True, length=360)
    for name, arguments in (
        ("conv2d", (x, w, None, *rest)),
        ("conv2d_input_gradient", (x[:, :8], w, (40, 40), *rest)),
        ("conv2d_weight_gradient", (x[:, :8], x, (3, 3), *rest)),
    ):
        op = TABLE[name]
        expected = op.reference(*arguments)
        np.testing.assert_allclose(op.host(*arguments), expected, bounds[0], bounds[1] * np.abs(expected).max())


def test_result_is_contiguous_whatever_the_input():
    x = torch.tensor(numbers(2, 5, 6, 3)).permute(0, 3, 1, 2)
    assert conv2d(x, torch.tensor(numbers(4, 3, 3, 3))).is_contiguous()


@pytest.mark.parametrize("device", DEVICES)
def test_transposed_is_the_gradient_by_the_input(device):
    x = torch.tensor(numbers(2, 3, 7, 8), device=device, requires_grad=True)
    w = torch.tensor(numbers(4, 3, 3, 3), device=device)
    out = conv2d(x, w, stride=2, padding=1)
    seed = torch.tensor(numbers(*out.shape), device=device)
    found = transposed(seed, w, stride=2, padding=1, output_padding=(0, 1))
    np.testing.assert_allclose(found.numpy(), grad(out, [x], seed)[0].numpy(), *tolerance(np.float64))


def test_one_dimension_is_one_row():
    x, w = numbers(2, 3, 9), numbers(4, 3, 3)
    found = conv1d(torch.tensor(x), torch.tensor(w), padding=1)
    expected = [
        [sum(np.convolve(x[n, c], w[o, c, ::-1], "same") for c in range(3)) for o in range(4)] for n in range(2)
    ]
    np.testing.assert_allclose(found.numpy(), expected, *tolerance(np.float64))


@pytest.mark.parametrize(
    ("arguments", "named", "text"),
    [
        (((32, 3), (16, 3, 3, 3)), {},
         "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [32, 3]"),
        (((4, 8, 8), (16, 3, 3, 3)), {},
         "weight of size [16, 3, 3, 3], expected input[4, 8, 8] to have 3 channels, but got 4 channels instead"),
        (((1, 3, 2, 2), (16, 3, 3, 3)), {"padding": (0, 1), "dilation": 2},
         "size per channel: (2 x 4). Kernel size: (5 x 5). Kernel size can't be greater than actual input size"),
        (((1, 4, 8, 8), (5, 2, 3, 3)), {"groups": 2}, "expected weight to be divisible by 2 at dimension 0"),
        (((1, 3, 8, 8), (16, 3, 3, 3)), {"stride": 0}, "non-positive stride is not supported"),
        (((1, 3, 8, 8), (16, 3, 3, 3)), {"padding": "foo"}, "Invalid padding string: 'foo'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(arguments, named, text):
    with pytest.raises(RuntimeError) as caught:
        conv2d(*(torch.ones(*shape) for shape in arguments), **named)
    assert text in str(caught.value)
