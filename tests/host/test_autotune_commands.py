"""Commands that look at a store: show, clear, report, and how they show it."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from invented_store import ENVIRONMENT, OTHER, invented_entries, matmul, row_wise
from rich.console import Console

from tritorch.autotune.command.selection import matches
from tritorch.autotune.command.table import plain_lines, print_table, printable
from tritorch.autotune.figures import duration_text, figures_of, rate_text, time_text
from tritorch.autotune.store import Store
from tritorch.autotune.trial import CRASH, config_to_json
from tritorch.cli.main import FAILED, GOOD, NO_DEVICE, NOTHING_VALID, USAGE, main

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def store(own_cache):
    """A store with a dozen entries of one GPU and one of another."""
    store = Store()
    for entry in invented_entries():
        store.save(ENVIRONMENT, entry)
    store.save(OTHER, row_wise("softmax", 64, 64))
    return store


def autotune(*arguments):
    return main(["autotune", *map(str, arguments)])


# ------------------------------------------------------------------------------------------------------------ figures


def test_figures_are_read_off_the_entry():
    entry = matmul(1024, 1024, 1024)
    found = figures_of(entry)
    assert found.default is entry.trials[0] and found.best is entry.best()
    assert found.gain == pytest.approx(found.default.seconds / found.best.seconds) and found.gain >= 1
    assert found.share == pytest.approx(entry.work["roofline"] / found.best.seconds)
    assert found.failed == sum(found.failures.values()) == sum(not trial.ok for trial in entry.trials)
    assert found.title == "matmul"
    entry.problem = {"kind": "kernel", "kernel": "matmul_kernel", "file": "/elsewhere/product.py"}
    assert figures_of(entry).title == "matmul_kernel (product.py)"
    entry.trials[0] = entry.trials[0].failed(CRASH, "gone")
    assert figures_of(entry).gain is None


def test_figures_as_text():
    assert [time_text(each) for each in (1.5, 0.0123456, 2.5e-6, 3e-9)] == ["1.50 s", "12.3 ms", "2.50 us", "3.00 ns"]
    assert rate_text({"flops": 2e12, "bytes": 1e9}, 1.0) == "2.00 TFLOP/s"
    assert rate_text({"flops": 1e9, "bytes": 3e9}, 1e-3) == "3000 GB/s"
    assert rate_text({}, 1.0) == "-"
    waits = (42, 60, 90, 3540, 5400, 7200, 36 * 3600, 12 * 86400)
    texts = ["42 s", "1 min", "1.5 min", "59 min", "1.5 h", "2 h", "36 h", "12 days"]
    assert list(map(duration_text, waits)) == texts


def test_plain_tables_are_aligned_and_tame():
    lines = list(plain_lines(("name", ">time"), [("a\x1b[2J", "1"), ("bcdefg", "100")], "title"))
    assert lines[0] == "title" and len({len(line) for line in lines[1:]}) == 1
    assert "\x1b" not in "".join(lines)
    assert printable("a\nb\x9b1") == "a\nb\N{REPLACEMENT CHARACTER}1"


@pytest.mark.parametrize("width", [40, 200])
def test_tables_fit_a_terminal(width):
    console = Console(force_terminal=True, width=width, file=io.StringIO())
    rows = [("matmul", "M=4096 N=4096", "1.50 ms", "BLOCK_M=128 BLOCK_N=64 num_warps=4 num_stages=3\x1b[2J")]
    print_table(("op", "sizes", ">time", "config"), rows, "a title", console)
    lines = re.sub("\x1b\\[[0-9;]*m", "", console.file.getvalue()).splitlines()
    assert max(map(len, lines)) <= width and "\x1b" not in "".join(lines)
    text = " ".join("".join(lines).split())
    assert all(word in text for row in rows for each in row for word in each.replace("\x1b[2J", "").split())
    assert any("matmul" in line and "1.50 ms" in line for line in lines)


# --------------------------------------------------------------------------------------------------------------- show


def test_show_lists_environments_and_entries(store, capsys):
    assert autotune("show") == GOOD
    out = capsys.readouterr().out
    assert ENVIRONMENT.folder in out and OTHER.folder in out and "driver 575.57.08" in out
    assert len(re.findall("^matmul ", out, re.M)) == 5 and len(re.findall("^softmax ", out, re.M)) == 4
    entry = matmul(4096, 4096, 4096)
    line = next(line for line in out.splitlines() if entry.key.digest[:8] in line)
    found = figures_of(entry)
    for text in (
        time_text(found.seconds),
        f"{found.gain:.2f}x",
        "TFLOP/s",
        "full",
        f"{found.failures['resources']} reso",
    ):
        assert text in line
    assert all(f"{name}={value}" in line for name, value in found.best.config.items())


def test_show_of_one_entry_shows_its_trials(store, capsys):
    entry = row_wise("softmax", 128, 65536)
    assert autotune("show", entry.key.digest[:6]) == GOOD
    out = capsys.readouterr().out
    assert out.count("num_warps=") == len(entry.trials) + 1
    assert re.search(r"\bbest\b", out) and "columns <=65536 of 16" in out


def test_show_json_holds_what_the_store_holds(store, capsys):
    assert autotune("show", "matmul", "--json", "--all-trials", "--environment", "h100") == GOOD
    (part,) = json.loads(capsys.readouterr().out)["environments"]
    assert part["folder"] == ENVIRONMENT.folder and part["environment"]["capability"] == 90
    by_digest = {each["digest"]: each for each in part["entries"]}
    assert len(by_digest) == 5
    for entry in store.entries(ENVIRONMENT):
        if matches(entry, "matmul"):
            found = by_digest[entry.key.digest]
            assert found["best"] == config_to_json(entry.best().config) and found["seconds"] == entry.best().seconds
            assert found["all_trials"] == [each.to_json() for each in entry.trials]
            assert sum(found["trials"].values()) == len(entry.trials)


def put(path, value):
    """A change of an entry's JSON: a value at a path of names and positions."""

    def change(found):
        *steps, last = path
        for step in steps:
            found = found[step]
        found[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        put(("work", "flops"), "many"),
        put(("work", "bytes"), -1),
        put(("work", "roofline"), 10**400),
        put(("trials", 0, "timing", "repeats"), "x"),
        put(("trials", 0, "timing", "p50"), "1e-5"),
        put(("trials", 0, "resources", "registers"), []),
        put(("trials", 0, "config"), []),
        put(("key", "arrays"), [1]),
        put(("problem",), 3),
    ],
)
def test_an_entry_of_nonsense_is_left_out_with_a_warning(store, own_cache, capsys, change):
    """Fault 33."""
    path = store.path(OTHER, row_wise("softmax", 64, 64).key)
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.warns(RuntimeWarning, match="is no entry and is not used"):
        assert autotune("show") == autotune("report", "-o", "r.html") == autotune("export", "-o", "t.json") == GOOD
    out = capsys.readouterr().out
    assert ENVIRONMENT.folder in out and len(re.findall("^softmax ", out, re.M)) == 3


@pytest.mark.parametrize("problem", [{"kind": "op", "op": ["softmax"]}, {"kind": [], "op": "x\x1b[2J"}, {"kernel": {}}])
def test_a_problem_of_nonsense_is_named_by_its_kernel(own_cache, capsys, problem):
    entry = replace(row_wise("softmax", 64, 64), problem=problem)
    Store().save(ENVIRONMENT, entry)
    assert autotune("show", "_softmax") == autotune("report", "-o", "r.html") == GOOD
    out = capsys.readouterr().out
    assert "rows<=64" in out and "\x1b" not in out


def test_show_of_nothing(capsys):
    assert autotune("show") == GOOD
    assert "tritorch autotune sweep" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("softmx",), USAGE, "did you mean softmax"),
        (("--environment", "h200"), USAGE, "there are NVIDIA-A100"),
        (("--device", "quantum"), NO_DEVICE, "quantum"),
        (("--device", "cpu"), NO_DEVICE, "have no configs"),
    ],
)
def test_what_is_not_there_is_named(store, capsys, arguments, code, words):
    assert autotune("show", *arguments) == code
    assert words in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- clear


def entries(store):
    return [entry for environment, _ in store.environments() for entry in store.entries(environment)]


def test_clear_asks_and_needs_somebody_to_ask(store, capsys, monkeypatch):
    assert autotune("clear", "softmax") == USAGE
    assert "--yes" in capsys.readouterr().err and len(entries(store)) == 13
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert autotune("clear", "softmax") == GOOD and len(entries(store)) == 13
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert autotune("clear", "softmax") == GOOD and len(entries(store)) == 9
    assert "removed 4 entries" in capsys.readouterr().out


def test_clear_of_an_environment_takes_its_folder_and_what_cannot_be_read(store, own_cache):
    (own_cache / OTHER.folder / "bad-0123.json").write_text("{")
    with pytest.warns(RuntimeWarning, match="is no entry"):
        assert autotune("clear", "--environment", "A100", "--yes") == GOOD
    assert [environment for environment, _ in store.environments()] == [ENVIRONMENT]
    assert not (own_cache / OTHER.folder).exists()


def test_clear_of_nothing(capsys):
    assert autotune("clear", "--yes") == GOOD
    assert "nothing to remove" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------- report


def test_report_writes_one_environment(store, tmp_path, capsys):
    assert autotune("report", "-o", tmp_path / "r.html") == GOOD
    out = capsys.readouterr().out
    assert f"12 entries of {ENVIRONMENT.folder}" in out and OTHER.folder in out
    assert "<h1>NVIDIA H100" in (tmp_path / "r.html").read_text()
    assert autotune("report", "-o", tmp_path / "r.html", "--environment", "A100") == GOOD
    assert "<h1>NVIDIA A100" in (tmp_path / "r.html").read_text()


def test_report_of_nothing_and_to_nowhere(store, tmp_path, capsys):
    assert autotune("report", "-o", tmp_path / "no" / "r.html") == FAILED
    assert "cannot be written" in capsys.readouterr().err
    assert autotune("clear", "-y") == GOOD
    assert autotune("report") == NOTHING_VALID


def test_without_triton_commands_say_so_and_nothing_counts_as_stale(store, capsys, monkeypatch):
    monkeypatch.setattr("tritorch.autotune.command.selection.triton_missing", lambda: "Triton is not installed")
    for arguments in (("clear", "--stale", "--yes"), ("verify",), ("why", "matmul", "--device", "interpreter"),
                      ("sweep", "matmul", "--device", "interpreter"), ("import", "x.json"),
                      ("check", "matmul", "--require-hit", "--device", "interpreter")):  # fmt: skip
        assert autotune(*arguments) == NO_DEVICE
        assert "Triton is not installed" in capsys.readouterr().err
    assert autotune("show") == autotune("report") == GOOD and len(store.entries(ENVIRONMENT)) > 1


def test_a_setting_that_means_nothing_is_named(capsys, monkeypatch):
    monkeypatch.setenv("TRITORCH_AUTOTUNE", "sometimes")
    assert autotune("show") == USAGE
    assert "TRITORCH_AUTOTUNE is 'sometimes'; it takes 0" in capsys.readouterr().err
