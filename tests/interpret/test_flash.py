"""Attention in half precision as GPUs run it: which kernels take a call, and their numbers in every tile and layout."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
from tolerances import tolerance

from tritorch.autotune import generation
from tritorch.autotune.tunable import by_formula, noting_configs, pretending, set_answer, using
from tritorch.ops.attention import flash_launch
from tritorch.ops.attention.flash import flash_kernel
from tritorch.ops.attention.flash_backward import flash_key_kernel, flash_query_kernel
from tritorch.ops.attention.flash_slopes import flash_begin_kernel, flash_product_kernel
from tritorch.ops.base import TABLE
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import recording_launches
from tritorch.validation import call_on

HOPPER, AMPERE = generation(90), generation(80)
KERNELS = (flash_kernel, flash_query_kernel, flash_key_kernel)
STORING_KERNELS = (flash_kernel, flash_begin_kernel, flash_key_kernel, flash_product_kernel)
FLASH, STORING = ([kernel.__name__ for kernel in each] for each in (KERNELS, STORING_KERNELS))
RANDOM = np.random.default_rng(0)


@pytest.fixture
def storing():
    """Slopes are stored at any length, as `check(kernels=STORING)` expects."""
    before = set_answer(
        lambda kernel, *asked: by_formula(kernel, *asked) | ({"STORES": True} if kernel is flash_key_kernel else {})
    )
    yield
    set_answer(before)


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


LENGTHS = pytest.mark.parametrize(("length", "keys"), [(64, 128), (150, 40), (1, 200), (129, 1), (260, 390)])


@pytest.mark.parametrize("causal", [False, True])
@LENGTHS
@pytest.mark.parametrize("device", [HOPPER, AMPERE], ids=lambda device: device.name)
def test_any_length(device, length, keys, causal):
    check(device, *drawn(length=length, keys=keys), causal=causal)


@pytest.mark.parametrize("causal", [False, True])
@LENGTHS
@pytest.mark.parametrize("device", [HOPPER, AMPERE], ids=lambda device: device.name)
def test_any_length_with_stored_slopes(device, length, keys, causal, storing):
    check(device, *drawn(length=length, keys=keys), causal=causal, kernels=STORING)


@pytest.mark.parametrize(("room", "shares"), [(1, 5), (2, 3), (4, 2), (5, 1)])
@pytest.mark.parametrize("causal", [False, True])
def test_slopes_are_stored_of_as_many_heads_as_there_is_room_for(room, shares, causal, storing, monkeypatch):
    """Of 5 heads of keys, each with its 2 heads of queries."""
    arrays = drawn(batch=1, heads=10, shared=5, length=140, keys=150)
    nbytes = flash_launch.slopes_bytes(*arrays[:2], causal)
    assert nbytes == 2 * (3 if causal else 4) * 128 * 128 * 2
    monkeypatch.setattr(flash_launch, "MOST_SLOPES", room * nbytes)
    check(HOPPER, *arrays, causal=causal, kernels=[*STORING[:2], *STORING[2:] * shares])


@pytest.mark.parametrize("bulk", [False, True])
def test_slopes_beyond_the_last_key_are_not_read(bulk, storing):
    """Those of a tile's empty rows overflow, and those of tiles that nobody wrote are whatever memory held."""
    q, k, v, grad = drawn(length=140, keys=150, heads=1)
    q, k = np.abs(q) + 4, -np.abs(k) - 4  # all scores are far below zero, that of a key of zeros is not
    with pretending(HOPPER), noting_configs() as noted:
        attended(q, k, v, grad)
    asked = {each.kernel: each for each in noted}
    with ExitStack() as stack:
        for kernel, columns in ((flash_key_kernel, 64), (flash_product_kernel, 128)):
            config = asked[kernel].config | {"COLUMNS": columns, "num_stages": 2, "BULK": bulk}
            stack.enter_context(using(kernel, asked[kernel].key, config))
        check(HOPPER, q, k, v, grad, kernels=STORING)


def test_slopes_of_a_head_that_do_not_fit_are_computed_again(storing, monkeypatch):
    """Thus memory is linear in the length."""
    arrays = drawn(length=140, keys=150, heads=1)
    monkeypatch.setattr(flash_launch, "MOST_SLOPES", flash_launch.slopes_bytes(*arrays[:2], False) - 1)
    check(HOPPER, *arrays, causal=True, kernels=STORING)
    check(HOPPER, *arrays, kernels=FLASH)


@pytest.mark.parametrize(("width", "value_width"), [(16, 32), (24, 8), (64, 40)])
def test_any_width(width, value_width):
    check(HOPPER, *drawn(length=40, keys=70, width=width, value_width=value_width), causal=True)


def test_any_width_with_stored_slopes(storing):
    for width, value_width in ((16, 32), (24, 8), (64, 40)):
        arrays = drawn(length=40, keys=70, width=width, value_width=value_width)
        check(HOPPER, *arrays, causal=True, kernels=STORING)


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
        if len(values - seen) >= min(2, len(values)) or (found and values - seen):
            seen |= values
            found.append(config)
    return found


def check_every_tile(kernels, causal):
    arrays = drawn(length=130, keys=190, heads=2, shared=1)
    with pretending(HOPPER), noting_configs() as noted:
        _, _, launched = attended(*arrays, causal=causal)
    assert launched == [kernel.__name__ for kernel in kernels]
    asked = {each.kernel: each for each in noted}
    configs = {kernel: covering(kernel, asked[kernel].known) for kernel in kernels}
    copied = [{config["BULK"] for config in configs[kernel]} for kernel in kernels if kernel is not flash_begin_kernel]
    assert all(each == {False, True} for each in copied)
    for at in range(max(map(len, configs.values()))):
        with ExitStack() as stack:
            for kernel in kernels:
                chosen = configs[kernel][at % len(configs[kernel])]
                if kernel is flash_key_kernel:
                    chosen = chosen | {"STORES": flash_product_kernel in kernels}
                stack.enter_context(using(kernel, asked[kernel].key, chosen))
            check(HOPPER, *arrays, causal=causal, kernels=launched)


@pytest.mark.parametrize("causal", [False, True])
def test_every_tile(causal):
    check_every_tile(KERNELS, causal)


@pytest.mark.parametrize("causal", [False, True])
def test_every_tile_with_stored_slopes(causal, storing):
    check_every_tile(STORING_KERNELS, causal)


def test_rows_that_no_tile_of_the_kernel_by_queries_covers():
    arrays = drawn(length=130, keys=90)
    with pretending(HOPPER), noting_configs() as noted:
        attended(*arrays)
    asked = {each.kernel: each for each in noted}
    with ExitStack() as stack:
        for kernel, rows in ((flash_query_kernel, 64), (flash_key_kernel, 128)):
            stack.enter_context(using(kernel, asked[kernel].key, asked[kernel].config | {"ROWS": rows}))
        check(HOPPER, *arrays)


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


def test_the_same_gradients_every_time_with_stored_slopes(storing):
    test_the_same_gradients_every_time()


@pytest.mark.parametrize("device", [HOPPER, AMPERE], ids=lambda device: device.name)
def test_where_storing_slopes_pays(device):
    def stores(length, width, keys=None):
        sizes = {"length": length, "keys": keys or length, "width": width, "value_width": width}
        return flash_key_kernel.config_for(device, **sizes)["STORES"]

    assert all(stores(length, width) for length in (512, 2048, 16384) for width in (64, 128, 256))
    assert not stores(500, 64) and not stores(4096, 32) and not stores(4096, 128, keys=64)


def slopes_bytes(length, causal, shared=16):
    """Those of a head of keys, where 16 heads of queries share what there are."""
    query, key = (np.broadcast_to(np.float16(0), (1, heads, length, 128)) for heads in (16, shared))
    return flash_launch.slopes_bytes(query, key, causal)


def test_what_slopes_take_at_most():
    """Whatever the length and the heads: a head of 16384 tokens, or two under a causal mask."""
    most = flash_launch.MOST_SLOPES
    assert slopes_bytes(16384, False) == 512 << 20 < most < 2 * slopes_bytes(16384, False)
    assert 2 * slopes_bytes(16384, True) <= most < slopes_bytes(32768, True)
    assert slopes_bytes(8192, False, shared=4) <= most < slopes_bytes(16384, True, shared=4)
