"""MultiheadAttention; `activation`, where PyTorch keeps it, gives it too."""

from __future__ import annotations

from tritorch import creation
from tritorch.nn import functional as F
from tritorch.nn import init
from tritorch.nn.modules.linear import NonDynamicallyQuantizableLinear
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """softmax(Q K^T / sqrt(head_dim)) V for several heads of projections, joined and projected once more.

    Query, key and value are (time, batch, width), or (batch, time, width) with `batch_first`, or (time, width).
    Source: Vaswani et al., Attention Is All You Need, 2017.
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None,
                 vdim=None, batch_first=False, device=None, dtype=None):  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                "embed_dim and num_heads must be greater than 0, "
                f"got embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn

        def made(*shape, wanted=True):
            return Parameter(creation.empty(shape, device=device, dtype=dtype)) if wanted else None

        separate = not self._qkv_same_embed_dim
        self.register_parameter("in_proj_weight", made(3 * embed_dim, embed_dim, wanted=not separate))
        self.register_parameter("q_proj_weight", made(embed_dim, embed_dim, wanted=separate))
        self.register_parameter("k_proj_weight", made(embed_dim, self.kdim, wanted=separate))
        self.register_parameter("v_proj_weight", made(embed_dim, self.vdim, wanted=separate))
        self.register_parameter("in_proj_bias", made(3 * embed_dim, wanted=bias))
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        self.bias_k = made(1, 1, embed_dim, wanted=add_bias_kv)
        self.bias_v = made(1, 1, embed_dim, wanted=add_bias_kv)
        self._reset_parameters()

    def _reset_parameters(self):
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                average_attn_weights=True, is_causal=False):  # fmt: skip
        """What was attended, and the weights of the attention where they are needed (else None)."""
        turned = self.batch_first and query.dim() == 3
        if turned:  # the same tensor stays the same tensor, so that it is projected once
            made = {id(each): each.transpose(1, 0) for each in (query, key, value)}
            query, key, value = (made[id(each)] for each in (query, key, value))
        attended, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias,
            training=self.training, key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim, q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight, v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        return (attended.transpose(1, 0) if turned else attended), weights
