"""Plans on device="cuda" of the stub: what is replayed gives what the call gave, and what cannot be is not.

Launches are interpreted, also those of plans: with the very pointers and numbers that a plan hands to the driver.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from importlib import import_module

import bridge
import numpy as np
import pytest

from tritorch import creation
from tritorch.autograd import plan_text, planning
from tritorch.autotune import lookup
from tritorch.autotune.tunable import noting_configs
from tritorch.ops.base import TABLE
from tritorch.ops.pointwise.kernel import pointwise_kernel
from tritorch.runtime import plans, precision, transfer
from tritorch.runtime.cuda import memory
from tritorch.runtime.cuda import stream as streams
from tritorch.runtime.device import Device
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import set_launch_hook
from tritorch.validation import check_op, on_device, samples_of

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

dispatch = import_module("tritorch.autograd.apply")  # the module, whose name its function has
CUDA = Device("cuda", 0)


@pytest.fixture(autouse=True)
def on_the_stub(compiled_once, interpreted, monkeypatch):
    """A plan that ends with an error is dropped, and its call runs again: none may need that, unless a test says so."""

    def drop(signature, error):
        raise error

    monkeypatch.setattr(dispatch, "drop", drop)
    monkeypatch.setattr(plan_text._Watched, "__call__", checked)
    plans.invalidate()


def checked(self, _core, config, _kernel, *packed):
    """A launch of a plan: what it packs must be what the entry of the kernel packs of the same values."""
    (entry, values), again = self.next_launch(packed), []
    entry.call(lambda _stream, _config, _core, *each: again.extend(each), self.stream, config, *values)
    assert list(map(repr, again)) == list(map(repr, packed))
    entry.hand_over(self.stream, config, config.grid, *values)


class Counted(dict):
    """Plans by signature, which note in `done` what they replay."""

    def __init__(self):
        self.done = []

    def __setitem__(self, signature, plan):
        def counted(*values):
            self.done.append(signature[0].op_name)
            return plan(*values)

        super().__setitem__(signature, counted)


@pytest.fixture
def replayed(monkeypatch):
    """The names of the ops whose calls plans have answered, one for each call."""
    ready = Counted()
    monkeypatch.setattr(plans, "ready", ready)
    monkeypatch.setattr(dispatch, "plans", ready)
    return ready.done


def on_host(results):
    """Arrays of a GPU, one or several, as NumPy arrays; None stays."""
    results = results if isinstance(results, tuple) else (results,)
    return [each if each is None else transfer.to_host(getattr(each, "array", each)) for each in results]


def by_apply(op, args):
    """Through dispatch, which replays where it can."""
    return on_host(op.apply(*args, CUDA) if op.creates else op.apply(*args))


def by_forward(op, args):
    """The same without dispatch: every launch anew."""
    values = [getattr(each, "array", each) for each in args]
    run = op.reference if op.views else op().forward
    return on_host(run(*values, CUDA) if op.creates else run(*values))


def same(mine, true):
    """Whether two lists of arrays are the same bits."""
    pairs = list(zip(mine, true, strict=True))
    return all(a is b or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()) for a, b in pairs)


@pytest.fixture
def launched(interpreted):
    """What the kernels' constants were, launch by launch; launches are interpreted as before."""
    found = []

    def look(kernel, grid, args, constants, options):
        found.append(constants)
        bridge.interpret_launch(kernel, grid, args, constants, options)

    before = set_launch_hook(look)
    yield found
    set_launch_hook(before)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tensor(values):
    return on_device(values, CUDA)


def results_of(function, times=3):
    """What a function gives, after it was called so often that plans answer."""
    for _ in range(times - 1):
        function()
    return on_host(function())[0]


def test_from_the_third_call_on(replayed):
    x, y = tensor(numbers(3, 4)), tensor(numbers(3, 4, seed=1))
    for count in (0, 0, 1, 2):
        x + y
        assert replayed == ["add"] * count
    x + y.T.contiguous().T  # another layout
    x + 2.0
    x.add(y, alpha=1)
    assert replayed == ["add"] * 3


def test_what_a_check_of_an_op_sees(monkeypatch):
    """`tritorch validate` holds plans against `forward`: here one that remembers where its argument was."""
    assert all(finding.ok for finding in check_op("relu", "cuda"))
    plans.invalidate()
    make = plan_text.make_plan

    def make_wrong(cls, given, trace, results):
        plan, value = make(cls, given, trace, results), given[0]
        return lambda *values: plan(value, *values[1:])

    monkeypatch.setattr(plan_text, "make_plan", make_wrong)
    wrong = [finding for finding in check_op("relu", "cuda") if not finding.ok]
    assert {finding.what for finding in wrong} >= {"replay"}


def test_one_array_twice_is_not_two_arrays(replayed):
    x, y = numbers(5, 7), numbers(5, 7, seed=1)
    mine, others = tensor(x), tensor(y)
    for first, second in ((mine, mine), (mine, mine), (mine, others), (others, mine)):
        found = on_host(first - second)[0]
        assert np.array_equal(found, transfer.to_host(first.array) - transfer.to_host(second.array))
    assert replayed == ["sub"] * 2


def test_views_and_pointers_that_are_not_aligned(replayed):
    """Signatures differ in how pointers are aligned, since compiled code does."""
    memory = tensor(numbers(64))
    for start in (0, 1, 2, 16, 17, 20, 36, 0):
        part = memory[start : start + 8]
        assert np.array_equal(results_of(lambda part=part: part * 3.0), transfer.to_host(part.array) * 3)
    first = {signature[1].misalignment for signature in plans.ready if signature[0].op_name == "mul"}
    assert first == {0, 4, 8}
    rows = memory.reshape(8, 8)
    host = on_host(rows)[0]
    for make in (lambda x: x.T, lambda x: x[2:, ::2], lambda x: x[3], lambda x: x[1:3].reshape(4, 4)):
        for _ in range(4):
            view = make(rows)
            assert view.array.block is memory.array.block
        assert np.array_equal(on_host(view)[0], make(host))
    assert "transpose" in replayed or "t" in replayed or "permute" in replayed


@pytest.mark.parametrize(
    ("name", "gates", "states"),
    [("rnn_layer", 1, 1), ("lstm_layer", 4, 2), ("gru_layer", 3, 1), ("lstm_both", 4, 2)], ids=str,
)  # fmt: skip
def test_programs_that_meet_count_from_zero_at_each_replay(name, gates, states, replayed, launched):
    """A recurrent layer is two launches: one clears the counts by which the programs of the other meet."""
    batch, hidden, steps = 3, 40, 3
    weight = numbers(gates * hidden, hidden) * 0.1
    more = {"rnn_layer": (None, (batch,) * steps, False, True), "lstm_layer": (None, (batch,) * steps, True)}
    rest = more.get(name, (None, None, (batch,) * steps, False))
    for seed in range(5):
        projection = numbers(batch * steps, gates * hidden, seed=seed)
        given = [projection, *[numbers(batch, hidden, seed=seed + 9)] * states, weight]
        args = [*map(tensor, given), *rest]
        if name == "lstm_both":  # and its other direction
            args = [*map(tensor, given), *map(tensor, [-each for each in given]), (batch,) * steps]
        assert same(by_apply(TABLE[name], args), by_forward(TABLE[name], args))
    assert replayed == [name] * 3
    assert sum("NUMBERS" in constants for constants in launched) == 10  # of every call, and again without dispatch


def test_numbers_that_are_equal_and_not_the_same(replayed):
    x = tensor(np.array([1, -2], np.int64))
    for other, kind in ((1, np.int64), (True, np.int64), (1.0, np.float32)):
        found = results_of(lambda other=other: x * other)
        assert found.dtype == kind and found.tolist() == [1, -2]
    for other, kind in ((1, np.int64), (True, np.bool_)):
        assert results_of(lambda other=other: tensor(np.ones(2, np.bool_)) * other).dtype == kind
    x = tensor(np.array([1, -2], np.float32))
    for zero in (0.0, -0.0):
        assert np.signbit(results_of(lambda zero=zero: x * zero)).tolist() == np.signbit([zero, -zero]).tolist()


def test_what_else_ops_look_at(launched):
    x = tensor(numbers(16, 16))
    results_of(lambda: x @ x)
    asked = {key: value for key, value in launched[-1].items() if value == "ieee"}
    assert asked and plans.ready
    try:
        precision.set_float32_matmul_precision("high")
        x @ x
        assert all(launched[-1][key] == "tf32" for key in asked)
    finally:
        precision.set_float32_matmul_precision("highest")
    assert results_of(lambda: (x @ x).sum()) == results_of(lambda: (x @ x).sum())
    assert "ieee" in launched[-2].values()


def test_a_config_that_a_user_pins(launched):
    x = tensor(numbers(1000))
    results_of(lambda: x * 2.0)
    before = launched[-1]["BLOCK"]
    lookup.pin_config(pointwise_kernel, {"BLOCK": 2 * before, "num_warps": 4})
    try:
        for _ in range(4):
            x * 2.0
            assert launched[-1]["BLOCK"] == 2 * before
    finally:
        lookup.unpin_configs(pointwise_kernel)
    x * 2.0
    assert launched[-1]["BLOCK"] == before


def test_tools_see_every_call(replayed):
    x = tensor(numbers(8))
    results_of(lambda: x * 2.0)
    count = len(replayed)
    with recording_launches(run=False) as launches:
        for _ in range(4):
            x * 2.0
    with noting_configs() as asked:
        for _ in range(4):
            x * 2.0
    assert (len(launches), len(asked), len(replayed)) == (4, 4, count)
    assert np.array_equal(results_of(lambda: x * 2.0), transfer.to_host(x.array) * 2)
    assert len(replayed) > count


def test_a_process_without_plans(stub):
    """An environment variable, for who does not trust them."""
    text = (
        "import tritorch\n"
        "from tritorch.runtime import plans\n"
        "x = tritorch.ones(3, device='cuda')\n"
        "for _ in range(4): x + x\n"
        "print(len(plans.ready))\n"
    )
    for value, count in (("0", "0\n"), ("1", "1\n")):
        environment = os.environ | {"TRITORCH_PLANS": value}
        found = subprocess.run(
            [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout == count


def test_seeds_and_steps_are_passed_on(replayed):
    x, dropout, step = tensor(numbers(40, 30)), TABLE["dropout"], TABLE["adam_step"]
    for seed in (3, 7, 11, 13, 2**63 + 5, 2**63 + 9, 2**63 + 11):
        args = x, 0.5, seed, seed ^ 4
        assert same(by_apply(dropout, args), by_forward(dropout, args)), seed
    assert replayed == ["dropout"] * 3  # with and without the sign bit, which are two types
    for name, rest in (("uniform", (0.0, 2.0)), ("normal", (0.0, 1.0)), ("random_integers", (0, 9))):
        kind = np.dtype(np.int64 if name == "random_integers" else np.float32)
        for seed in range(2, 6):
            args = (5, 7), *rest, kind, seed, 16 * seed
            assert same(by_apply(TABLE[name], args), by_forward(TABLE[name], args)), (name, seed)
    assert replayed[3:] == [name for name in ("uniform", "normal", "random_integers") for _ in range(2)]
    replayed.clear()
    for count in range(1, 6):
        ours, theirs = ([tensor(abs(numbers(5, 7, seed=seed))) for seed in range(4)] for _ in range(2))
        options = 0.1 / count, 0.9, 0.99, 1e-8, 0.0, False, False, False, count
        assert same(by_apply(step, (*options, *ours)), by_forward(step, (*options, *theirs)))
        assert same(on_host(tuple(ours)), on_host(tuple(theirs)))
    assert replayed == ["adam_step"] * 3


def test_calls_that_copy_or_wait_have_no_plan():
    op = TABLE["ctc_loss"]
    args = [on_device(each, CUDA) for each in samples_of(op)[0]]
    for _ in range(4):
        op.apply(*args)  # its plan of the targets is computed on the host
    x = args[0] + 0
    x + 0
    assert "add" in {each[0].op_name for each in plans.ready}
    assert "ctc_loss" not in {each[0].op_name for each in plans.ready}


def test_a_launch_that_fails(monkeypatch):
    """The plan is dropped, and the call runs as if there had never been one."""
    monkeypatch.setattr(dispatch, "drop", planning.drop)
    x = tensor(numbers(8))
    results_of(lambda: x * 2.0)
    failing = [1]

    def fail_once(kernel, grid, args, constants, options):
        if failing:
            raise RuntimeError(f"launch {failing.pop()} failed")
        bridge.interpret_launch(kernel, grid, args, constants, options)

    before = set_launch_hook(fail_once)
    assert len(plans.ready) == 1
    assert np.array_equal(on_host(x * 2.0)[0], transfer.to_host(x.array) * 2)
    assert not failing and not plans.ready
    results_of(lambda: x.sum())
    monkeypatch.setattr(memory.Allocator, "_obtain", no_memory)
    memory.empty_cache()
    with pytest.raises(memory.OutOfMemoryError, match="no more"):
        x.sum()
    set_launch_hook(before)


def no_memory(*_):
    raise memory.OutOfMemoryError("no more")


def test_plans_hold_no_memory(replayed):
    gc.collect()
    before = memory.memory_allocated()
    x = tensor(numbers(64, 64))
    for _ in range(5):
        x.softmax(1) @ x
    peak = memory.max_memory_allocated()
    assert len(replayed) >= 6 and memory.memory_allocated() == before + x.array.nbytes
    for _ in range(5):
        x.softmax(1) @ x
    assert memory.max_memory_allocated() == peak
    del x
    gc.collect()
    assert memory.memory_allocated() == before


def test_threads_replay_at_once(stub):
    x = [tensor(numbers(128, seed=seed)) for seed in range(4)]
    results_of(lambda: x[0] * 2.0 + 1.0)
    wrong = []

    def work(mine):
        expected = transfer.to_host(mine.array) * np.float32(2) + np.float32(1)
        for _ in range(30):
            if not np.array_equal(on_host(mine * 2.0 + 1.0)[0], expected):
                wrong.append(mine)

    threads = [threading.Thread(target=work, args=(each,)) for each in x]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_work_goes_to_the_current_stream(replayed):
    x = tensor(numbers(16))
    results_of(lambda: x * 2.0)
    other = streams.Stream()
    with streams.stream(other):
        assert (x * 2.0).array.block.stream is other
    assert (x * 2.0).array.block.stream is streams.current_stream()
    assert len(replayed) == 3


def test_memory_that_a_launch_keeps_to_itself(replayed):
    """Descriptors are made in it, so a plan finds it as any launch does."""
    before = set_launch_hook(lambda *launch: None)  # this one is too large to interpret
    x = transfer.empty((2048, 2048), np.dtype(np.float16), CUDA)
    scratch, kept = memory.allocator(0).scratch, []
    for _ in range(4):
        kept.append(scratch.copy())  # so that it is somewhere else each time
        scratch.clear()
        TABLE["matmul"].apply(creation.wrap(x, CUDA), creation.wrap(x, CUDA), False, False)
        assert scratch
    assert replayed == ["matmul"] * 2
    set_launch_hook(before)
