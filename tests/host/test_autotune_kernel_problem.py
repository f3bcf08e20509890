"""Kernels of a user's own as problems: found by file, made again from JSON, run, compared; and files nobody named."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from tritorch.autotune import user_files
from tritorch.autotune.command.sweep import remarks
from tritorch.autotune.device import INTERPRETER as interpreter
from tritorch.autotune.kernel_problem import KernelProblem
from tritorch.autotune.problem import configs_asked, describe, problem_from
from tritorch.autotune.tunable import using
from tritorch.autotune.tuner import Weighted, find_subjects
from tritorch.cli.main import USAGE, main
from tritorch.runtime import transfer
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

FILE = """
import numpy as np
from tritorch import autotune
from tritorch.autotune import cdiv, powers
from tritorch.runtime import tl
from beside import FACTOR

with open(__file__ + ".log", "a") as log:
    log.write("imported\\n")


def grid(meta):
    return (cdiv(meta["n"], meta["BLOCK"]),)


@autotune.kernel(
    space={"BLOCK": powers(64, 1024)}, key=("n",), grid=grid,
    inputs=lambda draw, n=1000: (draw(n), np.empty(n, draw.dtype), n),
    reference=lambda x: {"out": x * FACTOR}, flops=lambda n: n,
)
def scale(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) * 3, mask=i < n)


@autotune.kernel(
    space={"BLOCK": powers(64, 1024)}, key=("n",), grid=grid,
    inputs=lambda draw, n=1000: {"n": n, "x": draw(n), "y": draw(n)},
    reference=lambda x, y: {"y": x + y},
)
def add_to(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)


@autotune.kernel(
    space={"BLOCK": powers(64, 1024)}, key=("n",), grid=grid,
    inputs=lambda draw, n: (draw(n), np.zeros(n, draw.dtype), n),
    reference=lambda x, out, n: {"out": x}, tolerance=0.5,
)
def forgetful(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, mask=i < n) * 1.25, mask=i < (n if BLOCK > 64 else 1))


@autotune.kernel(space={"BLOCK": powers(64, 1024)}, key=("n",), grid=grid, inputs=lambda draw, n=8: (draw(n), n))
def unchecked(x, n, BLOCK: tl.constexpr):
    tl.store(x, n)


number = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv("TRITORCH_NAMED_KERNEL_FILES", raising=False)
    (tmp_path / "beside.py").write_text("FACTOR = 3\n")
    path = tmp_path / "scaling.py"
    path.write_text(FILE)
    yield path
    for name in [name for name in sys.modules if name == "beside" or name.startswith("_tritorch_kernels_")]:
        del sys.modules[name]


def test_a_kernel_is_found_by_file_and_made_again(file):
    problem = KernelProblem.sized(f"{file}:scale", "float16", {"n": 500})
    assert (problem.name, problem.label, problem.dtype) == ("scale", "n=500", "float16")
    text = json.dumps(describe(problem))
    assert json.loads(text) == {
        "kind": "kernel", "file": str(file), "kernel": "scale", "sizes": {"n": 500}, "dtype": "float16"
    }  # fmt: skip
    again = problem_from(json.loads(text))
    assert again.kernel is problem.kernel
    assert describe(again) == describe(problem)
    assert (file.parent / "scaling.py.log").read_text() == "imported\n"
    assert str(file.parent) not in sys.path


def asked_of(call):
    (asked,) = configs_asked(call)
    return asked


def test_it_runs_and_is_compared_with_its_reference(file):
    problem = KernelProblem.sized(f"{file}:scale")
    call = problem.call(INTERPRETER)
    assert (call.work.flops, call.work.bytes, call.work.dtype) == (1000, 8000, "float32")
    asked = asked_of(call)
    assert asked.key.kernel == "scaling.scale"
    assert asked.config == {"BLOCK": 256}
    for block in (64, 1024):
        with using(asked.kernel, asked.key, {"BLOCK": block}):
            error, _ = call.compare(call.run())
        assert error <= 1
    (out,) = call.run()
    out[7] += 1
    error, where = call.compare((out,))
    assert error > 1000
    assert where.startswith("out, largest difference at [7]")


def test_what_is_written_in_place_is_fresh_each_time(file):
    call = KernelProblem.sized(f"{file}:add_to").call(INTERPRETER)
    for _ in range(3):
        assert call.compare(call.run())[0] <= 1


def test_results_are_unset_before_each_run_even_where_the_reference_is_given_them(file, monkeypatch):
    call = KernelProblem.sized(f"{file}:forgetful", sizes={"n": 100}).call(INTERPRETER)
    monkeypatch.setattr(transfer, "empty_on_host", lambda shape, dtype: np.full(shape, np.nan, dtype))
    asked = asked_of(call)
    assert call.compare(call.run())[0] == pytest.approx(0.25 / 0.5, rel=0.2)  # of the kernel's own tolerance
    with using(asked.kernel, asked.key, {"BLOCK": 64}):
        assert call.compare(call.run())[0] == float("inf")


def test_without_values_nothing_is_drawn_but_the_same_config_is_asked_for(file):
    problem = KernelProblem.sized(f"{file}:scale")
    looked_at = problem.call(INTERPRETER, values=False)
    assert not looked_at.host["x"].any()
    assert asked_of(looked_at).key == asked_of(problem.call(INTERPRETER)).key


def test_a_description_alone_makes_no_file_be_imported(file):
    found = {"kind": "kernel", "file": str(file), "kernel": "scale", "sizes": {}, "dtype": "float32"}
    with pytest.raises(ValueError, match="not imported because a stored problem says so; to allow it, name it"):
        problem_from(found)
    with pytest.raises(ValueError, match="not imported because a stored problem says so"):
        problem_from({**found, "file": None, "module": "beside"} | {"file": "beside"})
    assert not (file.parent / "scaling.py.log").exists()
    user_files.allow(str(file))
    assert problem_from(found).name == "scale"


def test_a_process_that_this_one_starts_may_import_what_was_named_here(file):
    problem = KernelProblem.sized(f"{file}:scale", sizes={"n": 64})
    text = (
        "import json, sys; from tritorch.autotune.kernel_problem import KernelProblem\n"
        "print(KernelProblem.from_json(json.loads(sys.argv[1])).kernel.kernel_name)"
    )
    command = [sys.executable, "-c", text, json.dumps(problem.to_json())]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "scaling.scale\n"


def test_a_program_of_its_own_asks_by_the_key_of_a_sweep(file):
    with file.open("a") as more:
        more.write("\n\nif __name__ == '__main__':\n    print(scale.kernel_name, autotune.key.source_hash(scale))\n")
    said = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=True).stdout
    key = asked_of(KernelProblem.sized(f"{file}:scale").call(INTERPRETER, values=False)).key
    assert said.split() == [key.kernel, key.source]


def test_a_file_in_a_package_is_a_module_of_it(tmp_path, monkeypatch):
    package = tmp_path / "kernels_of_mine" / "inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "beside.py").write_text("FACTOR = 3\n")
    (package / "scaling.py").write_text(FILE.replace("from beside", "from .beside"))
    try:
        problem = KernelProblem.sized(f"{package}/scaling.py:scale")
        assert problem.kernel.kernel_name == "kernels_of_mine.inner.scaling.scale"
        named = KernelProblem.sized("kernels_of_mine.inner.scaling:scale")
        assert named.kernel is problem.kernel
        assert named.to_json()["module"] == "kernels_of_mine.inner.scaling"
    finally:
        for name in [name for name in sys.modules if name.startswith("kernels_of_mine")]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("nowhere.py:scale", "there is no file .*nowhere.py"),
        ("no_such_module_here:scale", "importing it failed with ModuleNotFoundError"),
        ("{file}:missing", "'missing' is nothing, .* it has scale, add_to, forgetful"),
        ("{file}:number", "'number' is a int"),
        ("{file}", "names no kernel; that takes path/to/file.py:kernel"),
        ("{file}:unchecked", "kernel unchecked has no reference="),
        ("{file}:forgetful", "inputs need a size 'n': --shape n="),
    ],
)
def test_what_cannot_be_tuned_says_why(place, text, file):
    with pytest.raises(ValueError, match=text):
        KernelProblem.sized(place.format(file=file))


def test_sizes_and_dtypes_that_are_none_are_refused(file):
    for sizes, dtype, text in (
        ({"m": 3}, "float32", "no size 'm'; its inputs take n"),
        ({"n": [3]}, "float32", "size 'n' is"),
        ({}, "float3", "no dtype named 'float3'"),
    ):
        with pytest.raises(ValueError, match=text):
            KernelProblem.sized(f"{file}:scale", dtype, sizes)


@pytest.mark.parametrize("text", ["1 / 0", "raise SystemExit(2)", "def"])
def test_a_file_that_does_not_import_says_which_and_why(text, file):
    file.write_text(text)
    with pytest.raises(ValueError, match=r"scaling.py: importing it failed with (ZeroDivision|SystemExit|SyntaxError)"):
        KernelProblem.sized(f"{file}:scale")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("(cdiv(", '(meta["absent"] + cdiv(', "KeyError: 'absent' (scaling.py, line "),
        ("def grid(meta):", "def grid(meta):\n    1 / 0", "ZeroDivisionError: division by zero (scaling.py, line 13)"),
    ],
)
def test_a_kernel_that_cannot_be_called_is_refused_with_the_line(file, capsys, old, new, words):
    file.write_text(file.read_text().replace(old, new))
    assert main(["autotune", "sweep", f"{file}:scale", "--device", "interpreter"]) == USAGE
    assert f"scale n=1000 float32 cannot be called: {words}" in capsys.readouterr().err


def test_a_reference_that_fails_and_a_default_that_is_ruled_out_are_named(file):
    kernel = KernelProblem.sized(f"{file}:scale").kernel
    problem = KernelProblem(kernel, sizes={"n": 100})
    kernel.reference = lambda x: x["absent"]
    with pytest.raises(ValueError, match=r"kernel scale: its reference failed with IndexError: .* \(.*py, line \d+\)"):
        problem.call(INTERPRETER)
    (subject,) = find_subjects([Weighted(problem)], interpreter)
    assert not list(remarks([subject]))
    subject.kernel.space.conditions.append((lambda BLOCK: False, ("BLOCK",)))
    (line,) = remarks([subject])
    assert "the default of scale n=100, BLOCK=" in line and "is ruled out by its space (<lambda>)" in line
