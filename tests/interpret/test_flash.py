"""Attention in half precision as GPUs run it: which kernels take a call, and their numbers in every tile and layout."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from tolerances import tolerance

from tritorch.autotune import generation
from tritorch.autotune.tunable import noting_configs, pretending, using
from tritorch.ops.attention.flash import flash_kernel
from tritorch.ops.attention.flash_backward import flash_key_kernel, flash_query_kernel
from tritorch.ops.base import TABLE
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import recording_launches
from tritorch.validation import call_on

HOPPER, AMPERE = generation(90), generation(80)
KERNELS = (flash_kernel, flash_query_kernel, flash_key_kernel)
FLASH = [kernel.__name__ for kernel in KERNELS]
RANDOM = np.random.default_rng(0)


def draw(*shape):
    return RANDOM.standard_normal(shape).astype(np.float16)


def drawn(batch=1, heads=2, length=70, keys=90, width=16, value_width=16, shared=None):
    """Queries, keys, values and the gradient of a result."""
    shared = heads if shared is None else shared
    return (
        draw(batch, heads, length, width), draw(batch, shared, keys, width), draw(batch, shared, keys, value_width),
        draw(batch, heads, length, value_width),
    )  # fmt: skip


def attended(query, key, value, grad, causal=False, scale=0.25, mask=None):
    """What both ops give, and which kernels were launched."""
    log_sum_grad = RANDOM.standard_normal(query.shape[:3]).astype(np.float32)
    settings = (0.0, causal, scale, 0, 0)
    with recording_launches() as launches, guarded_memory() as guarded:
        output, log_sum = (
            each.array.copy() for each in call_on(TABLE["attention"], (query, key, value, mask, *settings), INTERPRETER)
        )
        arrays = (grad, log_sum_grad, query, key, value, mask, output, log_sum)
        gradients = [
            each.array.copy() for each in call_on(TABLE["attention_backward"], (*arrays, *settings), INTERPRETER)
        ]
    assert not guarded.broken()
    wide = [None if each is None else each.astype(np.float64) if each.dtype != bool else each for each in arrays]
    truth = [*TABLE["attention"].reference(*wide[2:6], *settings)]
    truth += TABLE["attention_backward"].reference(*wide[:6], *truth, *settings)
    return [output, log_sum, *gradients], truth, [each.kernel.__name__ for each in launches]


def check(device, *arrays, kernels=FLASH, **settings):
    """Both directions on a GPU that is pretended, by these kernels."""
    with pretending(device):
        found, truth, launched = attended(*arrays, **settings)
    assert launched == kernels
    for number, (mine, true) in enumerate(zip(found, truth, strict=True)):
        relative, absolute = tolerance(mine.dtype, gradient=number > 1)
        np.testing.assert_allclose(mine.astype(np.float64), true, relative, absolute, err_msg=str(number))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("length", "keys"), [(64, 128), (150, 40), (1, 200), (129, 1)])
@pytest.mark.parametrize("device", [HOPPER, AMPERE], ids=lambda device: device.name)
def test_any_length(device, length, keys, causal):
    check(device, *drawn(length=length, keys=keys), causal=causal)


@pytest.mark.parametrize(("width", "value_width"), [(16, 32), (24, 8), (64, 40)])
def test_any_width(width, value_width):
    check(HOPPER, *drawn(length=40, keys=70, width=width, value_width=value_width), causal=True)


@pytest.mark.parametrize("device", [HOPPER, AMPERE], ids=lambda device: device.name)
def test_heads_of_queries_share_keys(device):
    check(device, *drawn(batch=2, heads=6, shared=2, length=100, keys=80), causal=True)
    check(device, *drawn(batch=2, heads=3, shared=1, length=64, keys=64))


def test_heads_take_turns_where_their_keys_do_not_fit_the_cache(monkeypatch):
    monkeypatch.setattr("tritorch.ops.attention.flash_launch._CACHED", 16384)
    check(HOPPER, *drawn(batch=5, heads=1, length=260, keys=260), causal=True)


def test_other_layouts():
    heads_inside = [each.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3) for each in drawn(batch=2, width=24)]
    check(HOPPER, *heads_inside, causal=True)
    packed = draw(2, 70, 3, 2, 16)  # queries, keys and values of one projection
    check(HOPPER, *(packed[:, :, at].transpose(0, 2, 1, 3) for at in range(3)), draw(2, 2, 70, 16))
    repeated = np.broadcast_to(draw(1, 1, 1, 1), (1, 2, 70, 16))  # as the gradient of a sum is
    check(HOPPER, *drawn()[:3], repeated)
    q, k, v, grad = drawn(width=24)
    check(HOPPER, q[..., :16], k[..., 8:], v, grad)


def covering(kernel, known):
    """Configs of a kernel's space in which every value of its knobs is found that Hopper allows."""
    seen, found = set(), []
    for config in reversed(list(kernel.space.configs(**known, device=HOPPER))):
        values = {(knob, config[knob]) for knob in ("ROWS", "COLUMNS", "BULK", "SPECIALIZED") if knob in config}
        if len(values - seen) > 1 or (found and values - seen):
            seen |= values
            found.append(config)
    return found


@pytest.mark.parametrize("causal", [False, True])
def test_every_tile(causal):
    arrays = drawn(length=130, keys=90, heads=2, shared=1)
    with pretending(HOPPER), noting_configs() as noted:
        attended(*arrays, causal=causal)
    asked = {each.kernel: each for each in noted}
    configs = {kernel: covering(kernel, asked[kernel].known) for kernel in KERNELS}
    assert all({config["BULK"] for config in each} == {False, True} for each in configs.values())
    for at in range(max(map(len, configs.values()))):
        with ExitStack() as stack:
            for kernel in KERNELS:
                chosen = configs[kernel][at % len(configs[kernel])]
                stack.enter_context(using(kernel, asked[kernel].key, chosen))
            check(HOPPER, *arrays, causal=causal)


def test_calls_that_other_kernels_take():
    general = ["attention_kernel", "query_gradient_kernel", "key_gradient_kernel"]
    q, k, v, grad = drawn(length=9, keys=12)
    check(HOPPER, q, k, v, grad, kernels=general, mask=np.ones((1, 2, 9, 12), bool))
    check(HOPPER, q, k, v, grad, kernels=general, scale=-0.5)
    check(HOPPER, q, k, v, grad, kernels=general, scale=0.0)
    check(HOPPER, q[..., ::2], k[..., ::2], v, grad, kernels=general)
    check(HOPPER, *drawn(length=9, keys=12, width=12), kernels=general)
    check(AMPERE, *drawn(length=9, keys=12, width=24), kernels=general)
    check(HOPPER, *(each.astype(np.float32) for each in (q, k, v, grad)), kernels=general)


def test_scores_beyond_what_exponentials_reach():
    q, k, v, grad = drawn(length=20, keys=30)
    check(HOPPER, q, np.abs(k) * 0 + k * 0 - 1, v, grad, scale=1.0)
    with pretending(HOPPER):
        found, truth, _ = attended(q * 0 + 30, k * 0 - 30, v, grad, scale=1.0)  # all scores are -14400
    np.testing.assert_allclose(found[0].astype(np.float64), truth[0], 2e-3, 1e-3)
    assert all(np.isfinite(each.astype(np.float64)).all() for each in found)


def test_the_same_gradients_every_time():
    arrays = drawn(length=200, keys=150, heads=4, shared=2)
    with pretending(HOPPER):
        op = (TABLE["attention_backward"], (arrays[3], None, *arrays[:3], None, arrays[3],
              np.ones((1, 4, 200), np.float32), 0.0, True, 0.25, 0, 0), INTERPRETER)  # fmt: skip
        first, second = ([each.array for each in call_on(*op)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
