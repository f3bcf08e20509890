"""Pieces on several threads: all of them, once, with failures where they are asked for, and none after a fork."""

import os
import threading

import numpy as np
import pytest

import tritorch
from tritorch.ops import parallel
from tritorch.ops.base import TABLE
from tritorch.ops.formula import erf_in_float32, erf_on_host
from tritorch.ops.pointwise.direct import in_tiles
from tritorch.validation import check_op

IN_PIECES = [
    name
    for name in sorted(TABLE)
    if any(part in name for part in ("norm", "channel_sums", "softmax", "cross_entropy", "max_pool", "pad"))
    or name in ("sort", "topk", "cumsum", "cumprod", "cummax", "cummin")
]


@pytest.fixture
def helpers(monkeypatch):
    """Two threads that help, however many cores there are."""
    monkeypatch.setattr(parallel, "_helpers", parallel._Helpers(2))


def test_every_piece_is_done_once(helpers):
    done = np.zeros(100, int)

    def count(piece):
        done[piece] += 1

    parallel.for_each(count, list(range(100)))
    assert (done == 1).all()


def test_threads_share_the_work(helpers):
    both = threading.Barrier(3)  # breaks unless three threads are here at once
    parallel.for_each(lambda piece: both.wait(10), list(range(3)))


def test_a_failure_of_any_thread_is_raised(helpers):
    both = threading.Barrier(3)

    def fail(piece):
        both.wait(10)
        if piece == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        parallel.for_each(fail, list(range(3)))


def test_overflow_is_silent_in_every_thread(helpers):
    x = tritorch.full((4, 1 << 18), 3e38, device="cpu")
    assert tritorch.softmax(x, 1).sum().item() == pytest.approx(4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_works_alone(helpers):
    child = os.fork()
    if child == 0:
        found = []
        parallel.for_each(lambda piece: found.append(threading.get_ident()), list(range(9)))
        os._exit(0 if len(found) == 9 and set(found) == {threading.get_ident()} else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_scratch_is_a_threads_own():
    mine = parallel.scratch(np.empty((3, 5), np.float32))
    assert mine.shape == (3, 5) and mine.dtype == np.float32
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(parallel.scratch(mine)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])
    assert np.shares_memory(mine, parallel.scratch(mine))


@pytest.mark.parametrize("name", IN_PIECES)
def test_ops_in_small_pieces(helpers, monkeypatch, name):
    monkeypatch.setattr(parallel, "_PIECE", 16)
    wrong = [str(finding) for finding in check_op(name, "cpu", np.float32, gradients=False) if not finding.ok]
    assert not wrong, "\n".join(wrong)


def test_a_formula_in_tiles_gives_what_it_gives_at_once():
    """Tiles of different lengths, numbers between arrays, and shapes that are broadcast, which are not cut."""
    calls = []

    def formula(x, scale, y):
        calls.append(x.shape)
        return np.exp(x) * scale + y

    draw = np.random.default_rng(0)
    x, y = (draw.standard_normal((5, 4000)).astype(np.float32) for _ in range(2))
    found = in_tiles(formula)(x, 2.0, y)
    assert len(calls) > 1
    assert found.shape == x.shape and np.array_equal(found, formula(x, 2.0, y))
    calls.clear()
    row = y[:1]
    assert np.array_equal(in_tiles(formula)(x, 2.0, row), formula(x, 2.0, row))
    assert calls == [x.shape] * 2


def test_the_error_function_in_float32():
    """As near as its docstring says, also where squares overflow, and NaN where the argument is."""
    x = np.concatenate([np.linspace(-12, 12, 20001), [1e30, -1e30, np.inf, -np.inf, 0]]).astype(np.float32)
    with np.errstate(over="ignore"):
        found = erf_in_float32(x)
    assert np.abs(found - erf_on_host(x.astype(np.float64))).max() < 1.4e-7
    assert np.isnan(erf_in_float32(np.full(3, np.nan, np.float32))).all()
