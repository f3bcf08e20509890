"""The simulated clock and the roofline: the same seed gives the same times, and configs differ as on a device."""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.autotune import roofline
from tritorch.autotune.clock import SimulatedClock, clock_for, timing_of
from tritorch.autotune.problem import Work
from tritorch.runtime import precision
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import Kernel, Launch


@Kernel
def work(x, out, n, BLOCK, GROUP):
    """Never runs: only its launches are looked at."""


X, OUT = np.zeros(1 << 20, np.float32), np.zeros(1 << 20, np.float32)


def launch(block=1024, warps=4, stages=3, group=1, arrays=(X, OUT)):
    knobs = {"BLOCK": block, "GROUP": group, "num_warps": warps, "num_stages": stages}
    return Launch(work, ((1 << 20) // block,), (*arrays, 1 << 20), knobs)


def seconds(*launches, floor=0.0):
    return SimulatedClock(INTERPRETER, 0, floor).seconds(launches)


def test_the_same_seed_gives_the_same_times():
    clock = clock_for(INTERPRETER, "eager", 7)
    assert isinstance(clock, SimulatedClock)
    first = clock.measure([launch()])
    assert first == clock_for(INTERPRETER, "graph", 7).measure([launch()])
    other = clock_for(INTERPRETER, "eager", 8).measure([launch()])
    assert other != first and other.p50 == pytest.approx(first.p50, rel=0.02)
    assert 0 < first.spread < 0.02 and first.p20 < first.p50 < first.p80


def test_finals_differ_by_noise_only():
    clock = SimulatedClock(INTERPRETER)
    replays = [[launch(block)] for block in (256, 1024, 4096)]
    finals = clock.finals(replays)
    assert len({each.p50 for each in finals}) == 3
    for each, final in zip(replays, finals, strict=True):
        single = clock.measure(each)
        assert single != final and single.p50 == pytest.approx(final.p50, rel=0.02)


def test_the_model_has_a_best_config_inside_the_space():
    found = {
        (block, warps): seconds(launch(block, warps))
        for block in (64, 256, 1024, 4096, 1 << 16)
        for warps in (1, 4, 16)
    }
    assert min(found, key=found.get)[0] not in (64, 1 << 16)
    assert max(found.values()) > 1.5 * min(found.values())


def test_every_knob_and_every_launch_counts():
    assert seconds(launch(group=1)) != seconds(launch(group=8))
    assert seconds(launch(stages=1)) != seconds(launch(stages=3))
    assert seconds(launch(), launch()) == pytest.approx(2 * seconds(launch()))


def test_memory_counts_once_and_views_by_their_extent():
    same, tuples = seconds(launch(arrays=(X, X))), seconds(launch(arrays=((X, OUT), X)))
    assert same < seconds(launch()) and tuples == pytest.approx(seconds(launch()), rel=0.2)
    repeated = np.broadcast_to(X[:1], X.shape)
    assert seconds(launch(arrays=(repeated, OUT))) < seconds(launch())


def test_nothing_is_faster_than_the_roofline():
    floor = 1e-3
    assert seconds(launch(), floor=floor) >= floor
    assert seconds(launch(), launch(64), floor=floor) >= floor
    assert SimulatedClock(INTERPRETER, 0, floor).measure([launch()]).p20 >= floor


def test_quantiles():
    timing = timing_of([5.0, 1.0, 2.0, 3.0, 4.0, 6.0])
    assert (timing.p20, timing.p50, timing.p80, timing.repeats) == (2.0, 3.5, 5.0, 6)
    assert timing_of([2.0]).p80 == 2.0


def test_a_roofline_has_two_sides():
    large = Work(flops=2 * 8192**3, bytes=3 * 2 * 8192**2, dtype="bfloat16")
    assert large.flops / roofline.seconds(large, INTERPRETER) == pytest.approx(785e12, rel=0.02)  # measured on an H200
    copy = Work(flops=0, bytes=1 << 30, dtype="float32")
    assert copy.bytes / roofline.seconds(copy, INTERPRETER) == pytest.approx(4.3e12, rel=0.02)
    assert roofline.fraction(copy, 2 * roofline.seconds(copy, INTERPRETER), INTERPRETER) == 0.5
    wide = Work(flops=2 * 8192**3, bytes=4 * 3 * 8192**2, dtype="float32")
    exact = roofline.seconds(wide, INTERPRETER)
    assert exact > 10 * roofline.seconds(large, INTERPRETER)
    try:
        precision.set_float32_matmul_precision("high")
        assert roofline.seconds(wide, INTERPRETER) == pytest.approx(exact / 8)
    finally:
        precision.set_float32_matmul_precision("highest")


def test_ceilings_of_other_gpus():
    a100 = roofline.ceiling(80, 108, 1.41e9, 1.593e9, 5120)
    assert a100.rate("float16") / roofline.ATTAINED_FLOPS == pytest.approx(312e12, rel=0.01)
    assert a100.rate("float32") / roofline.ATTAINED_FLOPS == pytest.approx(19.5e12, rel=0.01)
    assert a100.bandwidth / roofline.ATTAINED_BANDWIDTH == pytest.approx(2.04e12, rel=0.01)
    assert a100.rate("int64") == a100.rate("float32") < a100.rate("tf32")
    card, station = (
        roofline.ceiling(89, 128, 2.52e9, 10.5e9, 384, name) for name in ("NVIDIA GeForce RTX 4090", "L40")
    )
    assert card.rate("bfloat16") * 2 == station.rate("bfloat16") and card.rate("float32") == station.rate("float32")
    assert card.rate("bfloat16") / roofline.ATTAINED_FLOPS == pytest.approx(165.2e12, rel=0.01)
    silent = roofline.ceiling(100, 148, 0, 0, 0)
    assert silent.bandwidth == pytest.approx(0.87e12) and silent.rate("float16") > 1e15
    assert roofline.ceiling(103, 1, 1, 1, 8).flops == roofline.ceiling(100, 1, 1, 1, 8).flops  # of the same family
