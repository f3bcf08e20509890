"""Compile tier of recurrent layers at the sizes they have in use: what their programs take, and how they meet."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
import pytest

from tritorch.autotune import generation
from tritorch.autotune.tunable import pretending, set_answer
from tritorch.ops.base import TABLE
from tritorch.runtime import precision, transfer
from tritorch.runtime.binding import binder_of
from tritorch.runtime.compile import compile_values, resources, spilled
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import materialise, recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.runtime.specialise import specialise
from tritorch.validation import call_on

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

BFLOAT16, FLOAT32 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32)
GATES = {"lstm": 4, "gru": 3}


@pytest.fixture(autouse=True)
def _ready(monkeypatch):
    """Results of launches that do not happen are zeros."""
    monkeypatch.setattr(transfer, "empty_on_host", np.zeros)
    materialise()


def launches_of(name, hidden, dtype, capability, sizes=(64, 64), reverse=False):
    """The launches of a layer or gradient over the steps."""
    kind = name.partition("_")[0]
    rows, order, gates = sum(sizes), (None, sizes, reverse), GATES[kind]
    whole, four, state, weight, entering = (
        np.zeros((length, columns), dtype)
        for length, columns in (
            (rows, hidden), (rows, 4 * hidden), (sizes[0], hidden), (gates * hidden, hidden), (rows, gates * hidden),
        )
    )  # fmt: skip
    layer = {
        "lstm": (entering, state, state, weight),
        "gru": (entering, state, weight, np.zeros(gates * hidden, dtype)),
    }
    gradient = {
        "lstm": (whole, None, None, whole, four, state, weight), "gru": (whole, None, whole, four, state, weight),
    }  # fmt: skip
    arguments = {
        f"{kind}_both": (*layer[kind] * 2, sizes),
        f"{kind}_both_gradients": (*gradient[kind] * 2, sizes),
        f"{kind}_layer": (*layer[kind], *order),
        f"{kind}_gradient": (*gradient[kind], *order),
    }[name]
    with pretending(generation(capability)), recording_launches(run=False) as launches:
        call_on(TABLE[name], arguments, INTERPRETER)
    return [each for each in launches if each.kernel.__name__.startswith(kind)]


@functools.cache
def built(name, hidden, dtype, exactness, capability):
    """The only launch of a layer, its values and what was compiled of it."""
    before = precision.get_float32_matmul_precision()
    precision.set_float32_matmul_precision(exactness)
    try:
        (launch,) = launches_of(name, hidden, dtype, capability)
    finally:
        precision.set_float32_matmul_precision(before)
    values, options = binder_of(launch.kernel)(*launch.args, **launch.keywords)
    return launch, compile_values(launch.kernel, values, options, capability)


CASES = [
    *((f"lstm_{part}", hidden, BFLOAT16, "highest", 90) for part in ("layer", "gradient") for hidden in (256, 1024)),
    *((name, 1024, BFLOAT16, "highest", 90) for name in ("gru_layer", "gru_gradient")),
    *(("lstm_layer", hidden, FLOAT32, "high", 90) for hidden in (512, 1024)),
    ("lstm_gradient", 512, FLOAT32, "high", 90),
    *((name, 1024, FLOAT32, "highest", 90) for name in ("lstm_layer", "gru_gradient")),
    *((f"lstm_both{part}", hidden, BFLOAT16, "highest", 90) for part in ("", "_gradients") for hidden in (256, 512)),
    *((f"lstm_both{part}", 1024, BFLOAT16, "highest", 90) for part in ("", "_gradients")),
    *(("gru_both", hidden, BFLOAT16, "highest", 90) for hidden in (512, 1024)),
    ("gru_both_gradients", 512, BFLOAT16, "highest", 100),
    *((name, 1024, BFLOAT16, "highest", old) for name in ("lstm_layer", "gru_gradient") for old in (80, 100)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "hidden", "dtype", "exactness", "capability"), CASES)
def test_all_steps_are_one_launch_that_fits(name, hidden, dtype, exactness, capability):
    launch, compiled = built(name, hidden, dtype, exactness, capability)
    device, used = generation(capability), resources(compiled)
    assert launch.keywords["launch_cooperative_grid"]
    assert np.prod(launch.grid) <= device.sms
    assert used.shared_memory <= device.shared_memory
    assert not spilled(used.registers, used.spills, used.num_warps), str(used)


def test_weights_stay_in_shared_memory():
    launch, compiled = built("lstm_layer", 1024, BFLOAT16, "highest", 90)
    weights = 4 * launch.keywords["UNITS"] * 1024 * 2
    loop = compiled.asm["ptx"].rpartition("ld.global.gpu.acquire")[2]
    assert resources(compiled).shared_memory >= weights
    assert loop.count("wgmma.mma_async") == 1024 // 16  # one for each 16 terms of the sums
    assert loop.count("ld.global.cg") * launch.keywords["num_warps"] * 32 * 16 == launch.keywords["ROWS"] * 1024 * 2


def test_programs_meet_in_order():
    """What one wrote before it arrives the others read after they saw that it has."""
    text = built("lstm_layer", 256, BFLOAT16, "highest", 90)[1].asm["ptx"]
    before, arrives, _ = text.partition(".global.gpu.release.add")
    assert arrives
    assert "bar.sync" in before.rpartition("st.global")[2]  # all threads have written by then
    _, looks, behind = text.partition("ld.global.gpu.acquire")
    assert looks
    assert behind.partition("ld.global.cg")[0].count("bar.sync") >= 2  # the answer reaches all threads


def test_lengths_directions_and_steps_are_compiled_once():
    way = {
        "ROWS": 16, "UNITS": 16, "DEPTH": 16, "FLIPPED": False, "SPLIT": 1, "TOGETHER": False, "KEPT": False,
        "num_warps": 4, "num_stages": 1,
    }  # fmt: skip
    before = set_answer(lambda *asked: way)
    try:
        launches = [
            each
            for steps in (1, 2, 16, 35)
            for reverse in (False, True)
            for each in launches_of("lstm_layer", 32, FLOAT32, 90, (16,) * steps, reverse)
        ]
    finally:
        set_answer(before)
    told = [str(specialise(each.kernel, binder_of(each.kernel)(*each.args, **each.keywords)[0])) for each in launches]
    assert len(told) == 2 * (1 + 2 + 16 + 35)
    assert len(set(told)) == 1
