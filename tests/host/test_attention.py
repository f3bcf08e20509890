"""Attention against softmax written out, on both host devices: shapes, masks, shared heads, dropout, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd import grad, gradcheck, gradgradcheck
from tritorch.namespaces import exported

F = type("functional", (), {name: staticmethod(function) for name, function in exported("nn.functional").items()})
RANDOM = np.random.default_rng(0)
attention = F.scaled_dot_product_attention


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def draw(*shape):
    return RANDOM.standard_normal(shape)


def written_out(q, k, v, allowed=None, added=0.0, scale=None):
    """The weights of each query, one after another."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = np.einsum("...ie,...je->...ij", q, k) * scale + added
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("...ij,...jv->...iv", weights / weights.sum(-1, keepdims=True), v)


def tensors(*arrays, wanted=False):
    return [torch.tensor(each, requires_grad=wanted) for each in arrays]


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3)])
def test_any_leading_dimensions(lead):
    q, k, v = draw(*lead, 5, 8), draw(*lead, 7, 8), draw(*lead, 7, 3)
    close(attention(*tensors(q, k, v)), written_out(q, k, v))
    close(attention(*tensors(q, k, v), scale=0.3), written_out(q, k, v, scale=0.3))


def test_leading_dimensions_are_broadcast():
    q, k, v = draw(3, 5, 8), draw(2, 1, 7, 8), draw(7, 8)
    close(attention(*tensors(q, k, v)), written_out(q, k, v))


@pytest.mark.parametrize(("length", "keys"), [(6, 6), (6, 4), (4, 6)])
def test_a_causal_mask_starts_at_the_top_left(length, keys):
    q, k, v = draw(2, length, 4), draw(2, keys, 4), draw(2, keys, 4)
    allowed = np.arange(length)[:, None] >= np.arange(keys)
    close(attention(*tensors(q, k, v), is_causal=True), written_out(q, k, v, allowed))


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (2, 1, 5, 7), (1, 3, 1, 1)])
def test_masks_are_broadcast(shape):
    q, k, v = draw(2, 3, 5, 8), draw(2, 3, 7, 8), draw(2, 3, 7, 8)
    allowed, added = RANDOM.random(shape) < 0.7, draw(*shape)
    allowed[..., :1] = True
    close(attention(*tensors(q, k, v, allowed)), written_out(q, k, v, allowed))
    close(attention(*tensors(q, k, v, added)), written_out(q, k, v, added=added))


def test_a_query_that_may_attend_nothing_is_zero_and_has_no_gradient():
    allowed = np.array([[False] * 4, [True] * 4])
    q, k, v = tensors(draw(2, 3), draw(4, 3), draw(4, 3), wanted=True)
    out = attention(q, k, v, torch.tensor(allowed))
    close(out[0], np.zeros(3))
    out.sum().backward()
    close(q.grad[0], np.zeros(3), gradient=True)
    assert np.isfinite(k.grad.numpy()).all()


@pytest.mark.parametrize("shared", [(1, 1), (2, 2), (2, 1)])
def test_heads_of_queries_share_keys(shared):
    q, k, v = draw(2, 4, 5, 8), draw(2, shared[0], 7, 8), draw(2, shared[1], 7, 8)
    expected = written_out(q, k.repeat(4 // shared[0], 1), v.repeat(4 // shared[1], 1))
    close(attention(*tensors(q, k, v), enable_gqa=True), expected)
    with pytest.raises(RuntimeError, match="must divide the number of heads"):
        attention(*tensors(q[:, :3], draw(2, 2, 7, 8), v[:, :1]), enable_gqa=True)


@pytest.mark.parametrize("kind", ["plain", "causal", "boolean", "additive", "shared", "dropout"])
def test_gradients_and_second_derivatives(kind, device):
    if device != "cpu":
        return  # many small launches; the op's samples hold the kernels against these
    keys = 1 if kind == "shared" else 2
    inputs = tensors(draw(1, 2, 3, 2), draw(1, keys, 4, 2), draw(1, keys, 4, 3), wanted=True)
    if kind == "boolean":
        mask = torch.tensor(RANDOM.random((3, 4)) < 0.6)
    else:
        mask = torch.tensor(draw(3, 4), requires_grad=True) if kind == "additive" else None

    def function(q, k, v, mask=mask):
        torch.manual_seed(1)
        return attention(q, k, v, mask, 0.3 if kind == "dropout" else 0.0, kind == "causal", enable_gqa=True)

    inputs += [mask] if kind == "additive" else []
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


def test_dropout_draws_the_same_weights_in_both_directions():
    q, k, v = tensors(draw(1, 2, 6, 4), draw(1, 2, 7, 4), np.broadcast_to(np.eye(7), (1, 2, 7, 7)), wanted=True)
    torch.manual_seed(3)
    weights = attention(q, k, v, dropout_p=0.5)  # values are unit vectors, so the result is the weights
    dropped = weights.detach().numpy() == 0
    assert 0.2 < dropped.mean() < 0.8
    (by_value,) = grad(weights[..., 0].sum(), [v])
    assert ((by_value.numpy()[0, :, :, 0] == 0) == dropped[0].all(1)).all()
    close(by_value[0, :, :, 0], weights.detach().numpy()[0].sum(1), gradient=True)


def test_views_are_read_in_place():
    q, k, v = (draw(2, 5, 3, 4) for _ in range(3))
    turned = [each.transpose(1, 2) for each in tensors(q, k, v)]
    expected = written_out(*(each.swapaxes(1, 2) for each in (q, k, v)))
    close(attention(*turned), expected)


def test_elements_wider_than_a_tile(device):
    q, k, v = draw(1, 2, 3, 300), draw(1, 2, 4, 300), draw(1, 2, 4, 5)
    close(attention(*tensors(q, k, v), is_causal=True), written_out(q, k, v, np.tri(3, 4, dtype=bool)))


def test_errors():
    q, k = torch.ones(2, 3, 4), torch.ones(2, 5, 4)
    with pytest.raises(RuntimeError, match="to all be  at least 2 dimensional"):
        attention(torch.ones(4), k, k)
    with pytest.raises(RuntimeError, match=r"same dtype, but got query.dtype: float key.dtype: double"):
        attention(q, k.double(), k)
    with pytest.raises(RuntimeError, match="Expected attn_mask dtype to be bool or float"):
        attention(q, k, k, torch.ones(3, 5, dtype=torch.int32))
    with pytest.raises(RuntimeError, match=r"dropout probability has to be between 0 and 1, but got 1\.5"):
        attention(q, k, k, dropout_p=1.5)
    with pytest.raises(RuntimeError, match=r"batch2 tensor to be: \[2, 5\] but got: \[2, 6\]"):
        attention(q, k, torch.ones(2, 6, 4))


def heads(x, w, b, count):
    """(L, N, E) projected, as (N, heads, L, E / heads)."""
    y = x @ w.T + b
    return y.reshape(*y.shape[:2], count, -1).transpose(1, 2, 0, 3)


@pytest.mark.parametrize("needs_weights", [True, False])
def test_multi_head_attention(needs_weights):
    length, keys, batch, width, count = 3, 4, 2, 6, 2
    x, y = draw(length, batch, width), draw(keys, batch, width)
    w, b, out_w, out_b = draw(3 * width, width), draw(3 * width), draw(width, width), draw(width)
    ignored = np.array([[False, False, False, True], [False] * 4])
    q, k, v = (heads(each, w[at : at + width], b[at : at + width], count)
               for each, at in ((x, 0), (y, width), (y, 2 * width)))  # fmt: skip
    expected = written_out(q, k, v, ~ignored[:, None, None])
    expected = expected.transpose(2, 0, 1, 3).reshape(length, batch, width) @ out_w.T + out_b
    found, weights = F.multi_head_attention_forward(
        torch.tensor(x), *tensors(y, y), width, count, *tensors(w, b), None, None, False, 0.0, *tensors(out_w, out_b),
        key_padding_mask=torch.tensor(ignored), need_weights=needs_weights,
    )  # fmt: skip
    close(found, expected)
    if needs_weights:
        assert weights.shape == (batch, length, keys)
        close(weights.sum(-1), np.ones((batch, length)))
        close(weights[0, :, 3], np.zeros(length))
    else:
        assert weights is None


def test_multi_head_attention_says_what_does_not_fit():
    x, w = torch.ones(3, 2, 6), torch.ones(18, 6)
    rest = (w, None, None, None, False, 0.0, torch.ones(6, 6), None)
    with pytest.raises(AssertionError, match="embed_dim 6 not divisible by num_heads 4"):
        F.multi_head_attention_forward(x, x, x, 6, 4, *rest)
    with pytest.raises(AssertionError, match="was expecting embedding dimension of 5, but got 6"):
        F.multi_head_attention_forward(x, x, x, 5, 2, *rest)
    with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
        F.multi_head_attention_forward(x, x, x, 6, 2, *rest, is_causal=True)
