"""GPT: a decoder that continues a sequence of tokens. Source: Radford et al., 2019."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tritorch
from tritorch import nn
from tritorch.nn import functional as F
from tritorch.nn.modules.fused import norm_of_sum
from tritorch.vision.models.registry import model

__all__ = ["GPT", "GPTConfig", "gpt"]


@dataclass
class GPTConfig:
    """The sizes of a GPT; those of the smallest that was published unless said otherwise."""

    block_size: int = 1024  # the longest sequence
    vocab_size: int = 50257
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True


class _Attention(nn.Module):
    """Every token looks at those before it and at itself."""

    def __init__(self, config):
        super().__init__()
        if config.n_embd % config.n_head:
            raise ValueError(f"n_embd ({config.n_embd}) must be a multiple of n_head ({config.n_head})")
        self.n_head, self.dropout = config.n_head, config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        count, length, width = x.shape
        heads = self.c_attn(x).view(count, length, 3, self.n_head, width // self.n_head)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        return self.resid_dropout(self.c_proj(found.transpose(1, 2).reshape(count, length, width)))


class _MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


class _Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = _Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = _MLP(config)

    def forward(self, x):
        normed, x = norm_of_sum(self.ln_2, x, self.attn(self.ln_1(x)))
        return x + self.mlp(normed)


class GPT(nn.Module):
    """Tokens (N, T) to scores of the next one (N, T, vocab_size), whose weights are those of the embedding.

    `forward(tokens, targets)` gives the scores and the mean cross entropy; a target of -1 does not count. The keys of
    the state dict are those of the published weights.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "drop": nn.Dropout(config.dropout),
                "h": nn.ModuleList(_Block(config) for _ in range(config.n_layer)),
                "ln_f": nn.LayerNorm(config.n_embd, bias=config.bias),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                # what is added 2 n_layer times starts small, so that the sum does not grow with depth
                deviation = 0.02 / math.sqrt(2 * config.n_layer) if name.endswith("c_proj") else 0.02
                nn.init.normal_(module.weight, mean=0.0, std=deviation)
                if getattr(module, "bias", None) is not None:
                    nn.init.zeros_(module.bias)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens, targets=None):
        length = tokens.shape[1]
        if length > self.config.block_size:
            raise ValueError(f"GPT: a sequence of {length} tokens is longer than block_size ({self.config.block_size})")
        place = tritorch.arange(length, device=tokens.device)
        x = self.transformer.drop(self.transformer.wte(tokens) + self.transformer.wpe(place))
        for block in self.transformer.h:
            x = block(x)
        scores = self.lm_head(self.transformer.ln_f(x))
        if targets is None:
            return scores, None
        return scores, F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=-1)

    @tritorch.no_grad()
    def generate(self, tokens, max_new_tokens, temperature=1.0, top_k=None):
        """`tokens` (N, T) and `max_new_tokens` more, each drawn by its probability among the `top_k` likeliest."""
        for _ in range(max_new_tokens):
            scores = self(tokens[:, -self.config.block_size :])[0][:, -1] / temperature
            if top_k is not None:
                least = scores.topk(min(top_k, scores.shape[-1]))[0][:, -1:]
                scores = scores.masked_fill(scores < least, float("-inf"))
            tokens = tritorch.cat((tokens, tritorch.multinomial(scores.softmax(-1), 1)), 1)
        return tokens


@model()
def gpt(**kwargs):
    """GPT with the given sizes: `gpt(n_layer=4)` is GPT(GPTConfig(n_layer=4))."""
    return GPT(GPTConfig(**kwargs))
