"""Results and arguments that PyTorch lets scripts write over before `backward`, as `loss /= n` does."""

from __future__ import annotations

import pytest

import tritorch as torch
import tritorch.nn.functional as F

LABELS = torch.tensor([0, 2, 1])

RESULTS = {
    "quotient": lambda x, y: x / y,
    "quotient by a number": lambda x, y: x / 2,
    "product": lambda x, y: x * y,
    "power": lambda x, y: x**3,
    "root": lambda x, y: x**0.5,
    "square": lambda x, y: x**2,
    "largest of rows": lambda x, y: x.max(1)[0],
    "smallest of rows": lambda x, y: x.min(dim=1).values,
    "sorted": lambda x, y: x.sort(dim=1)[0],
    "top": lambda x, y: x.topk(2).values,
    "running largest": lambda x, y: x.cummax(0)[0],
    "max_pool2d": lambda x, y: F.max_pool2d(x[None, None], 2),
    "max_pool1d": lambda x, y: F.max_pool1d(x[None], 2),
    "adaptive_max_pool2d": lambda x, y: F.adaptive_max_pool2d(x[None, None], 2),
    "conv1d": lambda x, y: F.conv1d(x[None], y[:, :3, None]),
    "linear": lambda x, y: F.linear(x, y),
    "layer_norm": lambda x, y: F.layer_norm(x, (4,)),
    "cross_entropy": lambda x, y: F.cross_entropy(x, LABELS),
    "cross_entropy, weighted": lambda x, y: F.cross_entropy(x, LABELS, weight=torch.tensor([1.0, 2, 3, 4])),
    "cross_entropy, smoothed": lambda x, y: F.cross_entropy(x, LABELS, label_smoothing=0.1),
    "nll_loss": lambda x, y: F.nll_loss(x, LABELS),
    "mse_loss": F.mse_loss,
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "kl_div": lambda x, y: F.kl_div(x, y, reduction="batchmean"),
    "smooth_l1_loss": F.smooth_l1_loss,
    "embedding": lambda x, y: F.embedding(LABELS, x),
    "gather": lambda x, y: x.gather(1, LABELS[:, None]),
    "where": lambda x, y: torch.where(x > 0.5, x, y),
    "mean": lambda x, y: x.mean(0),
    "variance": lambda x, y: x.var(0),
    "dropout": lambda x, y: F.dropout(x, 0.5),
    "clamp": lambda x, y: x.clamp(0.3, 0.5),
    "gelu": lambda x, y: F.gelu(x),
    "silu": lambda x, y: F.silu(x),
}


@pytest.mark.parametrize("function", RESULTS.values(), ids=RESULTS.keys())
def test_a_result_may_be_written_over(function):
    x = torch.linspace(0.1, 0.9, 12).reshape(3, 4).requires_grad_()
    y = torch.linspace(0.9, 0.2, 12).reshape(3, 4).requires_grad_()
    expected = torch.autograd.grad(function(x * 1, y).sum() * 3, x) if function is not RESULTS["dropout"] else None
    result = function(x * 1, y)
    result *= 3
    found = torch.autograd.grad(result.sum(), x)
    assert expected is None or torch.equal(found[0], expected[0])


ARGUMENTS = {
    "sum": lambda x: x.sum(0),
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "add": lambda x: x + 1,
    "scaled": lambda x: 2 * x,
    "divided": lambda x: x / 2,
    "concatenated": lambda x: torch.cat([x, x]),
    "largest of rows": lambda x: x.max(1)[0],
    "masked_fill": lambda x: x.masked_fill(x > 0.5, 0.0),
    "index": lambda x: x[[0, 1]],
}


@pytest.mark.parametrize("function", ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_an_argument_may_be_written_over(function):
    x = torch.linspace(0.1, 0.9, 12).reshape(3, 4).requires_grad_()
    argument = x * 1
    result = function(argument).sum()
    with torch.no_grad():
        argument.zero_()
    (found,) = torch.autograd.grad(result, x)
    assert torch.equal(found, torch.autograd.grad(function(x * 1).sum(), x)[0])


def test_what_a_gradient_reads_may_not_be():
    x = torch.linspace(0.1, 0.9, 12).reshape(3, 4).requires_grad_()
    for change in ("argument", "exponent", "result"):
        argument, exponent = x * 1, x * 2
        result = argument**exponent
        changed = {"argument": argument, "exponent": exponent, "result": result}[change]
        total = result.sum()
        with torch.no_grad():
            changed.zero_()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            total.backward()


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_leaves_are_their_own(create_graph):
    """The gradient of a sum is that of both terms; clipping scales each of them once."""
    a, b, c = (torch.ones(3, requires_grad=True) for _ in range(3))
    total = a + b + c
    total.retain_grad()
    (total * torch.arange(3.0)).sum().backward(create_graph=create_graph)
    for each in (a, b, c):
        with torch.no_grad():
            each.grad.mul_(2)
    assert [each.grad.tolist() for each in (a, b, c, total)] == [[0, 2, 4]] * 3 + [[0, 1, 2]]


@pytest.mark.parametrize("layer", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_clipping_scales_the_gradients_of_recurrent_layers_once(layer):
    layer = layer(3, 4)
    layer(torch.ones(5, 2, 3))[0].sum().backward()
    before = [parameter.grad.clone() for parameter in layer.parameters()]
    norm = torch.nn.utils.clip_grad_norm_(layer.parameters(), 0.1)
    for parameter, gradient in zip(layer.parameters(), before, strict=True):
        assert torch.allclose(parameter.grad, gradient * (0.1 / (norm + 1e-6)))
