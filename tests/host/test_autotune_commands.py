"""Commands that look at a store: show, why, verify, export, import, clear, report."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace

import pytest
from invented_store import ENVIRONMENT, invented_entries, matmul, row_wise
from rich.console import Console

from tritorch.autotune import lookup
from tritorch.autotune.bench import Bench
from tritorch.autotune.command.problems import sizes_of
from tritorch.autotune.command.selection import matches
from tritorch.autotune.command.table import plain_lines, print_table, printable
from tritorch.autotune.command.verify import BAD, RIGHT, SKIPPED, verified
from tritorch.autotune.device import INTERPRETER, environment_of
from tritorch.autotune.figures import figures_of, rate_text, time_text
from tritorch.autotune.op_problem import OpCall, OpProblem
from tritorch.autotune.problem import configs_asked, describe
from tritorch.autotune.store import Store, forget_warnings
from tritorch.autotune.trial import CRASH, Entry, Timing, Trial, config_to_json, show_config
from tritorch.autotune.tunable import pretending
from tritorch.cli.main import FAILED, GOOD, NO_DEVICE, NOTHING_VALID, USAGE, main
from tritorch.runtime import device as devices

OTHER = replace(ENVIRONMENT, device="NVIDIA A100-SXM4-80GB", capability=80, sms=108)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("TRITORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    forget_warnings()
    lookup.forget()
    yield tmp_path / "cache" / "autotune"
    forget_warnings()
    lookup.forget()


@pytest.fixture
def store(cache):
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
    entry.trials[0] = entry.trials[0].failed(CRASH, "gone")
    assert figures_of(entry).gain is None


def test_figures_as_text():
    assert [time_text(each) for each in (1.5, 0.0123456, 2.5e-6, 3e-9)] == ["1.50 s", "12.3 ms", "2.50 us", "3.00 ns"]
    assert rate_text({"flops": 2e12, "bytes": 1e9}, 1.0) == "2.00 TFLOP/s"
    assert rate_text({"flops": 1e9, "bytes": 3e9}, 1e-3) == "3000 GB/s"
    assert rate_text({}, 1.0) == "-"


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
def test_an_entry_of_nonsense_is_left_out_with_a_warning(store, cache, capsys, change):
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
def test_a_problem_of_nonsense_is_named_by_its_kernel(cache, capsys, problem):
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
        (("--device", "cpu"), USAGE, "have no configs"),
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


def test_clear_of_an_environment_takes_its_folder_and_what_cannot_be_read(store, cache):
    (cache / OTHER.folder / "bad-0123.json").write_text("{")
    with pytest.warns(RuntimeWarning, match="is no entry"):
        assert autotune("clear", "--environment", "A100", "--yes") == GOOD
    assert [environment for environment, _ in store.environments()] == [ENVIRONMENT]
    assert not (cache / OTHER.folder).exists()


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


# --------------------------------------------------------------------------------------------------------- why, verify

HERE = environment_of(INTERPRETER)
SHAPE = "M=32,N=32,K=32"


def asked(shape=SHAPE, device=INTERPRETER):
    """What a product of sizes asks a config for, and its problem."""
    problem = OpProblem.sized("matmul", sizes=sizes_of(shape))
    with pretending(device):
        return configs_asked(problem.call(devices.INTERPRETER, values=False))[0], problem


def tuned(*configs, shape=SHAPE):
    """An entry of that product whose trials get slower from one to the next."""
    each, problem = asked(shape)
    times = [1e-5 * (1 + at) for at in range(len(configs))]
    trials = [Trial(config, timing=Timing(s, s, s, 9)) for config, s in zip(configs, times, strict=True)]
    return Entry(each.key, trials, "quick", describe(problem), {"flops": 65536, "bytes": 12288, "roofline": 1e-6})


def allowed(number):
    """So many configs that the space allows, none of them the formula's."""
    each, _ = asked()
    found = each.kernel.space.configs(device=each.device, **each.known)
    return list(itertools.islice((config for config in found if config != each.config), number))


def why(*arguments):
    return autotune("why", "matmul", "--device", "interpreter", *arguments)


def test_why_says_where_a_config_is_from(capsys):
    (config,) = allowed(1)
    Store().save(HERE, tuned(config))
    assert why("--shape", SHAPE) == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[0] == "hit" and "cache" in line and show_config(config) in line
    assert autotune("export", "-o", "t.json") == autotune("import", "t.json") == GOOD
    capsys.readouterr()
    assert why("--shape", SHAPE) == GOOD
    assert "pinned table" in capsys.readouterr().out


def test_why_explains_a_miss_in_one_line(capsys):
    assert why("--shape", SHAPE) == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[0] == "miss" and "nothing is known" in line and show_config(asked()[0].config) in line
    entry = tuned(*allowed(1))
    Store().save(HERE, entry)
    assert why("--shape", "M=32,N=512,K=32") == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert f"entry {entry.key.digest[:8]} differs in columns (<=512 of 16 here, <=32 of 16 there);" in line
    assert why("--shape", SHAPE, "--dtype", "float16") == GOOD
    assert "array 0 (float16 here, float32 there)" in capsys.readouterr().out


def test_why_names_the_nearest_entries_first(capsys):
    for shape in ("M=512,N=32,K=32", "M=32,N=64,K=32", "M=4096,N=4096,K=4096"):
        Store().save(HERE, tuned(*allowed(1), shape=shape))
    assert why("--shape", SHAPE) == GOOD
    first, *more = capsys.readouterr().out.splitlines()[1:]
    assert "columns (<=32 of 16 here, <=64 of 16 there);" in first and len(more) == 2
    assert "rows (<=32 of 16 here, <=512 of 16 there)" in more[0] and "4096" in more[1]
    Store().save(replace(HERE, triton="3.5.0"), tuned(*allowed(1)))  # the very key, but every config is in doubt
    assert why("--shape", SHAPE) == GOOD
    assert "triton" not in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize(
    ("field", "there"), [("triton", "3.5.0"), ("driver", "470.1"), ("flags", "debug"), ("device", "NVIDIA H100")]
)
def test_entries_of_another_environment_are_not_used_and_why_says_so(capsys, field, there):
    """Fault 36."""
    Store().save(replace(HERE, **{field: there}), tuned(*allowed(1)))
    assert why("--shape", SHAPE) == GOOD
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.split()[0] == "miss" and f"differs in {field} ({getattr(HERE, field)} here, {there} there);" in line


def test_entries_of_another_source_are_not_used_are_explained_and_are_stale(capsys):
    """Fault 36."""
    entry = tuned(*allowed(1))
    old = replace(entry, key=replace(entry.key, source="0" * 12))
    Store().save(HERE, old)
    assert why("--shape", SHAPE) == GOOD
    assert f"differs in source ({entry.key.source} here, {'0' * 12} there)" in capsys.readouterr().out
    Store().save(HERE, entry)
    Store().save(replace(HERE, triton="3.5.0"), entry)
    Store().save(OTHER, row_wise("softmax", 64, 64))  # of a GPU that is not here: kept, but for its kernel's source
    Store().save(OTHER, replace(tuned(*allowed(1)), key=replace(entry.key, kernel="somebodys.kernel")))
    assert autotune("clear", "--stale", "--yes") == GOOD
    left = {environment.folder: [each.key for each in Store().entries(environment)] for environment in (HERE, OTHER)}
    assert left == {HERE.folder: [entry.key], OTHER.folder: [replace(entry.key, kernel="somebodys.kernel")]}
    assert [environment for environment, _ in Store().environments()] == [OTHER, HERE]


def never(BLOCK_M):
    """A condition that no config meets."""
    return False


def test_why_of_what_is_known_and_not_taken(capsys, monkeypatch):
    each, _ = asked()
    Store().save(HERE, Entry(each.key, [Trial(each.config).failed(CRASH, "gone")]))
    assert why("--shape", SHAPE) == GOOD
    assert "has no config that works" in capsys.readouterr().out
    Store().save(HERE, tuned(each.config | {"BLOCK_M": 7}))
    lookup.forget()
    assert why("--shape", SHAPE) == GOOD
    assert "BLOCK_M is 7, which is none of" in capsys.readouterr().out
    monkeypatch.setattr(each.kernel.space, "conditions", [(never, ("BLOCK_M",))])
    assert autotune("clear", "--yes") == GOOD
    Store().save(HERE, tuned(each.config))
    assert why("--shape", SHAPE) == GOOD
    assert "its space does not allow for these sizes (never)" in capsys.readouterr().out
    monkeypatch.setenv("TRITORCH_AUTOTUNE", "0")
    assert why("--shape", SHAPE) == GOOD
    assert "TRITORCH_AUTOTUNE=0" in capsys.readouterr().out


def test_why_of_the_wrong_question(capsys):
    assert autotune("why", "matmull", "--device", "interpreter") == USAGE
    assert "did you mean matmul" in capsys.readouterr().err
    assert autotune("why", "matmul", "--device", "cpu") == USAGE
    assert autotune("why", "--device", "interpreter") == USAGE


def test_verify_marks_what_does_not_run_and_goes_on_to_the_next(capsys):
    first, second = allowed(2)
    broken = first | {"BLOCK_M": 24}  # no power of two
    Store().save(HERE, tuned(broken, second))
    assert autotune("verify") == FAILED
    wrong, right, closing = capsys.readouterr().out.splitlines()
    assert wrong.startswith("wrong") and "BLOCK_M=24" in wrong
    assert right.startswith("right") and show_config(second) in right
    assert closing == "1 right, 1 wrong, 0 not checked"
    (entry,) = Store().entries(HERE)
    assert [trial.ok for trial in entry.trials] == [False, True] and entry.trials[0].cause
    assert lookup.find(*asked()[0][:4]).config == second


class InThisProcess:
    """A Worker that is none."""

    def bench(self, problem):
        return Bench(problem, devices.INTERPRETER)


def test_verify_marks_wrong_numbers(monkeypatch):
    configs, store = allowed(3), Store()
    store.save(HERE, tuned(*configs))
    tried = []

    def compare(call, results):
        tried.append(results)
        return (3.5, "largest difference at [0, 1]") if len(tried) == 2 else (0.5, "")

    monkeypatch.setattr(OpCall, "compare", compare)
    (entry,) = store.entries(HERE)
    found = list(verified(InThisProcess(), store, HERE, entry, every=True))
    assert [state for state, _ in found] == [RIGHT, BAD, RIGHT]
    assert "largest difference at [0, 1]" in found[1][1]
    assert [trial.state for trial in store.entries(HERE)[0].trials] == ["ok", "wrong", "ok"]


def test_verify_says_what_it_cannot_check():
    store, (config,) = Store(), allowed(1)
    entry = tuned(config)
    for problem in ({}, {"kind": []}, {"kind": "op", "op": "none"}, {"kind": "kernel", "file": "/x.py", "kernel": "k"}):
        ((state, line),) = verified(InThisProcess(), store, HERE, replace(entry, problem=problem))
        assert state == SKIPPED and f"{entry.key.kernel[-13:]}" in line
    old = replace(entry, key=replace(entry.key, source="0" * 12))
    ((state, line),) = verified(InThisProcess(), store, HERE, old)
    assert state == SKIPPED and f"source ({'0' * 12} then, {entry.key.source} now)" in line


def test_verify_of_nothing(store):
    assert autotune("verify") == NOTHING_VALID
