"""Interpret tier: attention of few queries, its keys shared out in every way, against the reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autotune.tunable import by_formula, noting_configs, set_answer
from tritorch.ops.attention import decode
from tritorch.ops.attention.decode_kernels import split_kernel
from tritorch.ops.base import TABLE
from tritorch.ops.draw import Draw
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import recording_launches
from tritorch.validation import check_forward

ATTENTION = TABLE["attention"]
SAMPLES = list(decode.samples(Draw(np.dtype(np.float32), 7)))


@pytest.fixture
def answered():
    """Lets the kernel take what a test says of its config; what it says is the formula's for the rest."""
    before = set_answer(None)

    def say(**knobs):
        set_answer(lambda *asked: by_formula(*asked) | (knobs if asked[0] is split_kernel else {}))

    yield say
    set_answer(before)


@pytest.mark.parametrize(("parts", "columns"), [*itertools.product((1, 2, 8, 128), (16, 64, 128))])
def test_keys_in_parts_of_any_size(parts, columns, answered):
    answered(PARTS=parts, COLUMNS=columns)
    for number, sample in enumerate(SAMPLES):
        finding = check_forward(ATTENTION, sample, number, INTERPRETER, np.dtype(np.float32))
        assert finding.ok, str(finding)


def test_a_few_elements_of_a_row_at_a_time(answered):
    answered(DEPTH=16)
    wide = [tuple(np.concatenate([each] * 8, -1) for each in sample[:3]) + sample[3:] for sample in SAMPLES[:2]]
    for number, sample in enumerate(wide):
        finding = check_forward(ATTENTION, sample, number, INTERPRETER, np.dtype(np.float32))
        assert finding.ok, str(finding)


def test_parts_are_joined_in_one_order(answered):
    found = []
    for _ in range(2):
        answered(PARTS=8, COLUMNS=16)
        found.append(ATTENTION().forward(*SAMPLES[1])[0].copy())
    assert (found[0] == found[1]).all()


def launched(query, key, **settings):
    q, k = (torch.randn(*shape, device="interpreter") for shape in (query, key))
    with recording_launches() as launches:
        torch.nn.functional.scaled_dot_product_attention(q, k, k, **settings)
    return [launch.kernel.__name__ for launch in launches]


def test_it_is_used_where_few_queries_meet_many_keys():
    gqa = {"enable_gqa": True}
    assert launched((2, 8, 1, 16), (2, 2, 300, 16), **gqa) == ["split_kernel", "join_kernel"]
    assert launched((1, 1, 60, 16), (1, 1, 300, 16)) == ["split_kernel", "join_kernel"]
    for query, key, settings in (
        ((1, 2, 1, 16), (1, 2, 100, 16), {}),
        ((1, 2, 70, 16), (1, 2, 300, 16), {}),
        ((1, 130, 1, 16), (1, 2, 300, 16), gqa),
        ((1, 2, 1, 16), (1, 2, 300, 16), {"dropout_p": 0.5}),
        ((1, 2, 3, 16), (1, 2, 300, 16), {"is_causal": True}),
    ):
        assert launched(query, key, **settings) == ["attention_kernel"], (query, key, settings)


def test_one_more_key_asks_for_no_other_config():
    with noting_configs() as asked:
        for keys in (300, 301, 302):
            launched((1, 2, 1, 16), (1, 2, keys, 16))
    assert len({str(each.known) for each in asked if each.kernel is split_kernel}) == 1


def test_gradients_go_on_from_its_sums():
    q, k, v = (torch.randn(1, heads, rows, 8, dtype=torch.float64) for heads, rows in ((4, 2), (2, 300), (2, 300)))
    found = []
    for device in ("cpu", "interpreter"):
        inputs = [each.detach().to(device).requires_grad_() for each in (q, k, v)]
        out = torch.nn.functional.scaled_dot_product_attention(*inputs, enable_gqa=True)
        out.square().sum().backward()
        found.append([each.grad.cpu() for each in inputs])
    for ours, theirs in zip(*found, strict=True):
        close(ours, theirs.numpy(), gradient=True)
