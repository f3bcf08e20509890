"""Triton's key of its own build is computed once for all processes, until a file of that build changes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tritorch.runtime.language import triton_missing
from tritorch.runtime.triton_key import state_of_files

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

SCRIPT = """
import sys
from triton.runtime import cache
computed = []
original = cache.triton_key
cache.triton_key = lambda: computed.append(1) or original()
from tritorch.runtime.triton_key import know_triton_key
know_triton_key()
know_triton_key()
print(len(computed), cache.triton_key() == original())
"""


def run(folder):
    environment = {**os.environ, "TRITORCH_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


def test_the_second_process_finds_it(tmp_path):
    assert run(tmp_path) == ["1", "True"]
    assert run(tmp_path) == ["0", "True"]
    (kept,) = (tmp_path / "triton_keys").iterdir()
    kept.write_text("not a key")
    assert run(tmp_path) == ["1", "True"]
    assert run(tmp_path) == ["0", "True"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == ["1", "True"]


@pytest.fixture
def package(tmp_path):
    for place in ("_C", "backends/nvidia", "compiler", "language", "runtime"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file.py").write_text("1")
    return tmp_path


@pytest.mark.parametrize("place", ["_C", "backends/nvidia", "compiler", "language", "runtime"])
def test_whatever_changes_is_noticed(package, place):
    states = {state_of_files(package)}
    assert states == {state_of_files(package)}
    file = package / place / "file.py"
    before = file.stat()
    file.write_text("2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as an installer may do
    states.add(state_of_files(package))
    (package / place / "more.py").write_text("1")
    states.add(state_of_files(package))
    file.unlink()
    states.add(state_of_files(package))
    assert len(states) == 4
