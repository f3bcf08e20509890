"""House rules: imports go down, files stay small, packages are listed, examples assert, no second copy."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = [*ROOT.glob("tritorch/**/*.py"), *ROOT.glob("ops/**/*.py"), *ROOT.glob("autotune/**/*.py")]
SOURCES = [*LIBRARY, *ROOT.glob("tests/**/*.py"), *ROOT.glob("examples/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]

# From the bottom up: a room imports from itself and from rooms below it.
LAYERS = ("runtime", "autotune", "ops", "autograd", "tensor", "nn")
ROOMS = {
    "runtime": "runtime", "rooms": "runtime", "autotune": "autotune", "ops": "ops", "autograd": "autograd",
    "profiler": "autograd",
    "creation": "tensor", "tensor": "tensor", "functional": "tensor", "indexing": "tensor", "printing": "tensor",
    "namespaces": "tensor", "nested": "tensor", "random": "tensor", "size": "tensor",
    # The tuner's top: problems made of ops, and the command line.
    "autotune.kernel_problem": "nn", "autotune.tuning": "nn",
    "autotune.command": "nn", "autotune.op_problem": "nn", "autotune.trace": "nn", "autotune.training": "nn",
    "autotune.arguments": "nn", "autotune.values": "nn", "autotune.comparing": "nn", "autotune.__main__": "nn",
    # Built on func, and found when asked for.
    "autograd.functional": "nn", "autograd.forward_ad": "nn",
}  # fmt: skip


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return layer_of(parts if parts[0] in ("ops", "autotune") else parts[1:])


def layer_of(parts):
    return ROOMS.get(".".join(parts[:2])) or ROOMS.get(parts[0], "nn")


def imports_of(path):
    """Every tritorch module that a file imports, and the line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path):
    if path == ROOT / "tritorch" / "__init__.py":
        return
    own = LAYERS.index(room_of(path))
    for name, line in imports_of(path):
        parts = name.split(".")
        if parts[0] == "tritorch" and len(parts) > 1:
            other = LAYERS.index(layer_of(parts[1:]))
            assert other <= own, f"{path.name}:{line} imports {name}, which is above it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_imports_a_second_copy_or_pytorch(path):
    for name, line in imports_of(path):
        root = name.split(".")[0]
        assert root not in ("ops", "autotune"), f"{path.name}:{line}: import tritorch.{name}, not {name}"
        if "benchmarks" not in path.parts and path.parent != ROOT / "tests" / "scripts":  # those are PyTorch's scripts
            assert root != "torch", f"{path.name}:{line}: tritorch needs no PyTorch"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_one_sitting_long(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 420, f"{path.relative_to(ROOT)} has {lines} lines: is there a second thing in it?"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_one_glance_long(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if any("kernel" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue  # a kernel is one piece
            long = node.end_lineno - node.lineno + 1
            assert long <= 50, f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {long} lines"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_exception_is_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            silent = all(isinstance(step, (ast.Pass, ast.Continue)) for step in node.body)
            assert not (broad and silent), f"{path.relative_to(ROOT)}:{node.lineno} swallows {ast.unparse(node)}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("ops/**/*.py")), ids=lambda path: path.name)
def test_kernel_pointers_are_described(path):
    """Each pointer argument of a kernel (the parameters before the first scalar) has a comment saying what it is."""
    lines = path.read_text().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if not isinstance(node, ast.FunctionDef):
            continue
        if not any(ast.unparse(d).startswith("kernel(") for d in node.decorator_list):
            continue
        first = node.args.args[0]
        line = lines[first.lineno - 1]
        assert "#" in line, f"{path.name}:{first.lineno}: say what {first.arg} of {node.name} is, and its shape"


def test_every_package_is_listed_for_the_build():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    places = {"ops": "tritorch.ops", "autotune": "tritorch.autotune"}
    found = set()
    for init in [
        *ROOT.glob("tritorch/**/__init__.py"),
        *ROOT.glob("ops/**/__init__.py"),
        *ROOT.glob("autotune/**/__init__.py"),
    ]:
        parts = init.parent.relative_to(ROOT).parts
        found.add(".".join((places.get(parts[0], parts[0]), *parts[1:])))
    assert found == set(settings["packages"])


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.py")), ids=lambda path: path.name)
def test_examples_have_a_main_and_assert_what_they_learned(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    assert len(text.splitlines()) <= 160


@pytest.mark.parametrize("module", ["torch", "triton", "cuda", "sklearn", "rich"])
def test_import_brings_no(module):
    code = f"import tritorch, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_marks_of_unfinished_work():
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b|xfail")
    for path in LIBRARY:
        assert not pattern.search(path.read_text()), path


def test_importing_ops_from_the_root_is_refused():
    found = subprocess.run([sys.executable, "-c", "import ops"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode != 0
    assert "import tritorch.ops" in found.stderr


def test_a_class_that_is_not_whole_is_refused():
    from tritorch.ops.base import TABLE, Op

    with pytest.raises(TypeError, match="has no reference"):
        type("Unfinished", (Op,), {"__doc__": "Nothing.", "op_name": "unfinished"})
    assert "unfinished" not in TABLE
    whole = {name: staticmethod(lambda *args: ()) for name in ("reference", "forward", "samples")}
    with pytest.raises(TypeError, match="registered twice"):
        type("Mul", (Op,), {"__doc__": "Again.", "op_name": "mul", **whole})


def test_stubs_are_fresh():
    found = subprocess.run(
        [sys.executable, "-m", "tritorch.stubs", "--check"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
