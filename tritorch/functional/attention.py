"""Attention as `nn.functional` has it: any leading dimensions, masks of any shape, and with projections around it."""

from __future__ import annotations

import math
import warnings

from tritorch import creation
from tritorch.functional.causal_bias import CausalBias
from tritorch.functional.dropout import dropout
from tritorch.ops.attention.tiles import LARGEST_WIDTH
from tritorch.ops.autocast import LOWER
from tritorch.ops.base import TABLE, export
from tritorch.ops.guard import need_tensors
from tritorch.ops.layout import broadcast_shape
from tritorch.ops.matrix.matmul import product_shape
from tritorch.ops.promotion import C_TYPES
from tritorch.random import default_generator
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU

Attention, Linear, Where, Cat = (TABLE[name] for name in ("attention", "linear", "where", "cat"))


@export("nn.functional.scaled_dot_product_attention", autocast=LOWER)
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(scale query key^T + mask) value, for query (..., L, E), key (..., S, E) and value (..., S, V).

    A boolean mask is True where a query may attend a key; another is added to the scores; a `CausalBias` says in which
    corner its diagonal begins. `is_causal` lets query i attend keys up to i. A query that may attend nothing gets
    zeros. `scale` is 1 / sqrt(E) by default. `enable_gqa` lets several heads of queries, dimension -3, share one of
    keys and values.
    Source: Vaswani et al., "Attention is all you need", 2017; in linear memory by Dao et al., "FlashAttention", 2022.
    """
    if isinstance(attn_mask, CausalBias):
        if is_causal:
            raise ValueError("CausalBias should not be used with causal=True")
        attn_mask, is_causal = attn_mask.as_mask(query.device)
    _check_attention(query, key, value, attn_mask, dropout_p, is_causal)
    width = query.array.shape[-1]
    scale = (1 / math.sqrt(width) if width else 1.0) if scale is None else float(scale)
    grouped = enable_gqa and query.array.ndim > 2
    if grouped:
        key, value = _with_equal_heads(query, key, value)
    kept = -3 if grouped else -2
    whole = broadcast_shape("attention", *(each.array.shape[:kept] for each in (query, key, value)))
    if grouped:
        lead, heads, key_heads = whole, query.array.shape[-3], key.array.shape[-3]
        whole = (*whole, heads)
    else:
        lead, heads = whole[:-1], (whole or (1,))[-1]
        key_heads = heads
    length, keys = query.array.shape[-2], key.array.shape[-2]
    if attn_mask is not None:
        attn_mask = _as_stack(attn_mask, lead, heads, length, keys)
    query = _as_stack(query, lead, heads, *query.array.shape[-2:])
    key, value = (_as_stack(each, lead, key_heads, *each.array.shape[-2:]) for each in (key, value))
    result = _attended(query, key, value, attn_mask, dropout_p, bool(is_causal), scale)
    shape = (*whole, length, value.array.shape[-1])
    return result if result.array.shape == shape else result.reshape(shape)


def _with_equal_heads(query, key, value):
    """Key and value with as many heads as each other, and no more, of which each serves as many of the query's."""
    heads, *shared = (each.array.shape[-3] for each in (query, key, value))
    if any(own == 0 or heads % own for own in shared):
        raise RuntimeError("Number of heads in key and value must divide the number of heads in query")
    if shared[0] == shared[1]:
        return key, value
    most = math.lcm(*shared)
    return tuple(each.repeat_interleave(most // own, -3) for each, own in zip((key, value), shared, strict=True))


def _as_stack(tensor, lead, heads, rows, columns):
    """A tensor broadcast to (*lead, heads, rows, columns), and with all of `lead` as one dimension."""
    shape = (*lead, heads, rows, columns)
    if tensor.array.shape != shape:
        tensor = tensor.expand(shape)
    return tensor if len(shape) == 4 else tensor.reshape(math.prod(lead), heads, rows, columns)


def _attended(query, key, value, attn_mask, dropout_p, is_causal, scale):
    if max(query.array.shape[-1], value.array.shape[-1]) > LARGEST_WIDTH and query.device != CPU:
        return _attended_by_rows(query, key, value, attn_mask, dropout_p, is_causal, scale)
    seed = offset = 0
    if dropout_p:
        batch, heads, length, _ = query.array.shape
        seed, offset = default_generator.take(batch * heads * length * -(-key.array.shape[2] // 4))
    return Attention.apply(query, key, value, attn_mask, dropout_p, is_causal, scale, seed, offset)[0]


def _attended_by_rows(query, key, value, attn_mask, dropout_p, is_causal, scale):
    """The same from matrix products and softmax, for elements that are too many for a tile of the kernel."""
    batch, heads, length, _ = query.array.shape
    shared, keys = key.array.shape[1:3]
    rows = heads // max(shared, 1) * length  # of all heads that share keys, one after another
    scores = query.reshape(batch, shared, rows, query.array.shape[3]) @ key.transpose(-1, -2) * scale
    scores = scores.reshape(batch, heads, length, keys)
    if attn_mask is not None:
        boolean = attn_mask.dtype is dtypes.bool_
        scores = Where.apply(attn_mask, scores, -math.inf) if boolean else scores + attn_mask.to(scores.dtype)
    if is_causal:
        row, column = (creation.arange(size, device=query.device) for size in scores.shape[-2:])
        scores = Where.apply(row.unsqueeze(-1) >= column, scores, -math.inf)
    weights = scores.softmax(-1)
    weights = Where.apply((scores == -math.inf).all(-1, True), 0.0, weights)
    result = dropout(weights, dropout_p).reshape(batch, shared, rows, keys) @ value
    return result.reshape(batch, heads, length, value.array.shape[3])


def _check_attention(query, key, value, attn_mask, dropout_p, is_causal):
    """Refuse what PyTorch refuses."""
    need_tensors("scaled_dot_product_attention", query=query, key=key, value=value)
    q, k, v = query.array, key.array, value.array
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
            f"{q.ndim} key.dim: {k.ndim} and value.dim: {v.ndim} instead."
        )
    if not q.dtype == k.dtype == v.dtype:
        names = [_word(each.dtype) for each in (query, key, value)]
        raise RuntimeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {names[0]} key.dtype: "
            f"{names[1]} and value.dtype: {names[2]} instead."
        )
    if not query.is_floating_point():
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: float != {_word(query.dtype)}")
    if q.shape[-1] != k.shape[-1]:
        product_shape(q, k, False, True)  # has the words for it
    if k.shape[-2] != v.shape[-2] and q.ndim > 2:
        count = math.prod(q.shape[:-2])
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{count}, {k.shape[-2]}] "
            f"but got: [{count}, {v.shape[-2]}]."
        )
    if k.shape[-2] != v.shape[-2]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({q.shape[-2]}x{k.shape[-2]} and {v.shape[-2]}x{v.shape[-1]})"
        )
    if attn_mask is not None and attn_mask.dtype not in (dtypes.bool_, dtypes.float32, query.dtype):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{_word(attn_mask.dtype)} and  query.dtype: {_word(query.dtype)} instead."
        )
    if attn_mask is not None:
        broadcast_shape("scaled_dot_product_attention", (*q.shape[:-1], k.shape[-2]), attn_mask.array.shape)
    if attn_mask is not None and is_causal and q.ndim < 4:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")


def _word(dtype):
    return C_TYPES[dtype.name]


@export("nn.functional.multi_head_attention_forward")
def multi_head_attention_forward(
    query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn,
    dropout_p, out_proj_weight, out_proj_bias, training=True, key_padding_mask=None, need_weights=True,
    attn_mask=None, use_separate_proj_weight=False, q_proj_weight=None, k_proj_weight=None, v_proj_weight=None,
    static_k=None, static_v=None, average_attn_weights=True, is_causal=False,
):  # fmt: skip
    """Attention of `num_heads` parts of projected queries, keys and values, projected again; and the weights.

    query (L, N, E), key and value (S, N, E), or without N. In a boolean mask True means that a key may not be attended,
    as opposed to `scaled_dot_product_attention`. The weights, a mean over heads by default, are None unless needed.
    Source: Vaswani et al., "Attention is all you need", 2017.
    """
    need_tensors("multi_head_attention_forward", query=query, key=key, value=value)
    batched = _check_dimensions(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = (each.unsqueeze(1) for each in (query, key, value))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    length, batch, width = query.shape
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    is_causal = is_causal and key_padding_mask is None and not need_weights  # a hint, where no mask has to be merged
    mask = _merged_mask(None if is_causal else attn_mask, key_padding_mask, query, key, num_heads)
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected((query, key, value), in_proj_weight, in_proj_bias, separate)
    k, v, added = _with_bias(k, v, bias_k, bias_v, static_k, static_v)
    q, k, v = (_by_heads(each, num_heads) for each in (q, k, v))
    k, v = (_static(*pair, q) for pair in (("k", static_k, k), ("v", static_v, v)))
    if add_zero_attn:
        k, v = (Cat.call((each, each.new_zeros((batch, num_heads, 1, each.shape[-1]))), 2) for each in (k, v))
        added += 1
    if mask is not None and added:
        mask = Cat.call((mask, mask.new_zeros((*mask.shape[:-1], added))), -1)
    dropout_p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = q * math.sqrt(1 / (width // num_heads)) @ k.transpose(-1, -2)
        weights = dropout((scores if mask is None else scores + mask).softmax(-1), dropout_p)
        result = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        result = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    result = Linear.call(result.permute(2, 0, 1, 3).reshape(length, batch, width), out_proj_weight, out_proj_bias)
    if batched:
        return result, weights
    return result.squeeze(1), None if weights is None else weights.squeeze(0)


def _check_dimensions(query, key, value, key_padding_mask, attn_mask, num_heads):
    """Refuse what does not go together; gives whether there is a batch."""
    rank = query.ndim
    if rank not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor")
    kind = "batched (3-D)" if rank == 3 else "unbatched (2-D)"
    if key.ndim != rank or value.ndim != rank:
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {rank}-D but found {key.ndim}-D and {value.ndim}-D "
            "tensors respectively"
        )
    for name, mask, ranks in (("key_padding_mask", key_padding_mask, (rank - 1,)), ("attn_mask", attn_mask, (2, 3))):
        if mask is None:
            continue
        if mask.ndim not in ranks:
            expected = "`None` or " + f"{ranks[0]}-D" if len(ranks) == 1 else "`None`, 2-D or 3-D"
            raise AssertionError(
                f"For {kind} `query`, expected `{name}` to be {expected} but found {mask.ndim}-D tensor instead"
            )
        if mask.dtype is not dtypes.bool_ and not mask.is_floating_point():
            raise AssertionError(f"only bool and floating types of {name} are supported")
    if attn_mask is not None and key_padding_mask is not None and attn_mask.dtype is not key_padding_mask.dtype:
        warnings.warn(
            "Support for mismatched key_padding_mask and attn_mask is deprecated. Use same type for both instead.",
            stacklevel=4,
        )
    return rank == 3


def _check_sizes(query, key, value, embed_dim_to_check, num_heads, separate):
    width = query.shape[-1]
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    if width % num_heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if separate and key.shape[:2] != value.shape[:2]:
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
    if not separate and key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    if key.shape[1] != query.shape[1]:
        shape = [key.shape[0], query.shape[1] * num_heads, width // num_heads]
        raise RuntimeError(f"shape '{shape}' is invalid for input of size {key.shape[0] * key.shape[1] * width}")


def _projected(inputs, weight, bias, separate):
    """Each input times its part of the projection; equal inputs share a product."""
    if separate is not None:
        for name, each in zip("qkv", separate, strict=True):
            if each is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        return tuple(Linear.call(*each) for each in zip(inputs, separate, biases, strict=True))
    if weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    query, key, value = inputs
    if query is key is value:
        return Linear.call(query, weight, bias).chunk(3, -1)
    weights, biases = weight.chunk(3), (None,) * 3 if bias is None else bias.chunk(3)
    return tuple(Linear.call(*each) for each in zip(inputs, weights, biases, strict=True))


def _with_bias(k, v, bias_k, bias_v, static_k, static_v):
    """Keys and values with one more, the same for every batch element; and how many were added."""
    if bias_k is None and bias_v is None:
        return k, v, 0
    for present, absent, here, there in ((bias_k, bias_v, "k", "v"), (bias_v, bias_k, "v", "k")):
        if present is not None and absent is None:
            raise AssertionError(f"bias_{here} is set but bias_{there} is None")
    for name, static in (("key", static_k), ("value", static_v)):
        if static is not None:
            raise AssertionError(f"bias cannot be added to static {name}.")
    batch = k.shape[1]
    k, v = (Cat.call((each, bias.repeat(1, batch, 1))) for each, bias in ((k, bias_k), (v, bias_v)))
    return k, v, 1


def _by_heads(projected, num_heads):
    """(L, N, E) as (N, heads, L, E / heads), in place."""
    length, batch, width = projected.shape
    return projected.reshape(length, batch, num_heads, width // num_heads).permute(1, 2, 0, 3)


def _static(name, static, projected, q):
    """What was given in the place of projected keys or values, (N heads, S, E / heads), by heads."""
    if static is None:
        return projected
    batch, heads, _, width = q.shape
    for dim, wanted in ((0, batch * heads), (2, width)):
        if static.shape[dim] != wanted:
            raise AssertionError(f"expecting static_{name}.size({dim}) of {wanted}, but got {static.shape[dim]}")
    return static.reshape(batch, heads, *static.shape[1:])


def _merged_mask(attn_mask, key_padding_mask, query, key, num_heads):
    """What is added to the scores, (N or 1, heads or 1, L or 1, S), or None."""
    (length, batch), keys = query.shape[:2], key.shape[0]
    mask = None
    if attn_mask is not None:
        expected = (length, keys) if attn_mask.ndim == 2 else (batch * num_heads, length, keys)
        if attn_mask.shape != expected:
            raise RuntimeError(
                f"The shape of the {attn_mask.ndim}D attn_mask is {attn_mask.shape}, but should be {expected}."
            )
        outer = (1, 1) if attn_mask.ndim == 2 else (batch, num_heads)
        mask = _additive(attn_mask, query).reshape(*outer, length, keys)
    if key_padding_mask is None:
        return mask
    for dim, (size, wanted) in enumerate(zip(key_padding_mask.shape, (batch, keys), strict=True)):
        if size != wanted:
            raise AssertionError(f"Expected key_padded_mask.shape[{dim}] to be {wanted}, but got {size}")
    padding = _additive(key_padding_mask, query).reshape(batch, 1, 1, keys)
    return padding if mask is None else mask + padding


def _additive(mask, query):
    """A boolean mask as numbers to add: -inf where it is True."""
    if mask.dtype is not dtypes.bool_:
        return mask
    return Where.apply(mask, query.detach().new_full((), -math.inf), query.detach().new_zeros(()))
