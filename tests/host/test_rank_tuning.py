"""Ranks with caches of their own launch what rank 0 would, and lose nothing of what they have."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tritorch.autotune import Space, choices, kernel, lookup, powers, tables
from tritorch.autotune import store as storing
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.lookup import CACHED, FORMULA, PINNED
from tritorch.autotune.store import Store
from tritorch.autotune.tables import Row, Table, write_table
from tritorch.autotune.trial import Entry, Timing, Trial
from tritorch.autotune.tunable import forget_all_configs
from tritorch.distributed import tuning
from tritorch.runtime import tl


@kernel(
    space=Space(BLOCK=powers(16, 256), num_warps=choices(1, 2, 4)),
    default=lambda device, *, n: {"BLOCK": 16, "num_warps": 1},
)
def halve(
    x,  # what is halved: (n,)
    out,  # the results: (n,)
    n,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) / 2, mask=i < n)


ARRAYS = (np.zeros(100, np.float32), np.zeros(100, np.float32))
SIZES = {"n": 100}
KEY = halve.key_for(ARRAYS, SIZES)


class Board:
    """A store of one process; `asked` is what was read."""

    def __init__(self):
        self.values, self.asked = {}, []

    def set(self, key, value):
        self.values[key] = value.encode()

    def get(self, key):
        self.asked.append(key.rpartition("/")[2])
        return self.values[key]


class Rank:
    """A rank with a cache folder of its own: what is done inside is done with this one."""

    def __init__(self, number, folder, monkeypatch):
        self.number, self.folder, self.patch = number, folder, monkeypatch
        self.state, self.followed, self.times = lookup._State(), [], 0

    def __enter__(self):
        self.patch.setenv("TRITORCH_CACHE_DIR", str(self.folder))
        self.patch.setattr(lookup, "_state", self.state)
        self.patch.setattr(tuning, "_followed", self.followed)
        self.patch.setattr(tuning, "_times", self.times)
        forget_all_configs()
        return self

    def __exit__(self, *_):
        self.times = tuning._times

    def find(self):
        return lookup.find(halve, KEY, INTERPRETER, SIZES)

    def save(self, block):
        config = {"BLOCK": block, "num_warps": 4}
        Store().save(environment_of(INTERPRETER), Entry(KEY, [Trial(config, timing=Timing(1e-3, 1e-3, 1e-3, 9))]))
        lookup.forget()


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    monkeypatch.delenv("TRITORCH_AUTOTUNE", raising=False)
    monkeypatch.setattr(tables, "BUNDLED", tmp_path / "bundled")
    storing.forget_warnings()
    found = [Rank(number, tmp_path / str(number), monkeypatch) for number in range(2)]
    yield found
    for rank in found:
        with rank:
            tuning._forget()
    storing.forget_warnings()
    forget_all_configs()


def meet(ranks, board):
    for rank in ranks:
        with rank:
            tuning.make_equal(board, rank.number, len(ranks))


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_first_ranks_winner_is_everybodys(ranks):
    first, second = ranks
    for rank, block in zip(ranks, (64, 128), strict=True):
        with rank:
            rank.save(block)
            assert rank.find().config["BLOCK"] == block
    before = files_of(second.folder)
    meet(ranks, Board())
    for rank in ranks:
        with rank:
            assert rank.find()[:2] == ({"BLOCK": 64, "num_warps": 4}, CACHED)
            assert halve.config(ARRAYS, **SIZES)["BLOCK"] == 64
    with second:
        lookup.drop(KEY, INTERPRETER, {"BLOCK": 64, "num_warps": 4}, "failed here")
        assert second.find().source == FORMULA
        folder = second.followed[0][0]
    assert files_of(second.folder) == before
    with first:
        first.save(32)
        Store().remove(environment_of(INTERPRETER), KEY)
        first.save(256)
    meet(ranks, Board())  # again: a group that comes after
    with second:
        assert second.find().config["BLOCK"] == 256 and not os.path.exists(folder)


def test_a_rank_forgets_what_only_it_has(ranks):
    with ranks[1]:
        ranks[1].save(128)
    meet(ranks, Board())
    with ranks[1]:
        assert ranks[1].find().source == FORMULA


def test_pinned_tables_and_the_mode_go_along(ranks, tmp_path, monkeypatch):
    with ranks[0]:
        row = Row(KEY, {"BLOCK": 32, "num_warps": 2}, 1e-3, 2e-3)
        write_table(tmp_path / "table.json", [Table(environment_of(INTERPRETER), (row,))])
        tables.pin(tmp_path / "table.json")
        ranks[0].save(64)
    board = Board()
    with ranks[0]:
        tuning.make_equal(board, 0, 2)
    with ranks[1]:
        monkeypatch.setenv("TRITORCH_AUTOTUNE", "0")
        tuning.make_equal(board, 1, 2)
        assert ranks[1].find()[:2] == ({"BLOCK": 32, "num_warps": 2}, PINNED)


def test_equal_ranks_read_a_digest_alone(ranks):
    for rank in ranks:
        with rank:
            rank.save(64)
    board = Board()
    meet(ranks, board)
    assert board.asked == ["digest"] and not ranks[1].followed
    meet(ranks[:1], board)  # a rank alone says nothing to nobody
    assert len(board.values) == 2


def test_a_cache_that_cannot_be_written_counts_too(ranks, tmp_path):
    """What rank 0 has found out is in its memory alone, and a file that is no entry is nobody's."""
    (tmp_path / "0").write_text("a file where the cache folder should be")
    with ranks[0], pytest.warns(RuntimeWarning, match="cannot be written"):
        ranks[0].save(32)
    meet(ranks, Board())
    with ranks[1]:
        assert ranks[1].find().config["BLOCK"] == 32


def test_names_that_leave_the_folder_are_refused(ranks):
    with ranks[1]:
        entries = {"..": {"x.json": ""}}, {"folder": {"../x.json": ""}}, {"folder": {"manifest.json": ""}}
        for each in entries:
            with pytest.raises(RuntimeError, match="is not the name of an entry"):
                tuning._follow({"mode": "cached", "pinned": [], "entries": each})
            tuning._forget()


PROCESS = """
import json, os, sys, time
from pathlib import Path
import tritorch as torch
from tritorch.autotune import lookup
from tritorch.autotune.device import environment_of
from tritorch.autotune.store import Store
from tritorch.autotune.trial import Entry, Timing, Trial
from tritorch.autotune.tunable import noting_configs
from tritorch.distributed.tuning import make_equal

rank, folder = int(sys.argv[1]), Path(sys.argv[2])


class Board:
    def set(self, key, value):
        path = folder / key.replace("/", "-")
        path.with_suffix(".tmp").write_text(value)
        path.with_suffix(".tmp").replace(path)

    def get(self, key):
        ends = time.monotonic() + 60
        while not (path := folder / key.replace("/", "-")).exists() and time.monotonic() < ends:
            time.sleep(0.01)
        return path.read_bytes()


def launched():
    with noting_configs() as asked:
        torch.softmax(torch.ones(8, 64, device="interpreter"), 1)
    return asked[0]


first = launched()
others = [each for each in first.kernel.space.configs(**first.known, device=first.device) if each != first.config]
trial = Trial(others[rank], timing=Timing(1e-3, 1e-3, 1e-3, 9))
Store().save(environment_of(first.device), Entry(first.key, [trial]))
lookup.forget()
before = launched().config
make_equal(Board(), rank, 2)
print(json.dumps([before, launched().config]))
"""


def test_two_processes_launch_the_same(tmp_path):
    """Each has a winner of its own for softmax in a cache folder of its own; then both launch that of rank 0."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROCESS, str(rank), str(tmp_path)],
            env=os.environ | {"TRITORCH_CACHE_DIR": str(tmp_path / f"cache{rank}"), "TMPDIR": str(tmp_path)},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    answers = [each.communicate(timeout=120) for each in ranks]
    assert [each.returncode for each in ranks] == [0, 0], answers
    (first, first_after), (second, second_after) = (json.loads(output) for output, _ in answers)
    assert first != second
    assert first_after == second_after == first
    assert not list(tmp_path.glob("tritorch-tuning-*"))  # what was followed is gone with its process
