"""Attention and the Transformer: masks, the batch first or not, layers of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.nn.modules.transformer import _detect_is_causal_mask

RANDOM = np.random.default_rng(0)


def draw(*shape):
    return torch.tensor(RANDOM.standard_normal(shape).astype("f4"))


def test_attention_is_the_plain_formula():
    layer, x = nn.MultiheadAttention(6, 2), draw(4, 3, 6)
    found, weights = layer(x, x, x)
    state = {name: value.numpy() for name, value in layer.state_dict().items()}
    q, k, v = np.split(x.numpy() @ state["in_proj_weight"].T + state["in_proj_bias"], 3, -1)
    q, k, v = (each.reshape(4, 3, 2, 3).transpose(1, 2, 0, 3) for each in (q, k, v))
    scores = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(3))
    share = scores / scores.sum(-1, keepdims=True)
    joined = (share @ v).transpose(2, 0, 1, 3).reshape(4, 3, 6)
    close(found, joined @ state["out_proj.weight"].T + state["out_proj.bias"])
    close(weights, share.mean(1))
    assert layer(x, x, x, need_weights=False)[1] is None
    assert layer(x, x, x, average_attn_weights=False)[1].shape == (3, 2, 4, 4)


@pytest.mark.parametrize("settings", [{}, {"kdim": 5, "vdim": 7}, {"add_bias_kv": True, "add_zero_attn": True}])
def test_the_batch_may_come_first(settings):
    first = nn.MultiheadAttention(6, 2, batch_first=True, **settings)
    second = nn.MultiheadAttention(6, 2, **settings)
    second.load_state_dict(first.state_dict())
    query, key, value = draw(3, 4, 6), draw(3, 5, settings.get("kdim", 6)), draw(3, 5, settings.get("vdim", 6))
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])
    found, weights = first(query, key, value, key_padding_mask=mask)
    turned = (each.transpose(0, 1) for each in (query, key, value))
    other, shares = second(*turned, key_padding_mask=mask)
    close(found, other.transpose(0, 1).detach().numpy())
    close(weights, shares.detach().numpy())
    close(first(query[0], key[0], value[0])[0], found[0].detach().numpy())


@pytest.mark.parametrize("norm_first", (False, True))
def test_a_causal_mask_hides_what_comes_later(norm_first):
    layer = nn.TransformerEncoderLayer(6, 2, 8, 0.0, batch_first=True, norm_first=norm_first)
    net = nn.TransformerEncoder(layer, 2)
    x, mask = draw(2, 5, 6), nn.Transformer.generate_square_subsequent_mask(5)
    assert mask[0].tolist() == [0, *[-np.inf] * 4] and mask[4].tolist() == [0] * 5
    whole = net(x, mask)
    close(net(x[:, :3], mask[:3, :3]), whole[:, :3].detach().numpy())
    close(net(x, mask == -np.inf), whole.detach().numpy())
    close(net(x, mask, is_causal=True), whole.detach().numpy())
    close(net.eval()(x, mask), whole.detach().numpy())
    with pytest.raises(AssertionError, match="only bool and floating types of mask are supported"):
        net(x, mask.long())


def test_what_a_causal_mask_is():
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert _detect_is_causal_mask(mask) and not _detect_is_causal_mask(mask.T) and not _detect_is_causal_mask(None)
    assert _detect_is_causal_mask(None, True) and not _detect_is_causal_mask(mask, False)
    assert not _detect_is_causal_mask(mask, None, 4)


def test_padding_changes_nothing():
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu"), 2, nn.LayerNorm(6))
    x, padding = draw(5, 2, 6), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    close(net(x, src_key_padding_mask=padding)[:3, 1], net(x[:3, 1]).detach().numpy())


def test_the_whole_transformer():
    net = nn.Transformer(8, 2, 2, 1, 16, 0.0, batch_first=True).eval()
    src, tgt = draw(3, 5, 8), draw(3, 4, 8)
    mask = net.generate_square_subsequent_mask(4)
    found = net(src, tgt, tgt_mask=mask)
    assert found.shape == (3, 4, 8)
    memory = net.encoder(src)
    close(net.decoder(tgt, memory, tgt_mask=mask), found.detach().numpy())
    close(net(src[0], tgt[0], tgt_mask=mask), found[0].detach().numpy())
    assert all(each.grad is None for each in net.parameters())
    found.sum().backward()
    assert all(each.grad is not None for each in net.parameters())
    with pytest.raises(RuntimeError, match="the batch number of src and tgt must be equal"):
        net(src, tgt[:2])
    with pytest.raises(RuntimeError, match="the feature number of src and tgt must be equal to d_model"):
        net(src, tgt[..., :4])


def test_layers_and_parts_of_ones_own():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.given = None

        def forward(self, src, src_mask=None, is_causal=None, src_key_padding_mask=None):
            self.given = src_mask, is_causal, src_key_padding_mask
            return src + 1

    encoder = nn.TransformerEncoder(Layer(), 3)
    net = nn.Transformer(6, 2, custom_encoder=encoder, num_decoder_layers=1)
    assert net.encoder is encoder and encoder(torch.zeros(4, 6)).tolist() == [[3] * 6] * 4
    assert encoder.layers[0].given == (None, False, None)

    class Own(nn.TransformerEncoderLayer):
        def _ff_block(self, x):
            return x * 0

    layer = Own(6, 2, 8, 0.0, nn.GELU())
    assert type(layer.activation) is nn.GELU and layer(draw(4, 1, 6)).shape == (4, 1, 6)
    with pytest.raises(RuntimeError, match="activation should be relu/gelu, not swish"):
        nn.TransformerEncoderLayer(6, 2, activation="swish")


@pytest.mark.parametrize(
    "use, error, text",
    [
        (lambda: nn.MultiheadAttention(4, 3), AssertionError, "embed_dim must be divisible by num_heads"),
        (lambda: nn.MultiheadAttention(0, 3), ValueError, "embed_dim and num_heads must be greater than 0"),
        (
            lambda: nn.TransformerEncoderLayer(4, 2, 8)(torch.ones(3, 2, 4), is_causal=True),
            RuntimeError,
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method",
        ),
    ],
)
def test_errors(use, error, text):
    with pytest.raises(error) as caught:
        use()
    assert text in str(caught.value)
