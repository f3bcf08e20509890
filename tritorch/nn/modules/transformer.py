"""The Transformer: layers of attention and feed-forward nets, stacked, and an encoder with a decoder.

Source: Vaswani et al., Attention Is All You Need, 2017.
"""

from __future__ import annotations

import copy
import warnings

from tritorch import creation
from tritorch.nn import functional as F
from tritorch.nn.init import xavier_uniform_
from tritorch.nn.modules.activation import MultiheadAttention
from tritorch.nn.modules.container import ModuleList
from tritorch.nn.modules.dropout import Dropout
from tritorch.nn.modules.fused import layer_then, norm_of_sum, plus_linear
from tritorch.nn.modules.linear import Linear
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.normalization import LayerNorm
from tritorch.runtime import dtypes

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]


def _generate_square_subsequent_mask(sz, device=None, dtype=None):
    """-inf above the diagonal, 0 on and below it: added to scores, it hides what comes later."""
    return creation.full((sz, sz), float("-inf"), dtype=dtype, device=device).triu(diagonal=1)


def _get_seq_len(src, batch_first):
    """The number of steps of (time, batch, width), with the batch first, or (time, width)."""
    return src.shape[1 if src.dim() == 3 and batch_first else 0]


def _detect_is_causal_mask(mask, is_causal=None, size=None):
    """Whether a mask is the causal one: as said, or by looking at it where nothing is said."""
    if is_causal is not None or mask is None:
        return bool(is_causal)
    steps = mask.shape[-2] if size is None else size
    if tuple(mask.shape) != (steps, steps):
        return False
    return bool((mask == _generate_square_subsequent_mask(steps, mask.device, mask.dtype)).all())


def _as_added(mask, name, target, other=None, other_name=""):
    """A mask as a tensor to add to scores: -inf where a bool one is True."""
    if mask is None:
        return None
    if mask.dtype != dtypes.bool_ and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if other is not None and mask.dtype != other.dtype:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=5,
        )
    if mask.is_floating_point():
        return mask
    return creation.zeros(mask.shape, dtype=target.dtype, device=mask.device).masked_fill_(mask, float("-inf"))


def _get_activation_fn(activation):
    if activation not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {activation}")
    return getattr(F, activation)


def _get_clones(module, count):
    return ModuleList([copy.deepcopy(module) for _ in range(count)])


class _Layer(Module):
    """What layers of encoders and decoders share: the two linear layers behind attention."""

    def _ff_block(self, x):
        return self._last_dropout()(self.linear2(self._ff_hidden(x)))

    def _ff_hidden(self, x):
        return self.dropout(layer_then(self.linear1, self.activation, x))

    def _plus_ff_block(self, residual, x):
        """residual + _ff_block(x)."""
        if type(self)._ff_block is not _Layer._ff_block or "_ff_block" in self.__dict__:
            return residual + self._ff_block(x)
        return plus_linear(residual, self._last_dropout(), self.linear2, self._ff_hidden(x))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers, each added to its input and normed after, or before, the sum."""

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, device=None, dtype=None):  # fmt: skip
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = _get_activation_fn(activation) if isinstance(activation, str) else activation

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """The layer on `src`, in which `src_mask` hides steps from steps and `src_key_padding_mask` steps from all."""
        src_key_padding_mask = _as_added(src_key_padding_mask, "src_key_padding_mask", src, src_mask, "src_mask")
        src_mask = _as_added(src_mask, "src_mask", src)
        x = src
        if self.norm_first:
            attended = self._sa_block(self.norm1(x), src_mask, src_key_padding_mask, is_causal=is_causal)
            normed, x = norm_of_sum(self.norm2, x, attended)
            return self._plus_ff_block(x, normed)
        x, _ = norm_of_sum(self.norm1, x, self._sa_block(x, src_mask, src_key_padding_mask, is_causal=is_causal))
        return self.norm2(self._plus_ff_block(x, x))

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        attended, _ = self.self_attn(x, x, x, attn_mask=attn_mask, key_padding_mask=key_padding_mask,
                                     need_weights=False, is_causal=is_causal)  # fmt: skip
        return self.dropout1(attended)

    def _last_dropout(self):
        return self.dropout2


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the memory of an encoder, then two linear layers, each added and normed."""

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, device=None, dtype=None):  # fmt: skip
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **place)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1, self.dropout2, self.dropout3 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation = _get_activation_fn(activation) if isinstance(activation, str) else activation

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
                memory_key_padding_mask=None, tgt_is_causal=False, memory_is_causal=False):  # fmt: skip
        """The layer on `tgt`, which sees `memory`; masks as in the encoder, one pair for each attention."""
        x = tgt
        if self.norm_first:
            attended = self._sa_block(self.norm1(x), tgt_mask, tgt_key_padding_mask, tgt_is_causal)
            normed, x = norm_of_sum(self.norm2, x, attended)
            attended = self._mha_block(normed, memory, memory_mask, memory_key_padding_mask, memory_is_causal)
            normed, x = norm_of_sum(self.norm3, x, attended)
            return self._plus_ff_block(x, normed)
        x, _ = norm_of_sum(self.norm1, x, self._sa_block(x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        attended = self._mha_block(x, memory, memory_mask, memory_key_padding_mask, memory_is_causal)
        x, _ = norm_of_sum(self.norm2, x, attended)
        return self.norm3(self._plus_ff_block(x, x))

    def _sa_block(self, x, attn_mask, key_padding_mask, is_causal=False):
        attended, _ = self.self_attn(x, x, x, attn_mask=attn_mask, key_padding_mask=key_padding_mask,
                                     is_causal=is_causal, need_weights=False)  # fmt: skip
        return self.dropout1(attended)

    def _mha_block(self, x, mem, attn_mask, key_padding_mask, is_causal=False):
        attended, _ = self.multihead_attn(x, mem, mem, attn_mask=attn_mask, key_padding_mask=key_padding_mask,
                                          is_causal=is_causal, need_weights=False)  # fmt: skip
        return self.dropout2(attended)

    def _last_dropout(self):
        return self.dropout3


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one on the other, and a norm after the last.

    `enable_nested_tensor` and `mask_check` choose among PyTorch's faster paths and change nothing here.
    """

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__()
        self.layers = _get_clones(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor, self.use_nested_tensor, self.mask_check = enable_nested_tensor, False, mask_check

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        """All layers on `src`; whether `mask` is causal is found out where `is_causal` does not say it."""
        src_key_padding_mask = _as_added(src_key_padding_mask, "src_key_padding_mask", src, mask, "mask")
        mask = _as_added(mask, "mask", src)
        is_causal = _detect_is_causal_mask(mask, is_causal, _get_seq_len(src, _batch_first(self.layers)))
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=mask, is_causal=is_causal, src_key_padding_mask=src_key_padding_mask)
        return output if self.norm is None else self.norm(output)


def _batch_first(layers):
    """Whether the layers have the batch first; a script's own layers may not say."""
    attention = getattr(layers[0], "self_attn", None) if len(layers) else None
    return getattr(attention, "batch_first", False)


class TransformerDecoder(Module):
    """`num_layers` copies of a layer, one on the other, and a norm after the last."""

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__()
        self.layers = _get_clones(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
                memory_key_padding_mask=None, tgt_is_causal=None, memory_is_causal=False):  # fmt: skip
        """All layers on `tgt`, each of which sees `memory`."""
        tgt_is_causal = _detect_is_causal_mask(tgt_mask, tgt_is_causal, _get_seq_len(tgt, _batch_first(self.layers)))
        output = tgt
        for layer in self.layers:
            output = layer(
                output, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return output if self.norm is None else self.norm(output)


class Transformer(Module):
    """An encoder of `src` and a decoder of `tgt` that sees what the encoder made of it."""

    def __init__(self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048,
                 dropout=0.1, activation=F.relu, custom_encoder=None, custom_decoder=None, layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, device=None, dtype=None):  # fmt: skip
        super().__init__()
        settings = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
                    bias, device, dtype)  # fmt: skip

        def norm():
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        if custom_encoder is None:
            self.encoder = TransformerEncoder(TransformerEncoderLayer(*settings), num_encoder_layers, norm())
        else:
            self.encoder = custom_encoder
        if custom_decoder is None:
            self.decoder = TransformerDecoder(TransformerDecoderLayer(*settings), num_decoder_layers, norm())
        else:
            self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self):
        for parameter in self.parameters():
            if parameter.dim() > 1:
                xavier_uniform_(parameter)

    def forward(self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
                tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None,
                memory_is_causal=False):  # fmt: skip
        """The decoder's output for `tgt`, (time, batch, d_model), with the batch first, or (time, d_model)."""
        batch = 0 if self.batch_first else 1
        if src.dim() == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz, device=None, dtype=None):
        """-inf above the diagonal, 0 elsewhere: added to scores, it hides from each step those after it."""
        return _generate_square_subsequent_mask(sz, device, dtype)
