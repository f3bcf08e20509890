"""`tritorch autotune trace`: what a program calls, in a file that people can read and a sweep takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import tritorch as torch
from tritorch.autograd.intercept import Interceptor
from tritorch.autotune import trace as tracing
from tritorch.autotune.command import trace as command
from tritorch.autotune.trace import Enough, Tracer, read_shapes, trace_of, write_shapes
from tritorch.cli.main import main
from tritorch.nn import functional as F
from tritorch.ops.base import TABLE

TRAINING = """
    import sys
    import torch
    import torch.nn as nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(int(sys.argv[1])):
        x, y = torch.randn(300, 32), torch.randint(0, 10, (300,))
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(sys.argv[1:], step, torch.get_default_device())
"""


def environment():
    return {**os.environ, "TRITORCH_DEVICE": "", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def call(*arguments):
    return [sys.executable, "-W", "error", "-m", "tritorch", "autotune", "trace", *arguments]


@pytest.fixture
def run(tmp_path):
    """Runs `tritorch autotune trace ARGUMENTS` in tmp_path, where script.py holds `text`."""

    def run(text, *arguments):
        (tmp_path / "script.py").write_text(textwrap.dedent(text))
        return subprocess.run(call(*arguments), cwd=tmp_path, capture_output=True, text=True, env=environment(),
                              check=False)  # fmt: skip

    return run


def counts(path):
    """How often each op was called, by its name and label."""
    return {(row.problem.name, row.problem.label): row.count for row in read_shapes(path)}


# ----------------------------------------------------------------------------------------------------------- a program


def test_a_training_script_is_traced(run, tmp_path):
    found = run(TRAINING, "--device", "cpu", "script.py", "--", "4", "-m", "--", "--device")
    assert found.returncode == 0 and found.stdout == "['4', '-m', '--', '--device'] 3 cpu\n"
    path = tmp_path / "script.shapes.json"
    whole = json.loads(path.read_text())
    assert whole["format"] == 1 and whole["device"] == "cpu" and whole["script"] == "script.py 4 -m -- --device"
    found_counts = counts(path)
    assert found_counts["linear_relu", "(300, 32) x (64, 32) x (64,)"] == 4  # two layers, one op
    assert found_counts["linear", "(300, 64) x (10, 64) x (10,)"] == 4
    assert found_counts["matmul", "(300, 64) x (300, 32) transpose_input"] == 4  # a gradient
    assert found_counts["dropout", "(300, 64)"] == 8  # its seed and offset differ; forward and backward
    assert found_counts["adam_step", "(64, 32) x (64,) x (10, 64) x 13 more"] == 4  # its step differs
    assert found_counts["random_integers", "(300,) high=10"] == 4
    rows = read_shapes(path)
    assert [row.seconds for row in rows] == sorted((row.seconds for row in rows), reverse=True)
    assert sum(row.share for row in rows) == pytest.approx(1, abs=0.1) and all(row.seconds > 0 for row in rows)
    targets = next(row for row in rows if row.problem.name == "cross_entropy").problem.arguments[1]
    assert (targets.low, targets.high) == (0, 9)
    lines = found.stderr.splitlines()
    assert "script.py 4 -m -- --device on cpu" in lines
    assert any(line.startswith("linear ") and " 4 " in line for line in lines)
    assert lines[-1].endswith("tune them with: tritorch autotune sweep --shapes script.shapes.json")


def test_a_program_that_fails_or_exits_leaves_its_file(run, tmp_path):
    found = run("import torch\ntorch.ones(3).exp()\nraise ValueError('no')", "--device", "cpu", "-o", "a", "script.py")
    assert found.returncode == 1 and "ValueError: no" in found.stderr
    assert counts(tmp_path / "a")["exp", "(3,)"] == 1
    found = run("import sys, torch\ntorch.ones(3).exp()\nsys.exit(7)", "--device", "cpu", "-o", "b", "-m", "script")
    assert found.returncode == 7 and "-m script on cpu" in found.stderr
    assert counts(tmp_path / "b")["exp", "(3,)"] == 1


def test_a_program_that_is_interrupted_leaves_its_file(tmp_path):
    (tmp_path / "script.py").write_text(
        "import time, torch\ntorch.ones(3).exp()\nprint('there', flush=True)\ntime.sleep(100)\n"
    )
    process = subprocess.Popen(call("--device", "cpu", "script.py"), cwd=tmp_path, env=environment(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))  # fmt: skip
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "KeyboardInterrupt" in told
    assert counts(tmp_path / "script.shapes.json")["exp", "(3,)"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "needs a script, or -m and a module"),
        (("--steps", "0", "script.py"), "--steps takes a number above 0, not 0"),
        (("-o", "nowhere/a.json", "script.py"), "nowhere/a.json: its folder cannot be written"),
        (("-o", ".", "script.py"), "it is a folder"),
        (("--device", "cpu", "nothing.py"), "can't open file"),
    ],
)
def test_what_cannot_be_traced_says_so(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.program.alias, "install", lambda: None)
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert main(["autotune", "trace", *arguments]) == 2
    assert words in capsys.readouterr().err and not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------------- the tracer


def test_a_trace_of_a_block():
    x = torch.ones(300, 4, requires_grad=True)
    with Tracer() as tracer:
        for factor in (0.5, 0.25, 2.5):
            (x * factor).sum().backward()
        x.T.exp()
        (x * 0.0).relu()
    seen = tracer.seen()
    muls = sorted(each.count for each in seen if each.op == "mul")
    assert muls == [1, 3]  # another factor is no other call, but that nothing is left is
    (exp,) = (each for each in seen if each.op == "exp")
    assert exp.count == 1 and exp.problem.label == "(4, 300)" and exp.problem.arguments[0].strides == (1, 4)
    (view,) = (each for each in seen if each.op == "permute")
    assert view.problem is None and "is a view and launches no kernel: there is nothing to tune" in view.why
    assert next(each.count for each in seen if each.op == "sum") == 3
    with Tracer() as tracer:
        pass
    x.exp()
    assert tracer.seen() == []


def test_every_thread_is_traced():
    x = torch.ones(5)
    ready, go = threading.Event(), threading.Event()

    def work():
        ready.set()
        go.wait()
        x.exp()

    early = threading.Thread(target=work)
    early.start()
    ready.wait()
    with Tracer() as tracer:
        go.set()
        late = threading.Thread(target=x.exp)
        late.start()
        for each in (early, late):
            each.join()
        x.exp()
    assert [(each.op, each.count) for each in tracer.seen()] == [("exp", 3)]


def test_what_the_device_gets_is_traced():
    """Inside of other interceptors, autocast and vmap, it sees what becomes of the calls."""

    class Twice(Interceptor):
        def intercept(self, cls, args):
            cls.apply(*args)
            return cls.apply(*args)

    x = torch.ones(4, 4)
    with Tracer() as tracer:
        with Twice():
            x.exp()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            TABLE["matmul"].apply(x, x, False, False)  # what has no public function that casts
            F.linear(x, x)
        torch.func.vmap(torch.sin)(x)
        x.cos()
    seen = {each.op: each for each in tracer.seen() if each.problem}
    assert seen["exp"].count == 2 and seen["cos"].count == 1
    assert seen["matmul"].problem.dtype == seen["linear"].problem.dtype == "bfloat16"
    assert seen["cast"].count >= 1 and seen["sin"].problem.label == "(4, 4)"


def test_calls_that_fail_are_not_counted():
    with Tracer() as tracer:
        with pytest.raises(RuntimeError):
            torch.ones(2, 3) @ torch.ones(2, 3)
        torch.ones(2, 3) @ torch.ones(3, 2)
    assert [each.count for each in tracer.seen() if each.op == "matmul"] == [1]


def test_it_ends_after_steps_and_seconds():
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    done = 0
    with Tracer(steps=3) as tracer:
        for _ in range(100):
            parameter.sum().backward()
            optimizer.step()
            done += 1
    assert done == 2 and next(each.count for each in tracer.seen() if each.op == "sum") == 3
    began = time.perf_counter()
    with Tracer(seconds=0.05):
        while True:
            parameter.exp()
    assert 0.05 <= time.perf_counter() - began < 5
    with pytest.raises(ValueError, match="mine"), Tracer():
        raise ValueError("mine")
    assert issubclass(Enough, BaseException) and not issubclass(Enough, Exception)


def test_different_calls_are_limited(monkeypatch):
    monkeypatch.setattr(tracing, "_MOST_CALLS", 3)
    with Tracer() as tracer:
        for size in range(1, 8):
            torch.ones(size)
    seen = tracer.seen()
    assert sum(each.count for each in seen) == 7 and {each.count for each in seen} == {1, 4}
    assert [each.why for each in seen if each.count == 4] == ["more than 3 different calls"]


def test_repeats_cost_little():
    """A call that was seen before adds a dictionary look-up and two readings of the clock."""
    x = torch.ones(8, 8)

    def best():
        times = []
        for _ in range(7):
            began = time.perf_counter()
            for _ in range(300):
                x.exp()
            times.append((time.perf_counter() - began) / 300)
        return min(times)

    plain = best()
    with Tracer():
        traced = best()
    assert traced - plain < 50e-6


# ------------------------------------------------------------------------------------------------------------ the file


def traced():
    with Tracer() as tracer:
        for size in (3000, 200, 20, 0):
            x = torch.ones(size, 30)
            for _ in range(3):
                x.exp()
            x.t()
    return tracer.seen()


def test_the_most_expensive_are_kept_and_the_rest_is_counted(tmp_path):
    seen = traced()
    trace = trace_of(seen, 2)
    assert len(trace.problems) == 2 and trace.problems[0].seconds >= trace.problems[1].seconds
    assert trace.count == 20 and trace.seconds == pytest.approx(sum(each.seconds for each in seen))
    kept = sum(each.count for each in trace.problems) + trace.left_out.count
    assert kept + sum(count for count, _ in trace.untuned.values()) == 20 and "t" in trace.untuned
    whole = trace_of(seen, 100)
    assert whole.left_out is None and whole.untuned["exp"][0] == 3  # of nothing, which launches nothing
    assert {each.problem.label for each in whole.problems} == {"(3000, 30)", "(200, 30)", "(20, 30)"}
    path = tmp_path / "a.json"
    write_shapes(path, whole, "a script", "cpu")
    read = read_shapes(path)
    assert [row.problem for row in read] == [row.problem for row in whole.problems]
    assert [row.count for row in read] == [row.count for row in whole.problems]
    assert len(path.read_text().splitlines()) < 20  # a line a problem
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_file_by_hand_needs_little(tmp_path):
    path = tmp_path / "a.json"
    sizes = {"kind": "op", "op": "matmul", "dtype": "bfloat16", "sizes": {"M": 128}}
    path.write_text(json.dumps({"format": 1, "problems": [{"problem": sizes}, {"problem": sizes, "count": 3}]}))
    rows = read_shapes(path)
    assert [(row.problem.label, row.count, row.seconds, row.share) for row in rows] == [
        ("M=128 N=4096 K=4096", 1, 0, 0.5), ("M=128 N=4096 K=4096", 3, 0, 0.5),
    ]  # fmt: skip
    with_seconds = [{"problem": sizes, "seconds": 3}, {"problem": sizes, "seconds": 1, "share": 0.2}]
    path.write_text(json.dumps({"format": 1, "problems": with_seconds}))
    assert [row.share for row in read_shapes(path)] == [0.75, 0.2]


GOOD = {"kind": "op", "op": "exp", "arguments": [{"tensor": [3], "dtype": "float32"}]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "so it is no shapes file"),
        ('{"format": 1, "problems": {}}', "so it is no shapes file"),
        ('{"format": 2, "problems": []}', "format 2; this tritorch reads 1"),
        ('{"format": 1, "problems": [3]}', "problem 1: it has no 'problem'"),
        (json.dumps({"format": 1, "problems": [{"problem": {"kind": "pickle"}}]}), "problem 1: a problem of kind"),
        (json.dumps({"format": 1, "problems": [{"problem": GOOD}, {"problem": {**GOOD, "op": 1}}]}), "problem 2: no"),
        (json.dumps({"format": 1, "problems": [{"problem": GOOD, "count": "1"}]}), "count is '1'"),
        (json.dumps({"format": 1, "problems": [{"problem": GOOD, "seconds": -1}]}), "seconds is -1"),
        ('{"format": 1, "problems": [{"problem": {}, "share": NaN}]}', "problem 1"),
        (json.dumps({"format": 1, "problems": [{"problem": GOOD}] * 10_001}), "up to 10000"),
    ],
)  # fmt: skip
def test_what_is_no_shapes_file_is_refused(text, words, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_shapes(path)
    assert str(path) in str(caught.value)
