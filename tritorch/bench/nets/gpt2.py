"""GPT-2 of 124 million weights with AdamW and clipping; 4 layers of 128 on a processor.

Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019. The vocabulary of 50,257 is filled up
to a multiple of 64.
"""

from __future__ import annotations

from dataclasses import dataclass

from tritorch.bench.case import Input
from tritorch.bench.training import Training

USUAL = ("bfloat16",)


@dataclass(frozen=True)
class Sizes:
    """Of the model, and of a batch."""

    layers: int
    width: int
    heads: int
    length: int
    vocabulary: int
    batch: int


FULL, QUICK = (Sizes(12, 768, 12, 1024, 50_304, batch) for batch in (16, 4))
SMALL, TINY = Sizes(4, 128, 4, 128, 4096, 8), Sizes(2, 16, 2, 16, 64, 2)
SEQUENCE_BYTES = 3 << 30  # of memory for a sequence, the other sides' included


def net(lib, sizes):
    """Tokens (N, T) and those that follow them to the mean loss."""
    nn, functional = lib.nn, lib.nn.functional
    width, heads = sizes.width, sizes.heads

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
            )

        def forward(self, x):
            batch, length, _ = x.shape
            parts = self.c_attn(self.ln_1(x)).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(*parts.unbind(0), is_causal=True)
            x = x + self.c_proj(found.transpose(1, 2).reshape(batch, length, width))
            return x + self.mlp(self.ln_2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(sizes.vocabulary, width), nn.Embedding(sizes.length, width)
            self.h, self.ln_f = nn.Sequential(*(Block() for _ in range(sizes.layers))), nn.LayerNorm(width)
            self.lm_head = nn.Linear(width, sizes.vocabulary, bias=False)
            self.lm_head.weight = self.wte.weight

        def forward(self, tokens, following):
            x = self.wte(tokens) + self.wpe(lib.arange(tokens.shape[1], device=tokens.device))
            scores = self.lm_head(self.ln_f(self.h(x)))
            return functional.cross_entropy(scores.flatten(0, 1), following.flatten())

    return GPT()


def adamw(lib, parameters):
    """AdamW as nanoGPT has it, but for its rate."""
    return lib.optim.AdamW(parameters, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)


def training(quick, small):
    """Sequences of 1024 tokens, 16 of them or as many as there is memory for."""
    sizes = (TINY if quick else SMALL) if small else QUICK if quick else FULL
    batch = sizes.batch if small else fitting(sizes.batch)
    tokens = Input((batch, sizes.length), below=sizes.vocabulary)
    weights = 12 * sizes.layers * sizes.width**2 + sizes.vocabulary * sizes.width
    attention = 6 * sizes.layers * sizes.width * sizes.length  # causal: half of all pairs
    return Training(
        sizes=f"{sizes.layers}x{sizes.width} T={sizes.length} batch {batch} vocabulary {sizes.vocabulary}",
        net=lambda lib: net(lib, sizes),
        inputs=(tokens, tokens),
        optimizer=adamw,
        count=batch * sizes.length,
        unit="tokens/s",
        flops=batch * sizes.length * (6 * weights + attention),
        terms=sizes.vocabulary,
        clip=1.0,
    )


def fitting(most):
    """The largest power of two up to `most` of sequences that the GPU has memory for; `most` without one."""
    from tritorch.runtime.cuda import driver, memory

    free = memory.mem_get_info()[0] if driver.is_available() else most * SEQUENCE_BYTES
    while most > 1 and most * SEQUENCE_BYTES > free:
        most //= 2
    return most
