"""What becomes of configs: good ones are timed, others are told apart, and what one wrote does not hurt the next."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tuning_toys as toys
from tuning_toys import NAME, Toy, config

from tritorch.autotune.bench import Bench
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.trial import COMPILE, LAUNCH, NO_MEMORY, OK, WRONG, Trial
from tritorch.autotune.tunable import KERNELS
from tritorch.runtime import transfer
from tritorch.runtime.cuda.driver import CudaError
from tritorch.runtime.cuda.memory import OutOfMemoryError
from tritorch.runtime.device import CPU, INTERPRETER
from tritorch.runtime.guarded import PADDING, guarded_memory
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@pytest.fixture(scope="module")
def bench():
    return Bench(Toy(), INTERPRETER, seed=3)


@pytest.fixture(scope="module")
def key(bench):
    (asked,) = bench.asked()
    assert asked.kernel is KERNELS[NAME] and asked.known == {"size": 100} and asked.key.policy == "eager"
    return asked.key


def test_a_good_config_is_timed(bench, key):
    trial = bench.trial(NAME, key, config())
    assert (trial.state, trial.error, trial.ok) == (OK, 0.0, True)
    assert 0 < trial.timing.p20 <= trial.timing.p50 <= trial.timing.p80
    assert trial.seconds >= bench.roofline > 0
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial


@pytest.mark.parametrize(
    ("does", "state", "cause"),
    [
        (toys.RAISES, COMPILE, "this config cannot be compiled"),
        (toys.WRONG, WRONG, "2e+03 times the difference that is allowed"),
        (toys.BESIDE, WRONG, "wrote beside 1 of 2 arrays"),
        (toys.UNSET, WRONG, r"inf times the difference that is allowed: largest difference at [99]"),
        (toys.READS_BESIDE, WRONG, "inf times the difference that is allowed"),
        (toys.WRITES_INPUT, WRONG, "wrote to 1 arguments that it must only read"),
    ],
)
def test_a_bad_config_is_told_and_hurts_no_other(bench, key, does, state, cause):
    trial = bench.trial(NAME, key, config(DOES=does))
    assert trial.state == state and not trial.ok and cause in trial.cause
    assert trial.seconds == math.inf and "\n" not in trial.cause
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    assert bench.trial(NAME, key, config()).ok


def test_a_launch_that_is_refused(bench, key, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("a grid\nthat is too large")

    monkeypatch.setattr(toys.double, "launch", refuse)
    trial = bench.trial(NAME, key, config())
    assert (trial.state, trial.cause) == (LAUNCH, "RuntimeError: a grid that is too large")


@pytest.mark.parametrize("error", [OutOfMemoryError("none left"), CudaError("out of memory", 2), MemoryError()])
def test_memory_that_is_lacking_is_no_fault_of_the_config(bench, key, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(toys.double, "launch", refuse)
    assert bench.trial(NAME, key, config()).state == NO_MEMORY
    with pytest.raises(ValueError, match="memory"):
        Trial.from_json({"config": {}, "state": NO_MEMORY})  # no store has it


def test_without_verification_numbers_are_not_looked_at(key):
    trial = Bench(Toy(), INTERPRETER, verify=False).trial(NAME, key, config(DOES=toys.WRONG))
    assert trial.ok and trial.error is None


def test_finals_measure_all_that_run(bench, key):
    first, broken, second = bench.finals(NAME, key, [config(), config(DOES=toys.RAISES), config(BLOCK=32)])
    assert broken is None and first.p50 != second.p50
    assert first == bench.finals(NAME, key, [config()])[0]
    assert abs(first.p50 / bench.trial(NAME, key, config()).seconds - 1) < 0.02


def test_the_policy_is_in_the_keys():
    bench = Bench(Toy(), INTERPRETER, policy="graph")
    (asked,) = bench.asked()
    assert asked.key.policy == "graph"
    assert bench.trial(NAME, asked.key, config()).ok


def test_other_kernels_get_what_they_are_told(bench, key):
    others = [(NAME, Bench(Toy(7), INTERPRETER).asked()[0].key, config(BLOCK=32))]
    assert bench.trial(NAME, key, config(), others).ok


def test_a_key_that_the_problem_does_not_ask_is_an_error(bench):
    other = Bench(Toy(7), INTERPRETER).asked()[0].key
    with pytest.raises(
        LookupError, match=r"size=100 asks for no config of tuning_toys\.double under the key double \[float32"
    ):
        bench.trial(NAME, other, config())


def test_devices_and_policies_that_do_not_exist():
    with pytest.raises(ValueError, match="device 'cpu' launches no kernels"):
        Bench(Toy(), CPU)
    with pytest.raises(ValueError, match="no policy named 'quick'; there are eager, graph"):
        Bench(Toy(), INTERPRETER, policy="quick")


def test_a_changed_argument_is_found_whatever_its_strides():
    with guarded_memory() as guarded:
        view = transfer.mirror(np.arange(20.0)[::-2], INTERPRETER)
        assert not guarded.changed() and guarded.input_bytes > 0
        view[3] = 0
        assert guarded.changed() == 1 and not guarded.broken()
        own = transfer.duplicate(view)
        own[...] = 7
        assert guarded.changed() == 1 and own.strides == view.strides and len(guarded.buffers) == 2


def test_arguments_of_an_op_are_looked_after():
    bench = Bench(OpProblem.sized("matmul", "float32", {"M": 8, "N": 8, "K": 8}), INTERPRETER)
    (asked,) = bench.asked()
    bench.prepare()
    _, arguments = bench._prepared
    assert len(arguments.buffers) == 2 and not arguments.changed()
    assert bench.trial(asked.kernel.kernel_name, asked.key, asked.config).ok
    arguments.buffers[0].memory[PADDING] ^= 1
    trial = bench.trial(asked.kernel.kernel_name, asked.key, asked.config)
    assert trial.state == WRONG  # by its numbers, or by what became of the argument
    assert bench.trial(asked.kernel.kernel_name, asked.key, asked.config).ok
