"""A config that was tuned and fails to launch costs a warning, not the run (fault 37)."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch
from tritorch.autotune import Space, choices, kernel, lookup
from tritorch.autotune import store as storing
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.store import Store
from tritorch.autotune.trial import RESOURCES, Entry, Timing, Trial
from tritorch.autotune.tunable import forget_all_configs, using
from tritorch.ops.base import TABLE, Op
from tritorch.runtime import interpreter, tl
from tritorch.runtime import kernel as kernels
from tritorch.runtime.launcher import OutOfResources

FORMULA = {"BLOCK": 16, "num_warps": 1}


@kernel(
    space=Space(BLOCK=choices(16, 32, 64, 128), num_warps=choices(1, 2)), default=lambda device, *, n, step=0: FORMULA
)
def add_one(
    x,  # what is raised by one: (n,)
    out,  # the results: (n,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)


@kernel(
    space=Space(BLOCK=choices(16, 32, 64, 128, default=16)),
    key=("n",),
    inputs=lambda draw, N=100: (draw(N), draw(N), N),
    reference=lambda x: {"out": x + 1},
    grid=lambda meta: (-(-meta["n"] // meta["BLOCK"]),),
)
def own(
    x,  # what is raised by one: (n,)
    out,  # the results: (n,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) + 1, mask=i < n)


def launch(x, out, step=0):
    config = add_one.config((x, out), n=x.size, step=step)
    add_one[(-(-x.size // config["BLOCK"]),)](x, out, x.size, **config)


@pytest.fixture(scope="module")
def ops():
    """An op that makes its result, and one that writes in place, by two launches."""
    before = dict(TABLE)

    class Raised(Op):
        """x + 1."""

        op_name = "test_raised"

        @staticmethod
        def reference(x):
            return x + 1

        def forward(self, x):
            """One launch."""
            out = np.empty_like(x)
            launch(x, out)
            return out

        @staticmethod
        def samples(draw):
            yield (draw(5),)

    class RaisedTwice(Raised):
        """x + 1 + 1, in place."""

        op_name = "test_raised_twice"
        in_place = True

        def forward(self, x):
            """Two launches, one for each half."""
            launch(x[:50], x[:50], 1)
            launch(x[50:], x[50:], 2)
            return x

    yield Raised, RaisedTwice
    TABLE.clear()
    TABLE.update(before)


def key(step=0, n=100):
    x = np.zeros(n, np.float32)
    return add_one.key_for((x, x), {"n": n, "step": step})


def save(where, *blocks):
    trials = [Trial({"BLOCK": each, "num_warps": 2}, timing=Timing(at, at, at, 9)) for at, each in enumerate(blocks, 1)]
    Store().save(environment_of(INTERPRETER), Entry(where, trials))
    lookup.forget()


@pytest.fixture
def refuse(tmp_path, monkeypatch):
    """A function that lets launches with some blocks, of one array or all, need too much of the device."""
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(lookup, "_state", lookup._State())
    storing.forget_warnings()
    forget_all_configs()
    real, refused, tried = interpreter.interpret, {}, []

    def interpret(kernel, grid, args, keywords):
        if kernel in (add_one, own):
            block = keywords["BLOCK"]
            tried.append(block)
            if block in refused.get("blocks", ()) and args[0].size not in refused.get("but", ()):
                raise refused.get("error", OutOfResources)(f"{block} is too much")
        return real(kernel, grid, args, keywords)

    monkeypatch.setattr(kernels.interpreter, "interpret", interpret)
    yield lambda *blocks, **rest: refused.update(blocks=blocks, **rest) or tried
    forget_all_configs()
    storing.forget_warnings()


def tensor(n=100):
    return tritorch.arange(n, dtype=tritorch.float32, device="interpreter")


def test_the_next_best_is_taken_and_the_failure_recorded(ops, refuse):
    tried = refuse(64)
    save(key(), 64, 32)
    with pytest.warns(
        RuntimeWarning, match=r"add_one failed with .*'BLOCK': 64.* of the cache .*is too much"
    ) as warned:
        result = ops[0].apply(tensor())
    assert len(warned) == 1
    np.testing.assert_array_equal(result.numpy(), np.arange(100) + 1)
    ops[0].apply(tensor())  # now without a warning
    assert tried == [64, 32, 32]
    failed = Store().load(environment_of(INTERPRETER), key()).find({"BLOCK": 64, "num_warps": 2})
    assert failed.state == RESOURCES and "64 is too much" in failed.cause
    fresh = lookup._state = lookup._State()  # as in another process
    forget_all_configs()
    ops[0].apply(tensor())
    assert tried[3:] == [32] and fresh.given


def test_the_formula_comes_last(ops, refuse):
    tried = refuse(64, 32)
    save(key(), 64, 32)
    with pytest.warns(RuntimeWarning) as warned:
        ops[0].apply(tensor())
    assert tried == [64, 32, 16] and len(warned) == 2


def test_where_the_formula_fails_too_nothing_is_dropped(ops, refuse):
    """The configs were not at fault: the error is the user's to see, and what was found is kept."""
    tried = refuse(64, 16)
    save(key(), 64)
    with pytest.raises(OutOfResources, match="64 is too much"):
        ops[0].apply(tensor())
    assert tried == [64, 16]
    assert Store().load(environment_of(INTERPRETER), key()).best().config["BLOCK"] == 64
    assert lookup.find(add_one, key(), INTERPRETER, {"n": 100, "step": 0}).source == lookup.CACHED


def test_a_formulas_error_propagates_as_it_is(ops, refuse):
    tried = refuse(16)
    with pytest.raises(OutOfResources, match="16 is too much"):
        ops[0].apply(tensor())
    assert tried == [16]


def test_a_candidate_of_the_tuner_is_not_replaced(ops, refuse):
    tried = refuse(64)
    save(key(), 64, 32)
    ops[0].apply(tensor(200))
    with using(add_one, key(), {"BLOCK": 64, "num_warps": 2}), pytest.raises(OutOfResources):
        ops[0].apply(tensor())
    assert tried == [16, 64]


def test_what_is_no_failed_launch_propagates(ops, refuse, monkeypatch):
    tried = refuse(64)
    save(key(), 32)
    ops[0].apply(tensor())
    monkeypatch.setattr(ops[0], "forward", lambda self, x: x.no_such_thing)
    with pytest.raises(AttributeError, match="no_such_thing"):
        ops[0].apply(tensor())
    assert tried == [32]


def test_an_op_in_place_runs_again_where_nothing_was_written(ops, refuse):
    tried = refuse(64)
    save(key(1, 50), 64, 32)
    x = tensor()
    with pytest.warns(RuntimeWarning, match="another config was taken"):
        ops[1].apply(x)
    np.testing.assert_array_equal(x.numpy(), np.arange(100) + 1)
    assert tried == [64, 32, 16]


def test_an_op_in_place_does_not_write_twice(ops, refuse):
    """Its second launch fails: the first half is written, so the call ends with the error; the next one works."""
    tried = refuse(64)
    save(key(2, 50), 64, 32)
    x = tensor()
    with pytest.warns(RuntimeWarning, match="wrote in place and cannot run again"), pytest.raises(OutOfResources):
        ops[1].apply(x)
    np.testing.assert_array_equal(x.numpy(), np.arange(100) + (np.arange(100) < 50))
    assert tried == [16, 64]
    ops[1].apply(x)
    np.testing.assert_array_equal(x.numpy(), np.arange(100) + 1 + (np.arange(100) < 50))


def test_launches_alike_are_told_apart_by_their_arrays(ops, refuse):
    """Both halves take the config that fails: by its arrays the failed launch is the first, or the second."""
    save(key(1, 50), 64, 32)
    save(key(2, 50), 64, 32)
    tried = refuse(64)
    x = tensor()
    with pytest.warns(RuntimeWarning, match="another config was taken"):
        ops[1].apply(x)
    np.testing.assert_array_equal(x.numpy(), np.arange(100) + 1)
    assert tried[:2] == [64, 32]


def test_a_kernel_of_a_users_own_takes_the_next_best(refuse):
    """Its launch computes its grid itself, so it is launched again with another."""
    x, out = np.arange(100, dtype=np.float32), np.zeros(100, np.float32)
    found = own.key_for((x, out), {"n": 100})
    trials = [Trial({"BLOCK": each}, timing=Timing(at, at, at, 9)) for at, each in enumerate((64, 32), 1)]
    Store().save(environment_of(INTERPRETER), Entry(found, trials))
    lookup.forget()
    tried = refuse(64)
    with pytest.warns(RuntimeWarning, match="own failed with .*64.* another config was taken"):
        own[own.grid](x, out, 100)
    own[own.grid](x, out, 100)
    np.testing.assert_array_equal(out, x + 1)
    assert tried == [64, 32, 32]
    refuse(16, 32)
    with pytest.warns(RuntimeWarning, match="own failed with .*32"), pytest.raises(OutOfResources, match="16 is too"):
        own[own.grid](x, out, 100)  # in the end the formula's error
    with pytest.raises(TypeError, match="missing a required argument: 'out'"):
        own[own.grid](x)
