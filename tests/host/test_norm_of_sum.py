"""layer_norm and rms_norm of a sum as one op: alike in numbers, gradients and dtypes, and where layers take it."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch import nn
from tritorch.nn import functional as F
from tritorch.nn.modules.fused import norm_of_sum
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

SHAPE = (4, 3, 10)


@pytest.fixture(params=["cpu", "interpreter"], autouse=True)
def device(request):
    if request.param == "interpreter" and triton_missing():
        pytest.skip(triton_missing())
    torch.set_default_device(request.param)
    return request.param


def leaf(*shape, dtype=torch.float32):
    numbers = np.random.default_rng(sum(shape)).standard_normal(shape)
    return torch.tensor(numbers).to(dtype).requires_grad_()


def same(found, expected, kind=None):
    relative, absolute = tolerance((kind or found.dtype).numpy, gradient=True)
    np.testing.assert_allclose(found.detach().double().numpy(), expected.detach().double().numpy(),
                               rtol=relative, atol=absolute * 4)  # fmt: skip


def both(one, other, dtypes=(torch.float32, torch.float32)):
    """The results of two functions of two tensors, a weight and a bias, and the gradients of all."""
    for function in (one, other):
        x, y = leaf(*SHAPE, dtype=dtypes[0]), leaf(*SHAPE, dtype=dtypes[1]) * 2
        weight, bias = leaf(10), leaf(10)
        normed, total = function(x, y.detach().requires_grad_(), weight, bias)
        (normed * 3 + total * total).sum().backward()
        yield normed, total, x.grad, weight.grad, *(() if bias.grad is None else (bias.grad,))


@pytest.mark.parametrize(
    "dtypes", [(torch.float32,) * 2, (torch.float32, torch.bfloat16), (torch.bfloat16,) * 2], ids=str
)
def test_layer_norm(dtypes):
    def plain(x, y, weight, bias):
        return F.layer_norm(x.float() + y.float(), (10,), weight, bias), x + y

    found, expected = both(lambda x, y, weight, bias: F.add_layer_norm(x, y, (10,), weight, bias), plain, dtypes)
    assert found[0].dtype is found[1].dtype is torch.promote_types(*dtypes)
    for one, other in zip(found, expected, strict=True):
        same(one, other, dtypes[1])  # the sum is rounded for the gradients


def test_rms_norm():
    def plain(x, y, weight, bias):
        return F.rms_norm(x + y, (10,), weight), x + y

    found, expected = both(lambda x, y, weight, bias: F.add_rms_norm(x, y, (10,), weight), plain)
    for one, other in zip(found, expected, strict=True):
        same(one, other)


def test_gradients_of_gradients(device):
    if device != "cpu":
        return  # written with ops that have tests of their own
    x, y = leaf(2, 3, dtype=torch.float64), leaf(2, 3, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda x, y: F.add_layer_norm(x, y, (3,))[0] * y, (x, y))
    assert torch.autograd.gradgradcheck(lambda x, y: F.add_rms_norm(x, y, (3,))[1] * y, (x, y))


def test_shapes_that_broadcast_are_added_first():
    x, y = leaf(4, 6), leaf(6)
    normed, total = F.add_layer_norm(x, y, (6,))
    assert total.shape == (4, 6)
    same(normed, F.layer_norm(x + y, (6,)))
    with pytest.raises(RuntimeError, match=r"Given normalized_shape=\[5\]"):
        F.add_layer_norm(x, x, (5,))


def test_autocast_is_that_of_layer_norm(device):
    if device == "cpu":
        return
    with torch.autocast("interpreter", torch.bfloat16):
        x = leaf(4, 6, dtype=torch.bfloat16)
        assert F.add_layer_norm(x, x, (6,))[0].dtype is F.layer_norm(x + x, (6,)).dtype is torch.float32
        assert F.add_layer_norm(x, x.float(), (6,))[0].dtype is torch.float32


LAYERS = {
    "encoder": lambda first: nn.TransformerEncoderLayer(8, 2, 16, 0.0, norm_first=first),
    "decoder": lambda first: nn.TransformerDecoderLayer(8, 2, 16, 0.0, norm_first=first),
}


def run(layer, name):
    x = leaf(3, 2, 8)
    found = layer(x) if name == "encoder" else layer(x, leaf(5, 2, 8))
    found.sum().backward()
    gradients = [x.grad, *(each.grad for each in layer.parameters())]
    for each in layer.parameters():
        each.grad = None
    return found, *gradients


@pytest.mark.parametrize("first", [False, True], ids=["after", "before"])
@pytest.mark.parametrize("name", LAYERS)
def test_transformer_layers(name, first, device):
    torch.manual_seed(0)
    layer = LAYERS[name](first)
    with recording_launches() as launches:
        fused = run(layer, name)
    norms = [each for each in launches if each.kernel.__name__ == "norm_rows_kernel"]
    added = [each for each in norms if each.args[3] is not None]
    if device != "cpu":
        assert len(norms) == (2 if name == "encoder" else 3) and len(added) == len(norms) - 1
    seen = []
    for each in (layer.norm1, layer.norm2, getattr(layer, "norm3", layer.norm1)):
        each.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    for one, other in zip(run(layer, name), fused, strict=True):
        same(one, other)
    assert len(seen) >= 2  # a hook sees each sum, which is then made by itself


def test_other_norms_are_called():
    class Twice(nn.LayerNorm):
        def forward(self, input):
            return 2 * super().forward(input)

    x = leaf(4, 6)
    same(norm_of_sum(Twice(6), x, x)[0], 2 * F.layer_norm(2 * x, (6,)))
