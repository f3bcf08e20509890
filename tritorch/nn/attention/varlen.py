"""Attention over sequences of unlike lengths that are packed one after another."""

from __future__ import annotations

import math
from typing import NamedTuple

from tritorch.autograd import is_grad_enabled, no_grad
from tritorch.ops.attention.tiles import LARGEST_WIDTH
from tritorch.ops.base import TABLE
from tritorch.ops.guard import need_tensors

__all__ = ["AuxRequest", "varlen_attn", "varlen_attn_out"]

Packed, Cached = TABLE["varlen_attention"], TABLE["cached_attention"]


class AuxRequest(NamedTuple):
    """What `varlen_attn` gives beside its result: `lse`, the logarithms of the sums of exponentials."""

    lse: bool = False


def varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None,
                window_size=(-1, -1), enable_gqa=False, seqused_k=None, block_table=None, num_splits=None):  # fmt: skip
    """softmax(scale query key^T) value within each of several sequences that are packed one after another.

    query (tokens, heads, width), key and value (key tokens, heads, width), with `enable_gqa` fewer heads that divide
    the query's. Sequence i has the queries cu_seq_q[i] to cu_seq_q[i + 1] and the keys cu_seq_k[i] to cu_seq_k[i + 1];
    `max_q` and `max_k` are at least the longest of them, and lengths are not read back from the device. `window_size`
    (left, right) lets a query attend keys from `left` before to `right` behind its own place, without a limit where it
    is -1; the last query's place is that of the last key, so (-1, 0) is causal. `scale` is 1 / sqrt(width) by default.

    For caches of keys, without gradients: of sequence i only the first seqused_k[i] keys are there; with a
    `block_table` (sequences, pages), key and value are (all pages, tokens of a page, heads, width) and a row of it
    names the pages of a sequence. `num_splits` is accepted: results do not depend on how keys are shared out.

    Gives the result, and with `return_aux=AuxRequest(lse=True)` the logarithms (heads, tokens) too, inf where a query
    may attend nothing. Tokens that are in no sequence give zeros.
    """
    arguments = _checked(query, key, value, cu_seq_q, cu_seq_k, window_size, enable_gqa, seqused_k, block_table)
    scale = (1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0) if scale is None else float(scale)
    sizes = (int(max_q), int(max_k), *map(int, window_size), scale)
    if seqused_k is None and block_table is None:
        found = Packed.apply(*arguments, *sizes)
    else:
        if is_grad_enabled() and any(each.requires_grad for each in (query, key, value)):
            name = "seqused_k" if seqused_k is not None else "block_table"
            raise RuntimeError(f"{name} is an inference-only parameter.")
        found = Cached.apply(*arguments, *sizes, seqused_k, block_table)
    return found if return_aux is not None and return_aux.lse else found[0]


def varlen_attn_out(out, query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **settings):
    """`varlen_attn` with its result written to `out`, without gradients; the keywords are the same."""
    need_tensors("varlen_attn_out", out=out)
    with no_grad():
        found = varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **settings)
        if isinstance(found, tuple):
            return out.copy_(found[0]), found[1]
        return out.copy_(found)


def _checked(query, key, value, cu_seq_q, cu_seq_k, window_size, enable_gqa, seqused_k, block_table):
    """The tensors, after refusing what does not go together."""
    need_tensors("varlen_attn", query=query, key=key, value=value, cu_seq_q=cu_seq_q)
    _check_heads(query, key, enable_gqa, block_table is not None)
    if len(window_size) != 2:
        raise ValueError(f"window_size must have length 2, got {len(window_size)}")
    rank = 3 if block_table is None else 4
    for name, each, wanted in (("query", query, 3), ("key", key, rank), ("value", value, rank)):
        if each.ndim != wanted:
            raise RuntimeError(f"varlen_attn: expected {name} to be {wanted}-D, got {each.ndim}-D")
    if not query.dtype == key.dtype == value.dtype or not query.is_floating_point():
        raise RuntimeError(
            "varlen_attn: query, key and value must have the same floating dtype, "
            f"got {query.dtype}, {key.dtype} and {value.dtype}"
        )
    if query.shape[-1] != key.shape[-1] or key.shape[:-1] != value.shape[:-1]:
        raise RuntimeError(
            "varlen_attn: query and key must have the same width, key and value the same tokens and heads, got "
            f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        )
    if max(query.shape[-1], value.shape[-1]) > LARGEST_WIDTH:
        raise RuntimeError(f"FlashAttention forward only supports head dimension at most {LARGEST_WIDTH}")
    _check_lengths(cu_seq_q, cu_seq_k, seqused_k, block_table)
    return query, key, value, cu_seq_q, cu_seq_k


def _check_heads(query, key, enable_gqa, paged):
    heads, shared = query.size(1), key.size(2 if paged else 1)
    if not enable_gqa and heads != shared:
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={shared}. "
            "Try setting enable_gqa=True for GQA."
        )
    if enable_gqa and (shared == 0 or heads % shared):
        raise ValueError(
            "Expect number of query heads to be a multiple of kv heads for GQA "
            f"but got Hq={heads} and Hkv={shared}."
        )  # fmt: skip


def _check_lengths(cu_seq_q, cu_seq_k, seqused_k, block_table):
    if block_table is not None and seqused_k is None:
        raise RuntimeError("varlen_attn: block_table needs seqused_k, how many keys of each sequence are there")
    if block_table is None and cu_seq_k is None:
        raise RuntimeError("varlen_attn: cu_seq_k may only be None where a block_table says where keys are")
    count = cu_seq_q.shape[0] if cu_seq_q.ndim else 0
    for name, each, shape in (
        ("cu_seq_q", cu_seq_q, (count,)), ("cu_seq_k", cu_seq_k, (count,)), ("seqused_k", seqused_k, (count - 1,)),
        ("block_table", block_table, (count - 1, None)),
    ):  # fmt: skip
        if each is None:
            continue
        fits = len(each.shape) == len(shape) and all(b in (a, None) for a, b in zip(each.shape, shape, strict=True))
        if not fits or count < 1 or each.dtype.is_floating_point:
            wanted = ", ".join("pages" if size is None else str(max(size, 0)) for size in shape)
            raise RuntimeError(
                f"varlen_attn: expected {name} to be integers of shape ({wanted}), got {each.dtype} of "
                f"{tuple(each.shape)}"
            )
