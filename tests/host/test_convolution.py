"""Convolution: plain numbers, paddings, layouts, first and second gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close, tolerance

import tritorch as torch
from tritorch.autograd import grad
from tritorch.ops.base import EXPORTS, TABLE
from tritorch.runtime.language import triton_missing

conv1d, conv2d, conv3d, transposed = (
    EXPORTS[f"nn.functional.{name}"] for name in ("conv1d", "conv2d", "conv3d", "conv_transpose2d")
)
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
     ((3, 5, 5), (2, 3, 1, 1), {}), ((1, 2, 9, 5), (3, 2, 2, 2), {"stride": 3}),
     ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}),
     ((2, 2, 4, 5, 6), (3, 2, 2, 3, 2), {"stride": (2, 1, 3), "padding": (1, 0, 2), "dilation": (1, 2, 1)})],
)  # fmt: skip
def test_first_and_second_gradients_against_differences(shape, weight, rest, device):
    x, w = (torch.tensor(numbers(*each), device=device, requires_grad=True) for each in (shape, weight))
    convolution = (conv1d, conv2d, conv3d)[len(weight) - 3]
    out = convolution(x, w, **rest)
    seed = torch.tensor(numbers(*out.shape, 1)[..., 0], device=device, requires_grad=True)
    first = grad(out, [x, w], seed, create_graph=True)
    towards = [torch.tensor(numbers(*each.shape) + 0.5, device=device) for each in (x, w)]
    total = sum((gradient * direction).sum() for gradient, direction in zip(first, towards, strict=True))
    # d/dt conv(x + t dx, w + t dw) . seed at 0, and the mixed second difference, exact for a bilinear function.
    with torch.no_grad():
        moved = [convolution(x + towards[0], w, **rest) - out, convolution(x, w + towards[1], **rest) - out]
        expected = sum((each * seed).sum() for each in moved).item()
        mixed = convolution(towards[0], towards[1], **rest)
    np.testing.assert_allclose(total.item(), expected, *tolerance(np.float64, gradient=True, length=out.numel()))
    by_x, by_w, by_seed = grad(total, [x, w, seed])
    expected = (mixed * seed).sum().item()
    bounds = tolerance(np.float64, gradient=True, length=out.numel())
    np.testing.assert_allclose((by_x * towards[0]).sum().item(), expected, *bounds)
    np.testing.assert_allclose((by_w * towards[1]).sum().item(), expected, *bounds)
    np.testing.assert_allclose(by_seed.numpy(), sum(moved).numpy(), *bounds)


def test_pieces_of_images_add_up():
    """More images than the host path takes at once with a last piece that is shorter, small ones, and one too tall."""
    x, w = numbers(5, 40, 40, 40).astype(np.float32), numbers(8, 40, 3, 3).astype(np.float32)
    rest = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    bounds = tolerance(np.float32, gradient=True, length=360)
    small, filters = numbers(150, 200, 5, 6).astype(np.float32), numbers(8, 200, 3, 3).astype(np.float32)
    tall, wide = numbers(1, 40, 90, 90).astype(np.float32), ((1, 1), ((2, 1), (0, 1)), (3, 1), 1)
    for name, arguments in (
        ("convolution", (x, w, None, *rest)),
        ("convolution_input_gradient", (x[:, :8], w, (40, 40), *rest)),
        ("convolution_weight_gradient", (x[:, :8], x, (3, 3), *rest)),
        ("convolution", (small, filters, None, *rest)),
        ("convolution_weight_gradient", (small[:, :8], small, (3, 3), *rest)),
        ("convolution", (tall, w, None, *wide)),
        ("convolution_input_gradient", (tall[:, :8, :87, :89], w, (90, 90), *wide)),
        ("convolution_weight_gradient", (tall[:, :8, :87, :89], tall, (3, 3), *wide)),
    ):
        op = TABLE[name]
        expected = op.reference(*arguments)
        np.testing.assert_allclose(op.host(*arguments), expected, bounds[0], bounds[1] * np.abs(expected).max())


def test_result_lies_as_the_input():
    x, weight = torch.tensor(numbers(2, 5, 6, 3)).permute(0, 3, 1, 2), torch.tensor(numbers(4, 3, 3, 3))
    assert conv2d(x, weight).is_contiguous(memory_format=torch.channels_last)
    assert conv2d(x.contiguous(), weight).is_contiguous()


@pytest.mark.parametrize("device", DEVICES)
def test_transposed_is_the_gradient_by_the_input(device):
    x = torch.tensor(numbers(2, 3, 7, 8), device=device, requires_grad=True)
    w = torch.tensor(numbers(4, 3, 3, 3), device=device)
    out = conv2d(x, w, stride=2, padding=1)
    seed = torch.tensor(numbers(*out.shape), device=device)
    found = transposed(seed, w, stride=2, padding=1, output_padding=(0, 1))
    np.testing.assert_allclose(found.numpy(), grad(out, [x], seed)[0].numpy(), *tolerance(np.float64))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_transposed_is_linear_in_both_and_adjoint(ndim, device):
    """<conv(y, w), x> = <y, transposed(x, w)>, with output_padding, groups, dilation, and for its gradients too."""
    function, back = (EXPORTS[f"nn.functional.conv{how}{ndim}d"] for how in ("", "_transpose"))
    rest = {"stride": 3, "padding": 1, "dilation": 2, "groups": 2}
    x = torch.tensor(numbers(2, 4, *(3, 4, 2)[:ndim]), device=device, requires_grad=True)
    w = torch.tensor(numbers(4, 3, *(2, 3, 1)[:ndim]), device=device, requires_grad=True)
    bias = torch.tensor(numbers(6), device=device)
    out = back(x, w, bias, output_padding=2, **rest)
    y = torch.tensor(numbers(*out.shape), device=device)
    by_x, by_w = grad(out, [x, w], y, create_graph=True)
    places = tuple(map(slice, x.shape[2:]))
    close(by_x, function(y, w, **rest)[(..., *places)].detach().numpy())
    total = ((out - bias.reshape(-1, *[1] * ndim)) * y).sum()
    close((by_w * w).sum(), total.item(), gradient=True)
    (second,) = grad((by_w * w.detach()).sum(), [x])
    close(second, by_x.detach().numpy(), gradient=True)


def test_one_dimension_is_one_row():
    x, w = numbers(2, 3, 9), numbers(4, 3, 3)
    found = conv1d(torch.tensor(x), torch.tensor(w), padding=1)
    expected = [
        [sum(np.convolve(x[n, c], w[o, c, ::-1], "same") for c in range(3)) for o in range(4)] for n in range(2)
    ]
    np.testing.assert_allclose(found.numpy(), expected, *tolerance(np.float64))


@pytest.mark.parametrize(
    ("op", "arguments", "named", "text"),
    [
        ("conv2d", ((32, 3), (16, 3, 3, 3)), {},
         "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [32, 3]"),
        ("conv1d", ((8,), (4, 3, 3)), {}, "Expected 2D (unbatched) or 3D (batched) input to conv1d"),
        ("conv3d", ((3, 8, 8), (4, 3, 3, 3, 3)), {}, "Expected 4D (unbatched) or 5D (batched) input to conv3d"),
        ("conv2d", ((1, 3, 8, 8), (4, 3)), {}, "weight should have at least three dimensions"),
        ("conv2d", ((4, 8, 8), (16, 3, 3, 3)), {},
         "weight of size [16, 3, 3, 3], expected input[1, 4, 8, 8] to have 3 channels, but got 4 channels instead"),
        ("conv2d", ((1, 3, 2, 2), (16, 3, 3, 3)), {"padding": (0, 1), "dilation": 2},
         "size per channel: (2 x 4). Kernel size: (5 x 5). Kernel size can't be greater than actual input size"),
        ("conv1d", ((1, 3, 2), (4, 3, 3)), {}, "size per channel: (2). Kernel size: (3). Kernel size"),
        ("conv2d", ((1, 4, 8, 8), (5, 2, 3, 3)), {"groups": 2}, "expected weight to be divisible by 2 at dimension 0"),
        ("conv2d", ((1, 3, 8, 8), (6, 3, 3, 3)), {"groups": 2},
         "Given groups=2, weight of size [6, 3, 3, 3], expected input[1, 3, 8, 8] to have 6 channels"),
        ("conv2d", ((1, 3, 8, 8), (6, 3, 3, 3)), {"groups": 0}, "non-positive groups is not supported"),
        ("conv2d", ((1, 3, 8, 8), (6, 3, 3, 3), (4,)), {}, "1-dimensional with 6 elements, but got bias of size [4]"),
        ("conv2d", ((1, 3, 8, 8), (16, 3, 3, 3)), {"stride": 0}, "non-positive stride is not supported"),
        ("conv2d", ((1, 3, 8, 8), (16, 3, 3, 3)), {"padding": -1}, "negative padding is not supported"),
        ("conv2d", ((1, 3, 8, 8), (16, 3, 3, 3)), {"dilation": 0}, "dilation should be greater than zero"),
        ("conv2d", ((1, 3, 8, 8), (16, 3, 3, 3)), {"padding": "foo"}, "Invalid padding string: 'foo'"),
        ("conv2d", ((1, 3, 8, 8), (16, 3, 3, 3)), {"padding": "same", "stride": 2},
         "padding='same' is not supported for strided convolutions"),
        ("conv3d", ((1, 3, 8, 8, 8), (4, 3, 3, 3, 3)), {"stride": (1, 1)},
         "expected stride to be a single integer value or a list of 3 values to match the convolution dimensions, "
         "but got stride=[1, 1]"),
        ("conv_transpose1d", ((1, 3, 8), (3, 4, 3)), {"output_padding": 1},
         "output padding must be smaller than either stride or dilation, but got output_padding_width: 1 "
         "stride_width: 1 dilation_width: 1"),
        ("conv_transpose2d", ((1, 3, 8, 8), (3, 4, 3, 3)), {"output_padding": -1}, "negative output_padding"),
        ("conv_transpose2d", ((1, 5, 8, 8), (3, 4, 3, 3)), {},
         "Given transposed=1, weight of size [3, 4, 3, 3], expected input[1, 5, 8, 8] to have 3 channels"),
        ("conv_transpose2d", ((1, 3, 8, 8), (3, 4, 3, 3), (3,)), {},
         "Given transposed=1, weight of size [3, 4, 3, 3], expected bias to be 1-dimensional with 4 elements"),
        ("conv_transpose3d", ((1, 3, 1, 1, 1), (3, 4, 3, 3, 3)), {"padding": 2},
         "Given input size per channel: (1 x 1 x 1). Calculated output size per channel: (-1 x -1 x -1). Output size"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(op, arguments, named, text):
    with pytest.raises(RuntimeError) as caught:
        EXPORTS[op](*(torch.ones(*shape) for shape in arguments), **named)
    assert text in str(caught.value)


def test_time_batch_channels():
    x, w, bias = (torch.tensor(numbers(*shape)) for shape in ((7, 2, 3), (3, 3, 4), (4,)))
    expected = conv1d(x.permute(1, 2, 0), w.permute(2, 1, 0), bias, padding=1).permute(2, 0, 1)
    assert torch.conv_tbc(x, w, bias, 1).tolist() == expected.tolist()
    with pytest.raises(RuntimeError, match="Bias size must equal dim 2 in the weight tensor"):
        torch.conv_tbc(x, w, torch.ones(5))


def test_what_is_no_tensor_or_no_integer_is_refused():
    x, w = torch.ones(1, 3, 8), torch.ones(3, 4, 3)
    with pytest.raises(TypeError, match=r"conv1d\(\): argument 'weight' \(position 2\) must be Tensor, not int"):
        conv1d(x, 3)
    with pytest.raises(TypeError, match=r"conv_transpose1d\(\): argument 'padding' must be tuple of ints, not str"):
        EXPORTS["conv_transpose1d"](x, w, padding="same")
    with pytest.raises(TypeError, match=r"conv1d\(\): argument 'stride' must be tuple of ints, not float"):
        conv1d(x, w.transpose(0, 1), stride=(1.5,))
