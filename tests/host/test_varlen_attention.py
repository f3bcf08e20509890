"""Attention over packed sequences, each as if it were alone; caches, pages, errors; biases; heads that share keys."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.nn import functional as F
from tritorch.nn.attention.bias import CausalBias, CausalVariant, causal_lower_right, causal_upper_left
from tritorch.nn.attention.varlen import AuxRequest, varlen_attn, varlen_attn_out

LENGTHS, KEYS = (5, 70, 0, 12), (9, 70, 3, 12)


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def starts(lengths):
    return torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32)


def packed(heads=2, shared=2, width=8):
    q, k, v = torch.randn(sum(LENGTHS), heads, width), *(torch.randn(sum(KEYS), shared, width) for _ in range(2))
    return tuple(each.double().requires_grad_() for each in (q, k, v))


def one_by_one(q, k, v, window=(-1, -1)):
    """Each sequence by `scaled_dot_product_attention`, with its window as a mask."""
    results = []
    parts = q.split(list(LENGTHS)), k.split(list(KEYS)), v.split(list(KEYS))
    for query, key, value in zip(*parts, strict=True):
        length, keys = query.shape[0], key.shape[0]
        distance = torch.arange(keys) - (torch.arange(length)[:, None] + keys - length)
        allowed = torch.ones(length, keys, dtype=torch.bool)
        if window[0] >= 0:
            allowed = allowed & (distance >= -window[0])
        if window[1] >= 0:
            allowed = allowed & (distance <= window[1])
        turned = (each.transpose(0, 1) for each in (query, key, value))
        results.append(F.scaled_dot_product_attention(*turned, allowed, enable_gqa=True).transpose(0, 1))
    return torch.cat(results)


@pytest.mark.parametrize(("window", "shared"), [((-1, -1), 4), ((-1, 0), 2), ((6, 0), 1), ((3, 2), 4)])
def test_each_sequence_is_as_if_alone(window, shared):
    inputs = packed(4, shared)
    out = varlen_attn(*inputs, starts(LENGTHS), starts(KEYS), 70, 70, window_size=window, enable_gqa=True)
    expected = one_by_one(*inputs, window)
    close(out, expected.detach().numpy())
    seed = torch.randn(*out.shape).double()
    for ours, theirs in zip(*(torch.autograd.grad(each, inputs, seed) for each in (out, expected)), strict=True):
        close(ours, theirs.numpy(), gradient=True)


def test_the_logarithms_of_the_sums():
    q, k, v = packed()
    arguments = (q, k, v, starts(LENGTHS), starts(KEYS), 70, 70)
    out, found = varlen_attn(*arguments, return_aux=AuxRequest(lse=True), scale=0.5)
    assert found.shape == (2, sum(LENGTHS))
    scores = torch.einsum("ihe,jhe->hij", q[:5], k[:9]) * 0.5
    close(found[:, :5], scores.logsumexp(-1).detach().numpy())
    assert varlen_attn(*arguments, return_aux=AuxRequest()).shape == out.shape


def test_a_query_that_may_attend_nothing_is_zero():
    q, k = torch.randn(4, 1, 8, requires_grad=True), torch.randn(2, 1, 8, requires_grad=True)
    arguments = (q, k, k, torch.tensor([0, 4]), torch.tensor([0, 2]), 4, 2)
    out, found = varlen_attn(*arguments, window_size=(-1, 0), return_aux=AuxRequest(True))
    close(out[:2], np.zeros((2, 1, 8)))
    assert found[0].isinf().tolist() == [True, True, False, False]
    out.sum().backward()
    assert q.grad[:2].abs().sum() == 0 and k.grad.isfinite().all()


def test_tokens_that_are_in_no_sequence_are_zero():
    q = torch.randn(9, 1, 8, requires_grad=True)
    cu = torch.tensor([1, 4, 6])
    out = varlen_attn(q, q, q, cu, cu, 3, 3)
    out.sum().backward()
    for each in (out, q.grad):
        assert not each[[0, 6, 7, 8]].any() and each[1:6].any()


@torch.no_grad()
def test_caches_that_are_not_full_and_pages():
    q, k, v = (each.detach() for each in packed(4, 2))
    used = torch.tensor([4, 70, 0, 2], dtype=torch.int32)
    settings = {"enable_gqa": True, "window_size": (-1, 0)}
    out = varlen_attn(q, k, v, starts(LENGTHS), starts(KEYS), 70, 70, seqused_k=used, **settings)
    kept = [np.arange(first, first + count) for first, count in zip(np.cumsum([0, *KEYS]), used.tolist(), strict=False)]
    inside = torch.tensor(np.concatenate(kept))
    expected = varlen_attn(q, k[inside], v[inside], starts(LENGTHS), starts(used.tolist()), 70, 70, **settings)
    close(out, expected.numpy())
    table = torch.tensor(np.random.default_rng(0).permutation(16 * 4).reshape(4, 16), dtype=torch.int32)
    pool = torch.zeros(2, 64, 5, 2, 8, dtype=torch.float64)
    for number, tokens in enumerate(kept):
        for at, token in enumerate(tokens.tolist()):
            pool[:, int(table[number, at // 5]), at % 5] = torch.stack((k[token], v[token]))
    paged = varlen_attn(
        q, *pool, starts(LENGTHS), None, 70, 80, seqused_k=used, block_table=table, num_splits=1, **settings
    )
    close(paged, expected.numpy())


def test_written_to_a_result_that_is_there():
    q, k, v = packed()
    arguments = (q, k, v, starts(LENGTHS), starts(KEYS), 70, 70)
    out = torch.empty(sum(LENGTHS), 2, 8, dtype=torch.float64)
    found, sums = varlen_attn_out(out, *arguments, return_aux=AuxRequest(lse=True), window_size=(-1, 0))
    assert found is out and sums.shape == (2, sum(LENGTHS)) and not out.requires_grad
    close(out, varlen_attn(*arguments, window_size=(-1, 0)).detach().numpy())


def test_errors():
    q, k, cu = torch.ones(6, 4, 8), torch.ones(6, 2, 8), torch.tensor([0, 2, 6])
    with pytest.raises(ValueError, match="same number of heads but got Hq=4 and Hkv=2"):
        varlen_attn(q, k, k, cu, cu, 4, 4)
    with pytest.raises(ValueError, match="multiple of kv heads for GQA but got Hq=4 and Hkv=3"):
        varlen_attn(q, q[:, :3], q[:, :3], cu, cu, 4, 4, enable_gqa=True)
    with pytest.raises(ValueError, match="window_size must have length 2, got 3"):
        varlen_attn(q, q, q, cu, cu, 4, 4, window_size=(1, 2, 3))
    with pytest.raises(RuntimeError, match="expected value to be 3-D, got 4-D"):
        varlen_attn(q, q, q[None], cu, cu, 4, 4)
    with pytest.raises(
        RuntimeError, match=r"expected cu_seq_k to be integers of shape \(3\), got torch.int64 of \(2,\)"
    ):
        varlen_attn(q, q, q, cu, cu[1:], 4, 4)
    with pytest.raises(RuntimeError, match="block_table needs seqused_k"):
        varlen_attn(q, q[None], q[None], cu, None, 4, 4, block_table=torch.zeros(2, 1, dtype=torch.int32))
    with pytest.raises(RuntimeError, match="cu_seq_k may only be None where"):
        varlen_attn(q, q, q, cu, None, 4, 4)
    with pytest.raises(RuntimeError, match="only supports head dimension at most 256"):
        varlen_attn(*(torch.ones(6, 4, 300),) * 3, cu, cu, 4, 4)
    with pytest.raises(RuntimeError, match="seqused_k is an inference-only parameter"):
        varlen_attn(q.clone().requires_grad_(), q, q, cu, cu, 4, 4, seqused_k=torch.tensor([1, 1]))


@pytest.mark.parametrize("size", [(5, 9), (1, 9), (7, 7)])
def test_causal_biases(size):
    q, k = torch.randn(2, 4, size[0], 8), torch.randn(2, 2, size[1], 8)
    for made, shift in ((causal_upper_left, 0), (causal_lower_right, size[1] - size[0])):
        mask = torch.ones(*size, dtype=torch.bool).tril(shift)
        bias = made(*size)
        assert isinstance(bias, CausalBias) and bias.variant in CausalVariant and repr(bias) == repr(mask.cpu())
        found = F.scaled_dot_product_attention(q, k, k, bias, enable_gqa=True)
        close(found, F.scaled_dot_product_attention(q, k, k, mask, enable_gqa=True).numpy())
        with pytest.raises(ValueError, match="should not be used with causal=True"):
            F.scaled_dot_product_attention(q, k, k, bias, is_causal=True, enable_gqa=True)


def test_causal_biases_say_what_they_are_not():
    with pytest.raises(AssertionError, match="causal_lower_right only supports 2D tensors"):
        causal_lower_right(1, 2, 3)
    with pytest.raises(AssertionError, match="variant must be a CausalVariant, got int"):
        CausalBias(1, 2, 3)
    with pytest.warns(UserWarning, match="will produce NaNs in the output when seq_len_q > seq_len_kv"):
        causal_lower_right(3, 2)


@pytest.mark.parametrize(("width", "masked"), [(8, False), (8, True), (300, False)])
def test_shared_keys_are_never_repeated(width, masked):
    """Forward and backward, with the gradient of a mask too; 300 elements are too wide for a tile."""
    q, k = torch.randn(1, 8, 3, width, requires_grad=True), torch.randn(1, 2, 40, width, requires_grad=True)
    mask = torch.randn(1, 8, 3, 40, requires_grad=True) if masked else None
    with torch.profiler.profile(record_shapes=True) as profile:
        F.scaled_dot_product_attention(q, k, k, mask, enable_gqa=True).sum().backward()
    names = {event.name for event in profile.events()}
    assert not {name for name in names if "repeat" in name or "expand" in name}, names
