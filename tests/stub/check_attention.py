"""Plans of attention: with dropout, whose seed changes, and with slopes that are stored in a buffer."""

from __future__ import annotations

import check_plans
import numpy as np
import pytest
from check_plans import by_apply, by_forward, numbers, on_host, same, tensor

from tritorch.autotune.tunable import by_formula, set_answer
from tritorch.ops.attention import flash_launch
from tritorch.ops.base import TABLE

on_the_stub, replayed, launched = check_plans.on_the_stub, check_plans.replayed, check_plans.launched


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_attention_is_replayed_whatever_its_seed(kind, replayed):
    """Also without dropout, where half precision has kernels that take no seed."""
    query, key, value, grad = (tensor(numbers(1, 2, rows, 16).astype(kind)) for rows in (9, 11, 11, 9))
    forward, backward = TABLE["attention"], TABLE["attention_backward"]
    for dropout_p in (0.5, 0.0):
        seen = set()
        for seed in (3, 7, 11, 13, 17):
            settings = dropout_p, True, 0.25, seed, seed ^ 4
            results = forward.apply(*(args := (query, key, value, None, *settings)))
            assert same(on_host(results), by_forward(forward, args)), seed
            args = grad, None, *args[:4], *results, *settings
            found = by_apply(backward, args)
            assert same(found, by_forward(backward, args)), seed
            seen.add(found[0].tobytes())
        assert len(seen) == (5 if dropout_p else 1)
        assert sorted(replayed) == sorted([forward.op_name, backward.op_name] * 3)
        replayed.clear()


def test_stored_slopes_are_replayed(replayed, launched, monkeypatch):
    """In two shares, which take turns in one buffer."""
    chosen = {"flash_key_kernel": {"STORES": True}}
    before = set_answer(lambda kernel, *asked: by_formula(kernel, *asked) | chosen.get(kernel.__name__, {}))
    query, key, value, grad = (tensor(numbers(1, 2, rows, 16).astype(np.float16)) for rows in (40, 60, 60, 40))
    sums = tensor(numbers(1, 2, 40))
    monkeypatch.setattr(flash_launch, "MOST_SLOPES", flash_launch.slopes_bytes(query, key, True))
    try:
        for scale in (0.25, 0.25, 0.25, 0.5):
            args = grad, None, query, key, value, None, grad, sums, 0.0, True, scale, 0, 0
            del launched[:]
            expected = by_forward(TABLE["attention_backward"], args)
            assert len(launched) == 5
            assert same(by_apply(TABLE["attention_backward"], args), expected)
    finally:
        set_answer(before)
    assert replayed == ["attention_backward"]
