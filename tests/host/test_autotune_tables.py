"""Tables that are carried: written, read, checked, and never executed."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from tritorch.autotune import Space, choices, kernel, powers, store, tables
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.tables import Row, Table, TableError, pin, read_table, unusable, write_table
from tritorch.runtime import tl

ENVIRONMENT = environment_of(INTERPRETER)
CONFIG = {"BLOCK_M": 64, "num_warps": 4}


@kernel(space=Space(BLOCK_M=powers(16, 256), num_warps=choices(4, 8)), default=lambda device, *, rows: CONFIG)
def touch(
    x,  # nothing is read: (rows,)
    rows,
    BLOCK_M: tl.constexpr,
):
    tl.static_assert(BLOCK_M > 0)


def row(seconds=1e-3, **changes):
    return Row(touch.key_for((np.zeros(4, np.float32),), {"rows": 256}), CONFIG | changes, seconds, 2e-3)


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "table.json"
    write_table(path, [Table(ENVIRONMENT, (row(), row(2e-3))), Table(ENVIRONMENT, ())])
    return path


def test_what_is_written_is_read(table, tmp_path):
    assert read_table(table) == [Table(ENVIRONMENT, (row(), row(2e-3))), Table(ENVIRONMENT, ())]
    assert list(unusable(read_table(table))) == []
    assert sum("BLOCK_M" in line for line in table.read_text().splitlines()) == 2  # a line an entry
    write_table(tmp_path / "none.json", [])
    assert read_table(tmp_path / "none.json") == []


def test_pinning_copies_what_was_checked(table):
    kept = pin(table)
    assert kept == tables.pinned_folder() / "table.json" and read_table(kept) == read_table(table)
    table.write_text("{}")
    with pytest.raises(TableError):
        pin(table)
    assert len(read_table(kept)) == 2
    assert tables.tables_in(tables.pinned_folder()) == [kept]


def put(where, value):
    """A change of a table's JSON: the value at a path of names and positions."""

    def change(found):
        *path, last = where
        for step in path:
            found = found[step]
        if value is KeyError:
            del found[last]
        else:
            found[last] = value

    return change


ENTRY = ("tables", 0, "entries", 0)
HOSTILE = {
    "no format": (put(("format",), KeyError), "has no 'format'"),
    "a later format": (put(("format",), 2), "its format is 2"),
    "more than a table": (put(("run",), "rm"), "an unknown field 'run'"),
    "tables that are none": (put(("tables",), {}), "tables is dict, it takes a list"),
    "a table that is none": (put(("tables", 0), 3), "table 0 is int, it takes an object"),
    "no environment": (put(("tables", 0, "environment"), KeyError), "has no 'environment'"),
    "another environment": (put(("tables", 0, "environment"), {"device": "A GPU"}), "an environment has the fields"),
    "a device of numbers": (put(("tables", 0, "environment", "device"), 3), "field 'device' of an environment is 3"),
    "entries that are none": (put(("tables", 0, "entries"), "all"), "the entries of table 0 is str"),
    "an entry without a key": (put((*ENTRY, "key"), KeyError), "entry 0 of table 0 has no 'key'"),
    "code beside the config": (put((*ENTRY, "code"), "import os"), "an unknown field 'code'"),
    "a path for a kernel": (put((*ENTRY, "key", "kernel"), ["os.system"]), "is made of texts"),
    "a long text": (put((*ENTRY, "key", "source"), "x" * 5000), "is made of texts"),
    "a fact of lists": (put((*ENTRY, "key", "facts"), {"a": []}), "is made of texts"),
    "many facts": (put((*ENTRY, "key", "facts"), {str(n): "" for n in range(100)}), "has too many fields"),
    "sizes of texts": (put((*ENTRY, "key", "sizes"), {"rows": ["256", True]}), "size rows of entry 0"),
    "a negative size": (put((*ENTRY, "key", "sizes"), {"rows": [-1, True]}), "size rows of entry 0"),
    "no policy of ours": (put((*ENTRY, "key", "policy"), "now"), "the policy of entry 0"),
    "a config that is none": (put((*ENTRY, "config"), "BLOCK_M=64"), "the config of entry 0 of table 0 is str"),
    "an object for a knob": (put((*ENTRY, "config", "BLOCK_M"), {"__class__": "x"}), "it takes a number or a text"),
    "a long list for a knob": (put((*ENTRY, "config", "BLOCK_M"), [1] * 1000), "has 1000 items"),
    "a number without end": (put((*ENTRY, "config", "BLOCK_M"), 1 << 80), "it takes a number or a text"),
    "no time": (put((*ENTRY, "seconds"), 0), "seconds of entry 0 of table 0 is 0"),
    "a time of text": (put((*ENTRY, "seconds"), "1"), "it takes a time above 0"),
    "a long default": (put((*ENTRY, "default_seconds"), 1e9), "default_seconds of entry 0"),
    "a block out of range": (put((*ENTRY, "config", "BLOCK_M"), 1 << 20), "BLOCK_M is 1048576, which is none of"),
    "a block of another type": (put((*ENTRY, "config", "BLOCK_M"), 64.0), "BLOCK_M is 64.0, which is none of"),
    "a knob too many": (put((*ENTRY, "config", "SHELL"), "sh"), "no knob named 'SHELL'"),
    "a knob too few": (put((*ENTRY, "config", "BLOCK_M"), KeyError), "the config has no 'BLOCK_M'"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_table_is_refused(table, how):
    """Fault 38."""
    change, words = HOSTILE[how]
    found = json.loads(table.read_text())
    change(found)
    table.write_text(json.dumps(found))
    with pytest.raises(TableError) as refused:
        pin(table)
    assert words in str(refused.value) and str(table) in str(refused.value)
    assert not tables.pinned_folder().exists()


class Boom:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


BYTES = {
    "empty": b"",
    "a pickle": pickle.dumps(Boom()),
    "Python": b"__import__('os').system('true')",
    "deep": b'{"format": 1, "tables": ' + b"[" * 200_000,
    "not a number": b'{"format": 1, "tables": NaN}',
    "many digits": b'{"format": ' + b"1" * 10_000 + b"}",
}


@pytest.mark.parametrize("how", BYTES)
def test_bytes_that_are_no_table_are_refused(table, how):
    table.write_bytes(BYTES[how])
    with pytest.raises(TableError, match="is no tuning table"):
        read_table(table)


def test_a_huge_file_is_refused_before_it_is_read(table, monkeypatch):
    monkeypatch.setattr(store, "LARGEST", 200)
    with pytest.raises(TableError, match="more than"):
        read_table(table)
    with pytest.raises(TableError, match="No such file"):
        read_table(table.with_name("other.json"))


def test_entries_that_nobody_can_use_are_named(table):
    """A kernel that is not there, or has other code now, is reported; its config cannot be held against a space."""
    found = json.loads(table.read_text())
    entries = found["tables"][0]["entries"]
    entries += [copy.deepcopy(entries[0]) for _ in range(2)]
    entries[2]["key"]["kernel"] = "os.system"
    entries[2]["config"] = {"BLOCK_M": "anything"}
    entries[3]["key"]["source"] = "0" * 12
    table.write_text(json.dumps(found))
    reasons = [reason for _, reason in unusable(read_table(table))]
    assert len(reasons) == 2
    assert reasons[0] == "there is no kernel os.system" and "has other code now" in reasons[1]


def test_bundled_tables_are_sound():
    """Those in the package: each can be read, and its kernels and spaces are today's."""
    for path in tables.tables_in(tables.BUNDLED):
        assert list(unusable(read_table(path))) == [], path
