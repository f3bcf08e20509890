"""Fault 38, by the command line: hostile tuning tables are refused whole, by size or by schema, and never executed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tritorch.autotune import lookup
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.op_problem import OpProblem
from tritorch.autotune.problem import configs_asked
from tritorch.autotune.store import Store
from tritorch.autotune.tables import Row, Table, parse_table, pinned_folder, write_table
from tritorch.autotune.trial import Entry, Timing, Trial
from tritorch.cli.main import FAILED, GOOD, USAGE, main
from tritorch.runtime import device as devices

ENVIRONMENT = environment_of(INTERPRETER)


def asked(size=64):
    """What a product of `size` asks a config for."""
    problem = OpProblem.sized("matmul", sizes={"M": size, "N": size, "K": size})
    return configs_asked(problem.call(devices.INTERPRETER, values=False))[0]


def other(each):
    """A config that may be used, and is not the formula's."""
    known = each.known | {"device": each.device}
    return next(config for config in each.kernel.space.configs(**known) if config != each.config)


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def good(tmp_path):
    """A table of two winners that are not the formula's."""
    path = tmp_path / "good.json"
    write_table(path, [Table(ENVIRONMENT, tuple(Row(each.key, other(each), 1e-5, 2e-5)
                                                for each in (asked(64), asked(256))))])  # fmt: skip
    return path


def import_(*files):
    return main(["autotune", "import", *map(str, files)])


def changed(good, change, name="bad.json"):
    """A copy of the good table after a change of its first entry."""
    found = json.loads(good.read_text())
    change(found["tables"][0]["entries"][0])
    path = good.with_name(name)
    path.write_text(json.dumps(found))
    return path


def test_a_good_table_is_pinned_and_launches_take_it(good, capsys):
    each = asked()
    before = lookup.find(each.kernel, each.key, each.device, each.known)
    assert import_(good) == GOOD
    assert f"2 configs for {ENVIRONMENT.folder}" in capsys.readouterr().out
    found = lookup.find(each.kernel, each.key, each.device, each.known)
    assert (before.source, found.source, found.config) == (lookup.FORMULA, lookup.PINNED, other(each))


CHANGES = {
    "a text for a number": (lambda entry: entry["config"].update(BLOCK_M="64"), "BLOCK_M is '64', which is none of"),
    "true for one": (lambda entry: entry["config"].update(num_stages=True), "num_stages is True, which is none of"),
    "a fraction": (lambda entry: entry["config"].update(BLOCK_M=64.5), "BLOCK_M is 64.5, which is none of"),
    "nothing": (lambda entry: entry["config"].update(BLOCK_M=None), "BLOCK_M of entry 0 of table 0 is None"),
    "a huge number": (lambda entry: entry["config"].update(BLOCK_M=2**70), "BLOCK_M of entry 0 of table 0"),
    "more than the space": (lambda entry: entry["config"].update(num_warps=64), "num_warps is 64, which is none of"),
    "below it": (lambda entry: entry["config"].update(BLOCK_M=-64), "BLOCK_M is -64, which is none of"),
    "an unknown knob": (lambda entry: entry["config"].update({"../../etc": 1}), "no knob named '../../etc'"),
    "a launch option": (lambda entry: entry["config"].update(extern_libs="x.so"), "no knob named 'extern_libs'"),
    "an object": (lambda entry: entry["config"].update(BLOCK_M={"$ref": "#"}), "BLOCK_M of entry 0 of table 0"),
    "lists in lists": (lambda entry: entry["config"].update(BLOCK_M=[[1]]), "BLOCK_M of entry 0 of table 0"),
    "no time at all": (lambda entry: entry.update(seconds=None), "seconds of entry 0 of table 0 is None"),
    "less than no time": (lambda entry: entry.update(seconds=-1e-6), "seconds of entry 0 of table 0 is -1e-06"),
    "a key of another shape": (lambda entry: entry["key"].update(sizes=[1, 2]), "the sizes of entry 0 of table 0"),
    "a kernel that is no text": (lambda entry: entry["key"].update(kernel={}), "the key of entry 0 of table 0"),
    "more than an entry": (lambda entry: entry.update({"__import__": "os"}), "an unknown field '__import__'"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_what_no_config_can_be_is_refused_with_its_place(good, capsys, how):
    change, words = CHANGES[how]
    bad = changed(good, change)
    assert import_(bad) == FAILED
    err = capsys.readouterr().err
    assert words in err and str(bad) in err and "nothing was imported" in err
    assert not pinned_folder().exists()


def test_every_config_outside_its_space_is_named(good, capsys):
    bad = changed(good, lambda entry: entry["config"].update(BLOCK_M=7))
    found = json.loads(bad.read_text())
    found["tables"][0]["entries"][1]["config"]["BLOCK_N"] = 9
    bad.write_text(json.dumps(found))
    assert import_(bad) == FAILED
    err = capsys.readouterr().err
    assert "entry 0 of table 0" in err and "entry 1 of table 0" in err and "2 faults" in err


def test_one_bad_file_among_good_ones_has_none_imported(good, capsys):
    assert import_(good, changed(good, lambda entry: entry["config"].update(BLOCK_M=7)), good) == FAILED
    assert not pinned_folder().exists()


TEXTS = {
    "not JSON": "tables = __import__('os').system('true')",
    "NaN": '{"format": 1, "tables": [NaN]}',
    "endless numbers": '{"format": 1, "tables": [1e999]}',
    "deep nesting": '{"format": 1, "tables": ' + '{"a":' * 100_000,
    "a list": "[]",
    "a number": "7",
    "another format": '{"format": 99, "tables": []}',
    "a half": '{"format": 1, "tables": [{"environment"',
}


@pytest.mark.parametrize("how", TEXTS)
def test_text_that_is_no_table_is_refused(tmp_path, capsys, how):
    path = tmp_path / "bad.json"
    path.write_text(TEXTS[how])
    assert import_(path) == FAILED
    assert str(path) in capsys.readouterr().err and not pinned_folder().exists()


@pytest.mark.parametrize("data", [b"\xff\xfe{\x00}\x00", b"\x80\x04\x95cos\nsystem\n.", b"", b"\x00" * 4096])
def test_bytes_that_are_no_text_are_refused(tmp_path, data):
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    assert import_(path) == FAILED and not pinned_folder().exists()


def test_a_gigabyte_is_refused_by_its_size(tmp_path):
    """In a process that may not have more memory than it began with and a quarter of a gigabyte."""
    path = tmp_path / "huge.json"
    with open(path, "wb") as file:
        file.write(b'{"format": 1, "tables": [')
        file.truncate(1 << 30)  # no blocks on the disk
    code = (
        "import resource, sys\n"
        "from tritorch.autotune.tables import TableError, parse_table\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)\n"
        "try:\n"
        "    parse_table(sys.argv[1])\n"
        "except TableError as error:\n"
        "    sys.exit('more than' not in str(error))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], timeout=60).returncode == 0
    assert import_(path) == FAILED


def test_folders_and_devices_are_no_tables(tmp_path, capsys):
    assert import_(tmp_path, "/dev/zero", tmp_path / "none.json") == FAILED
    err = capsys.readouterr().err
    assert str(tmp_path) in err and "/dev/zero" in err and "none.json" in err


def test_names_with_paths_stay_in_the_folder_of_pinned_tables(good, tmp_path):
    for name in ("..json", ".hidden.json", "a b;rm -rf $HOME.json", "x" * 200 + ".json"):
        path = tmp_path / name
        path.write_bytes(good.read_bytes())
        assert import_(path) == GOOD
    link = tmp_path / "link.json"
    link.symlink_to(good)
    assert import_(link) == GOOD
    inside = sorted(pinned_folder().iterdir())
    assert len(inside) == 5 and all(each.is_file() and not each.is_symlink() for each in inside)
    assert {each.parent for each in (tmp_path / "cache").rglob("*.json")} == {pinned_folder()}


def test_kernels_that_are_not_here_are_said_and_do_nothing(good, capsys):
    bad = changed(good, lambda entry: entry["key"].update(kernel="os.\x1b]0;owned\x07system"))
    assert import_(bad) == GOOD
    err = capsys.readouterr().err
    assert "there is no kernel os." in err and "\x1b" not in err


def test_what_is_in_the_folder_is_checked_when_a_launch_reads_it(good):
    """A file that somebody puts beside the pinned ones is passed over with a warning; its launches take the formula."""
    each = asked()
    assert import_(good) == GOOD
    pinned = pinned_folder() / "good.json"
    pinned.write_bytes(changed(good, lambda entry: entry["config"].update(BLOCK_K="sh")).read_bytes())
    lookup.forget()
    with pytest.warns(RuntimeWarning, match="BLOCK_K is 'sh'"):
        assert lookup.find(each.kernel, each.key, each.device, each.known).source == lookup.FORMULA
    pinned.write_text("{")
    lookup.forget()
    with pytest.warns(RuntimeWarning, match="no tuning table"):
        assert lookup.find(each.kernel, each.key, each.device, each.known).source == lookup.FORMULA


def test_export_and_import_carry_a_store(good, capsys, tmp_path):
    each, store = asked(), Store()
    winner = other(each)
    trials = [Trial(config, timing=Timing(s, s, s, 9)) for config, s in ((each.config, 2e-5), (winner, 1e-5))]
    store.save(ENVIRONMENT, Entry(each.key, trials))
    store.save(ENVIRONMENT, Entry(asked(256).key, [trials[0].failed("crash", "gone")]))
    assert main(["autotune", "export", "-o", "table.json"]) == GOOD
    assert "left out" in capsys.readouterr().err
    (table,) = parse_table("table.json")
    assert table == Table(ENVIRONMENT, (Row(each.key, winner, 1e-5, 2e-5),))
    assert main(["autotune", "clear", "--yes"]) == GOOD
    assert import_("table.json") == GOOD
    assert lookup.find(each.kernel, each.key, each.device, each.known).config == winner
    assert main(["autotune", "export", "-o", "table.json"]) != GOOD  # the store is empty now
    assert main(["autotune", "export", "nothing", "-o", "table.json"]) == USAGE
