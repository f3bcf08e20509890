"""What kernels must not do: touch memory beside their buffers, which is noticed here, or not run at all.

That no op's kernels do, nor leave results unset, is in test_ops.py, whose checks run in guarded memory.
"""

from __future__ import annotations

import numpy as np
import pytest

from tritorch.ops.base import TABLE
from tritorch.ops.host_op import HostOp
from tritorch.ops.index import gathering, scatter_reductions
from tritorch.runtime import debug, transfer
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.interpreter.run import KernelError
from tritorch.runtime.interpreter.scope import scope
from tritorch.runtime.kernel import Kernel, recording_launches
from tritorch.runtime.language import tl, triton_missing
from tritorch.validation import call_on, on_device, samples_of

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@pytest.fixture
def guarded():
    with guarded_memory() as guarded:
        yield guarded


@Kernel
def careless(
    x,  # filled, and written one past its end: (n,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.arange(0, BLOCK)
    tl.store(x + i, 2.0, mask=i <= n)


def test_a_kernel_that_writes_beside_its_buffer_is_noticed(guarded):
    x = guarded.empty(5, np.float32)
    careless[(1,)](x, 4, BLOCK=8)
    assert not guarded.broken()
    careless[(1,)](x, 5, BLOCK=8)
    assert guarded.broken() == 1


@Kernel
def greedy(
    x,  # summed, and read one past its end: (n,)
    out,  # (1,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.arange(0, BLOCK)
    tl.store(out, tl.sum(tl.load(x + i, mask=i <= n, other=0), 0))


def test_a_kernel_that_reads_beside_its_buffer_is_noticed(guarded):
    x, out = guarded.mirror(np.ones(5, np.float32), INTERPRETER), guarded.empty(1, np.float32)
    greedy[(1,)](x, out, 4, BLOCK=8)
    assert out == 5
    greedy[(1,)](x, out, 5, BLOCK=8)
    assert np.isnan(out)
    gaps = guarded.mirror(np.ones(10, np.float32)[::2], INTERPRETER)
    greedy[(1,)](gaps, out, 4, BLOCK=8)
    assert np.isnan(out)


# Ops that read positions, and where those are among the arguments; what comes of one outside in a loss is NaN.
READING = {
    "cross_entropy": 1, "cross_entropy_backward": 2, "ctc_gradient": 2, "ctc_loss": 1, "embedding": 1,
    "embedding_backward": 1, "embedding_bag": 1, "embedding_bag_max": 1, "find_place": 4, "gather": 2, "index": 2,
    "index_put": 4, "nll_loss": 1, "nll_loss_backward": 1, "put_along": 1, "scatter": 3, "scatter_amax": 2,
    "scatter_amin": 2, "scatter_prod": 2,
}  # fmt: skip
LOSSES = ("cross_entropy", "nll_loss")
OUTSIDE = 64  # of every dimension of the first samples, and within the canaries


def with_position_outside(name, negative):
    """The first sample with positions, one of which is outside."""
    at = READING[name]
    sample = next(each for each in samples_of(TABLE[name]) if each[at] is not None and each[at].size)
    wrong = sample[at].copy()
    wrong.reshape(-1)[0 if name != "find_place" else wrong.shape[-1] // 2] = -OUTSIDE if negative else OUTSIDE
    return (*sample[:at], wrong, *sample[at + 1 :])


@pytest.fixture
def unchecked(monkeypatch):
    """Without what is checked on the host, as on a GPU, where nobody waits for an index."""
    for module in (gathering, scatter_reductions):
        monkeypatch.setattr(module, "check_range", lambda *_: None)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", READING)
def test_a_position_outside_is_left_alone(name, negative, guarded, unchecked):
    results = call_on(TABLE[name], with_position_outside(name, negative), INTERPRETER)
    results = results if isinstance(results, tuple) else (results,)
    assert not guarded.broken()
    assert np.isnan(results[0].array).any() == (name in LOSSES)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", READING)
def test_a_position_outside_stops_a_kernel_when_debugging(name, negative, unchecked, monkeypatch):
    monkeypatch.setattr(debug, "enabled", True)
    monkeypatch.setattr(scope, "_changes", None)  # made once, with or without assertions
    call_on(TABLE[name], samples_of(TABLE[name])[0], INTERPRETER)
    with pytest.raises(KernelError, match="index out of bounds"):
        call_on(TABLE[name], with_position_outside(name, negative), INTERPRETER)


def test_bags_that_end_outside_are_cut_short(guarded):
    weight, indices = np.ones((5, 3), np.float32), np.array([0, 1, 2, 3])
    for name, rest in (("embedding_bag", (None, 2, False, -1, False)), ("embedding_bag_max", (2, -1))):
        found, _ = call_on(TABLE[name], (weight, indices, np.array([-7, 3, 90]), *rest), INTERPRETER)
        assert found.tolist() == ([[3.0] * 3, [1.0] * 3] if name == "embedding_bag" else [[1.0] * 3] * 2)
    assert not guarded.broken()


COMPUTING = [
    name
    for name, op in TABLE.items()
    if not op.views and not issubclass(op, HostOp) and op.__module__.startswith("tritorch.ops.")
]


@pytest.mark.parametrize("name", sorted(COMPUTING))
def test_no_op_quietly_runs_on_numpy(name, monkeypatch):
    monkeypatch.setattr(transfer, "empty_on_host", np.zeros)  # results of launches, which are noted and not carried out
    op = TABLE[name]
    for number, sample in enumerate(samples_of(op)):
        args = [on_device(each, INTERPRETER) for each in (sample if isinstance(sample, tuple) else (sample,))]
        with recording_launches(run=False) as launches:
            results = op.apply(*args, INTERPRETER) if op.creates else op.apply(*args)
        if launches:
            continue
        given = [each.array for each in args if hasattr(each, "array")]
        for each in results if isinstance(results, tuple) else (results,):
            shared = any(np.shares_memory(each.array, array) for array in given)
            assert shared or not each.array.size, f"{name} made a result without a launch for sample {number}"
