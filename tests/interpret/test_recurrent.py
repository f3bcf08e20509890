"""Recurrent layers in every way that their kernels can go: together or step by step, each way of multiplying."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import tritorch
from tritorch.autotune import generation
from tritorch.autotune.tunable import by_formula, pretending, set_answer
from tritorch.ops.base import TABLE
from tritorch.ops.recurrent.kernels import gru_kernel, lstm_kernel
from tritorch.ops.recurrent.space import STEPS_SPACE
from tritorch.ops.recurrent.steps import places_of
from tritorch.runtime.cuda.driver import CudaError
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import recording_launches
from tritorch.validation import call_on, check_forward

BATCH, HIDDEN = 20, 40  # two tiles of rows and three of units, the last ones not full
PLAIN = {
    "ROWS": 16, "UNITS": 16, "DEPTH": 32, "FLIPPED": False, "SPLIT": 1, "TOGETHER": True, "KEPT": False,
    "num_warps": 4, "num_stages": 1,
}  # fmt: skip
WAYS = {
    "together": {},
    "step by step": {"TOGETHER": False},
    "all units": {"ROWS": 32, "UNITS": 64, "DEPTH": 64},
    "all units, kept": {"UNITS": 64, "DEPTH": 32, "KEPT": True},
    "kept in parts": {"KEPT": True, "DEPTH": 16},
    "kept, few rows on the right": {"KEPT": True, "FLIPPED": True, "DEPTH": 64},
    "few rows on the right": {"FLIPPED": True, "DEPTH": 32},
    "kept, sums shared": {"KEPT": True, "SPLIT": 4, "DEPTH": 64},
    "sums shared": {"SPLIT": 4, "DEPTH": 64, "UNITS": 8},
    "sums shared step by step": {"SPLIT": 4, "DEPTH": 64, "TOGETHER": False},
}
ORDERS = (((BATCH, 17, 1), True), ((BATCH, 17, 1), False), ((BATCH,) * 2, True))


@pytest.fixture
def going():
    """A function that lets recurrent kernels go a way."""
    before = set_answer(None)

    def let_go(**changes):
        found = PLAIN | changes
        STEPS_SPACE.check_values(found, "the way")
        set_answer(lambda kernel, _, *known: found if kernel.space is STEPS_SPACE else by_formula(kernel, _, *known))

    yield let_go
    set_answer(before)


def samples(name, batch_sizes, reverse, dtype=np.float32):
    """One sample of an op, with all gradients there are."""
    draw = np.random.default_rng(sum(batch_sizes))
    rows, places = sum(batch_sizes), places_of(batch_sizes, reverse)
    of = lambda *shape: draw.uniform(-1, 1, shape).astype(dtype)  # noqa: E731
    weights = lambda gates: (of(gates * HIDDEN, HIDDEN) * 0.3).astype(dtype)  # noqa: E731
    state, order = (BATCH, HIDDEN), (places, batch_sizes, reverse)
    whole, four = (rows, HIDDEN), (rows, 4 * HIDDEN)
    if name.endswith(("_both", "_both_gradients")):
        one = f"{name.partition('_')[0]}_{'gradient' if name.endswith('gradients') else 'layer'}"
        (*arrays, _, sizes, _), settings = samples(one, batch_sizes, reverse, dtype), ()
        if name.startswith("rnn"):
            *arrays, _, sizes, _, last = samples(one, batch_sizes, reverse, dtype)
            settings = (last,)
        return *arrays, *[each * 0.75 for each in arrays], sizes, *settings
    return {
        "rnn_layer": lambda: (of(*whole), of(*state), weights(1), *order, True),
        "rnn_gradient": lambda: (of(*whole), of(*whole), weights(1), *order, False),
        "lstm_layer": lambda: (of(*four), of(*state), of(*state), weights(4), *order),
        "lstm_gradient": lambda: (
            of(*whole), of(*whole), of(*four), of(*whole), of(*four), of(*state), weights(4), *order
        ),
        "gru_layer": lambda: (of(rows, 3 * HIDDEN), of(*state), weights(3), of(3 * HIDDEN), *order),
        "gru_gradient": lambda: (of(*whole), of(*four), of(*whole), of(*four), of(*state), weights(3), *order),
    }[name]()  # fmt: skip


NAMES = ("rnn_layer", "rnn_gradient", "lstm_layer", "lstm_gradient", "gru_layer", "gru_gradient")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_every_way_gives_the_same(name, way, going):
    going(**WAYS[way])
    order = ORDERS[(list(WAYS).index(way) + NAMES.index(name)) % 3]
    finding = check_forward(TABLE[name], samples(name, *order), 0, INTERPRETER, np.float32)
    assert finding.ok, f"{order}: {finding}"


BOTH = [f"{kind}_{what}" for kind in ("rnn", "lstm", "gru") for what in ("both", "both_gradients")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", BOTH)
def test_both_directions_in_every_way(name, way, going):
    going(**WAYS[way])
    with pretending(generation(90)), recording_launches(run=True) as found:
        finding = check_forward(TABLE[name], samples(name, (BATCH,) * 3, False), 0, INTERPRETER, np.float32)
    assert finding.ok, str(finding)
    own = [each for each in found if each.kernel.__name__.startswith(name.partition("_")[0])]
    assert len(own) == (6 if "step by step" in way else 1)
    assert own[0].grid == (4 if "step by step" not in way and WAYS[way].get("ROWS") != 32 else 2, own[0].grid[1])


def test_both_directions_one_after_the_other(going, monkeypatch):
    """Where programs of both are more than there are multiprocessors, or a device runs none together."""
    going()
    sample = samples("lstm_both", (BATCH,) * 3, False)
    for sms, launches in ((12, 1), (11, 2)):  # two directions, two tiles of rows, three of units
        with pretending(replace(generation(90), sms=sms)), recording_launches(run=True) as found:
            assert check_forward(TABLE["lstm_both"], sample, 0, INTERPRETER, np.float32).ok
        assert [each.kernel.__name__ for each in found].count("lstm_kernel") == launches
    start = lstm_kernel.start

    def refuse(grid, *args, **keywords):
        if keywords.get("launch_cooperative_grid"):
            raise CudaError("too many programs", 720)
        return start(grid, *args, **keywords)

    monkeypatch.setattr(lstm_kernel, "start", refuse)
    with pytest.warns(UserWarning, match="a launch for each step: too many programs"):
        assert check_forward(TABLE["lstm_both"], sample, 0, INTERPRETER, np.float32).ok


@pytest.mark.parametrize("name", NAMES)
def test_halves_that_meet(name, going):
    going(KEPT=True, SPLIT=4, DEPTH=64)
    sample = samples(name, *ORDERS[1], ml_dtypes.bfloat16)
    finding = check_forward(TABLE[name], sample, 0, INTERPRETER, ml_dtypes.bfloat16)
    assert finding.ok, str(finding)


@pytest.mark.parametrize(
    ("changes", "steps", "launches", "meet"),
    [({}, 2, 1, True), ({"TOGETHER": False}, 2, 2, False), ({"UNITS": 64}, 2, 1, False), ({"KEPT": True}, 1, 1, False)],
)
def test_launches_of_a_layer(changes, steps, launches, meet, going):
    going(**changes)
    with recording_launches() as found:
        call_on(TABLE["gru_layer"], samples("gru_layer", (BATCH,) * steps, False), INTERPRETER)
    own = [each for each in found if each.kernel is gru_kernel]
    assert len(own) == launches
    assert ("launch_cooperative_grid" in own[0].keywords) is meet
    assert len(found) == launches + meet  # and what clears the counts


def test_a_device_that_runs_no_programs_together(going, monkeypatch):
    start = gru_kernel.start

    def refuse(grid, *args, **keywords):
        if keywords.get("launch_cooperative_grid"):
            raise CudaError("too many programs", 720)
        return start(grid, *args, **keywords)

    going(KEPT=True)
    monkeypatch.setattr(gru_kernel, "start", refuse)
    with pytest.warns(UserWarning, match="a launch for each step: too many programs"):
        finding = check_forward(TABLE["gru_layer"], samples("gru_layer", *ORDERS[2]), 0, INTERPRETER, np.float32)
    assert finding.ok, str(finding)


def test_other_failures_are_raised(going, monkeypatch):
    def fail(grid, *args, **keywords):
        raise CudaError("something else", 1)

    going()
    monkeypatch.setattr(gru_kernel, "start", fail)
    with pytest.raises(CudaError, match="something else"):
        call_on(TABLE["gru_layer"], samples("gru_layer", *ORDERS[2]), INTERPRETER)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_of_both_directions_is_one_launch_each_way(kind, going):
    going()
    net = getattr(tritorch.nn, kind)(8, HIDDEN, bidirectional=True, device="interpreter")
    x = tritorch.zeros(3, BATCH, 8, device="interpreter")
    with pretending(generation(90)), recording_launches(run=True) as found:
        net(x)[0].sum().backward()
    names = [each.kernel.__name__ for each in found]
    assert names.count(f"{kind.lower()}_kernel") == names.count(f"{kind.lower()}_gradient_kernel") == 1
