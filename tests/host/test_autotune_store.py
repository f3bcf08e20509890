"""The tuner's store: what is saved comes back, whatever happens to its files and whoever writes at the same time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tritorch.autotune import store as storing
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.key import Key, Size
from tritorch.autotune.store import MANIFEST, Store
from tritorch.autotune.trial import CRASH, Entry, Resources, Timing, Trial
from tritorch.runtime import files

ENVIRONMENT = environment_of(INTERPRETER)


def key(m=256, source="0123456789ab"):
    return Key("tritorch.ops.matrix.kernel._matmul", source, ("float32", "none"), (("ACT", "'relu'"),),
               (Size("M", m, True), Size("K", 7, False)))  # fmt: skip


def timing(seconds):
    return Timing(seconds * 0.9, seconds, seconds * 1.1, 20)


def trial(n, seconds=1e-3, **rest):
    return Trial({"BLOCK": n, "ORDER": (1, 0), "num_warps": 4}, timing=timing(seconds), **rest)


def entry(*trials, **rest):
    return Entry(rest.pop("key", key()), list(trials), **rest)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path))
    storing.forget_warnings()
    yield Store()
    storing.forget_warnings()


def files_of(store):
    return sorted(each.name for each in store.folder(ENVIRONMENT).iterdir())


def test_what_is_saved_comes_back(store, tmp_path):
    assert store.load(ENVIRONMENT, key()) is None
    assert not list(tmp_path.iterdir())  # looking makes nothing
    whole = entry(
        trial(16, final=timing(2e-3), resources=Resources(40, 0, 4096), error=0.25),
        trial(32).failed(CRASH, "the worker died"),
        replace(trial(64), error=float("inf")),
        finished="quick",
        problem={"kind": "op", "op": "matmul"},
        work={"flops": 5, "roofline": 1e-6},
    )
    assert store.save(ENVIRONMENT, whole) == whole
    assert Store().load(ENVIRONMENT, key()) == whole
    assert Store(tmp_path / "autotune").entries(ENVIRONMENT) == [whole]
    assert store.load(ENVIRONMENT, key(m=512)) is None
    assert store.load(replace(ENVIRONMENT, triton="0.0"), key()) is None
    assert files_of(store) == [f"_matmul-{key().digest}.json", MANIFEST]
    assert store.environments() == [(ENVIRONMENT, tmp_path / "autotune" / ENVIRONMENT.folder)]


def test_files_are_for_people_too(store):
    store.save(ENVIRONMENT, entry(trial(16), trial(32)))
    lines = store.path(ENVIRONMENT, key()).read_text().splitlines()
    assert sum('"BLOCK": 32' in line for line in lines) == 1 and max(map(len, lines)) < 400
    manifest = json.loads((store.folder(ENVIRONMENT) / MANIFEST).read_text())
    assert manifest["format"] == 1 and manifest["written_by"].startswith("tritorch ")
    assert manifest["environment"]["device"] == "interpreter"


def test_saving_adds_to_what_is_there(store):
    store.save(ENVIRONMENT, entry(trial(16, 3e-3), trial(32, 2e-3), trial(64), finished="quick", work={"flops": 1}))
    store.save(ENVIRONMENT, entry(trial(8), trial(16, 1e-3, final=timing(4e-3)), trial(64).failed(CRASH, "gone")))
    store.save(ENVIRONMENT, entry(trial(16, 5e-3), trial(64, 1e-9)))  # neither a finals' timing nor a failure
    found = store.load(ENVIRONMENT, key())
    assert [each.config["BLOCK"] for each in found.trials] == [16, 32, 64, 8]  # those first that were made first
    assert found.find(trial(16).config).final == timing(4e-3)
    assert found.find(trial(64).config).cause == "gone"
    assert (found.finished, found.work) == ("quick", {"flops": 1})
    store.save(ENVIRONMENT, entry(finished="full", space={"BLOCK": [8, 16]}))
    store.save(ENVIRONMENT, entry(finished="quick", space={"BLOCK": [8]}))
    found = store.load(ENVIRONMENT, key())
    assert (found.finished, found.space) == ("full", {"BLOCK": [8, 16]})  # what the larger effort has searched


def test_removing(store):
    store.save(ENVIRONMENT, entry(trial(16)))
    store.save(ENVIRONMENT, entry(trial(16), key=key(m=512)))
    assert store.remove(ENVIRONMENT, key()) == 1
    assert store.load(ENVIRONMENT, key()) is None and store.load(ENVIRONMENT, key(m=512)) is not None
    assert store.remove(ENVIRONMENT, key()) == 0
    assert store.remove(ENVIRONMENT) == 1
    assert not store.folder(ENVIRONMENT).exists() and store.environments() == []


def test_saving_each_of_many_trials_is_cheap(store, monkeypatch):
    read = []
    monkeypatch.setattr(storing, "parse_json", lambda data: read.append(data) or json.loads(data))
    mine = entry()
    for n in range(60):
        mine.put(trial(n))
        store.save(ENVIRONMENT, mine)
    assert len(read) == 0  # what this store wrote last it need not read
    assert len(Store().load(ENVIRONMENT, key()).trials) == 60


BROKEN = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not JSON": lambda text: "BLOCK=16",
    "binary": lambda text: bytes(range(256)),
    "a list": lambda text: "[1, 2]",
    "deep": lambda text: "[" * 100_000,
    "not a number": lambda text: text.replace('"p50": 0.001', '"p50": NaN'),
    "a negative time": lambda text: text.replace('"p50": 0.001', '"p50": -0.001'),
    "a text for a number": lambda text: text.replace('"p50": 0.001', '"p50": "0.001"'),
    "a state of tomorrow": lambda text: text.replace('"state": "ok"', '"state": "fine"'),
    "a list for a config": lambda text: text.replace('{"BLOCK": 16, "ORDER": [1, 0], "num_warps": 4}', "[16]"),
    "another key": lambda text: text.replace("[256, true]", "[512, true]"),
    "another format": lambda text: text.replace('"format": 1', '"format": 2'),
    "no trials": lambda text: text.replace('"trials"', '"tries"'),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_corrupt_entry_is_a_miss_with_one_warning(store, how):
    """Fault 33."""
    path = store.path(ENVIRONMENT, key())
    store.save(ENVIRONMENT, entry(trial(16)))
    broken = BROKEN[how](path.read_text())
    path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    with pytest.warns(RuntimeWarning) as warned:
        assert Store().load(ENVIRONMENT, key()) is None
        assert Store().load(ENVIRONMENT, key()) is None
        assert store.entries(ENVIRONMENT) == []
    assert len(warned) == 1 and str(path) in str(warned[0].message)
    store.save(ENVIRONMENT, entry(trial(32)))
    assert [each.config["BLOCK"] for each in Store().load(ENVIRONMENT, key()).trials] == [32]


def test_a_huge_entry_is_a_miss(store, monkeypatch):
    store.save(ENVIRONMENT, entry(trial(16)))
    monkeypatch.setattr(storing, "LARGEST", 100)
    with pytest.warns(RuntimeWarning, match="more than"):
        assert store.load(ENVIRONMENT, key()) is None


def test_a_broken_manifest_is_written_anew(store):
    store.save(ENVIRONMENT, entry(trial(16)))
    (store.folder(ENVIRONMENT) / MANIFEST).write_text('{"environment": {"device": 3}}')
    with pytest.warns(RuntimeWarning, match="manifest"):
        assert store.environments() == []
    storing.forget_warnings()
    store.save(ENVIRONMENT, entry(trial(32)))
    assert [each for each, _ in store.environments()] == [ENVIRONMENT]


@pytest.mark.parametrize("what", ["a file in the way", "read-only", "full", "absent"])
def test_without_a_folder_to_write_it_is_kept_in_memory(store, monkeypatch, tmp_path, what):
    """Fault 35: one warning, and everything works until the process ends."""
    if what == "a file in the way":
        (tmp_path / "autotune").write_text("")
    elif what == "absent":
        monkeypatch.setenv("TRITORCH_CACHE_DIR", "/proc/no-such-folder")
        store = Store()
    else:
        store.save(ENVIRONMENT, entry(trial(8)))
        number = errno.EROFS if what == "read-only" else errno.ENOSPC
        failing = "mkstemp" if what == "read-only" else "fsync"

        def fail(*args, **rest):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(files.tempfile if what == "read-only" else os, failing, fail)
    with pytest.warns(RuntimeWarning, match="cannot be written") as warned:
        store.save(ENVIRONMENT, entry(trial(16)))
        Store().save(ENVIRONMENT, entry(trial(32)))
        Store().save(ENVIRONMENT, entry(trial(8), key=key(m=512)))
    assert len(warned) == 1 and "TRITORCH_CACHE_DIR" in str(warned[0].message)
    before = [8] if what in ("read-only", "full") else []
    assert [each.config["BLOCK"] for each in Store().load(ENVIRONMENT, key()).trials] == [*before, 16, 32]
    assert len(Store().entries(ENVIRONMENT)) == 2
    if what in ("read-only", "full"):
        assert files_of(store) == [f"_matmul-{key().digest}.json", MANIFEST]
        monkeypatch.undo()  # there is room again
        Store(store.root).save(ENVIRONMENT, entry(trial(64)))
        assert len(json.loads(store.path(ENVIRONMENT, key()).read_text())["trials"]) == 4


def test_without_a_home_it_is_kept_in_memory(monkeypatch):
    """As in a container whose user the system does not know."""

    def fail():
        raise RuntimeError("Could not determine home directory.")

    for name in ("TRITORCH_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(files.Path, "home", fail)
    storing.forget_warnings()
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        Store().save(ENVIRONMENT, entry(trial(16)))
    assert Store().load(ENVIRONMENT, key()) == entry(trial(16))
    assert Store().environments() == []
    storing.forget_warnings()


def test_what_dead_writers_left_is_ignored_and_cleaned_up(store):
    store.save(ENVIRONMENT, entry(trial(16)))
    folder = store.folder(ENVIRONMENT)
    old, new, other = folder / "._matmul-1.json.a.tmp", folder / "._matmul-1.json.b.tmp", folder / "notes.txt"
    for each in (old, new, other):
        each.write_text("{")
    os.utime(old, (time.time() - 2 * storing._LEFT_OVER,) * 2)
    assert len(store.entries(ENVIRONMENT)) == 1
    storing.forget_warnings()  # as in a new process
    Store().save(ENVIRONMENT, entry(trial(32)))
    assert not old.exists() and new.exists() and other.exists()


def not_supported(*_):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize(
    "lacks",
    [
        (),
        (files, "_exchange", lambda: None),
        (files, "_exchange", lambda: lambda *_: errno.EINVAL),
        (os, "link", not_supported),
    ],
    ids=["nothing", "the call", "exchanges, as on network folders", "second names"],
)
def test_another_process_writes_between(store, monkeypatch, lacks):
    """The version that a save takes the place of counts, also where it is not the one that was read before."""
    if lacks:
        monkeypatch.setattr(*lacks)
    store.save(ENVIRONMENT, entry(trial(16)))
    replaced = storing.replace_file

    def late(path, data):
        monkeypatch.setattr(storing, "replace_file", replaced)
        Store().save(ENVIRONMENT, entry(trial(32)))
        return replaced(path, data)

    monkeypatch.setattr(storing, "replace_file", late)
    store.save(ENVIRONMENT, entry(trial(64)))
    assert sorted(each.config["BLOCK"] for each in Store().load(ENVIRONMENT, key()).trials) == [16, 32, 64]


WRITER = """
import sys
from test_autotune_store import ENVIRONMENT, entry, key, trial
from tritorch.autotune.store import Store
rank, saves = int(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for at in range(saves):
    Store().save(ENVIRONMENT, entry(trial(1000 * rank + at), key=key(m=256 << at % 2)))
"""


def test_eight_processes_save_at_once(store, tmp_path):
    """Fault 34: only valid entries, and no trial lost, though each save knows its own trial only."""
    saves = 10
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(__file__))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(rank), str(saves)],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for rank in range(8)
    ]
    assert all(each.stdout.readline() == "ready\n" for each in writers)
    for each in writers:
        each.stdin.write("go\n")
        each.stdin.flush()
    while any(each.poll() is None for each in writers):
        store.load(ENVIRONMENT, key())  # a file that is no entry would be a warning, which is an error here
    assert [each.communicate() and each.returncode for each in writers] == [0] * 8
    blocks = [each.config["BLOCK"] for found in store.entries(ENVIRONMENT) for each in found.trials]
    assert sorted(blocks) == [1000 * rank + at for rank in range(8) for at in range(saves)]
    assert len(files_of(store)) == 3  # two entries, the manifest, nothing left over
