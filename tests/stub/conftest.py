"""Builds the stub driver, and gives the checks that run on it what they need.

`test_stub.py` starts one process for each `check_*.py`, with the stub in the place of the driver: it must be there
before anything looks for CUDA, and no other test should see its GPU.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def stub_environment(tmp_path_factory):
    """The environment of a process that finds the stub as its CUDA driver."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("the stub driver needs a C compiler (cc, gcc or clang)")
    folder = tmp_path_factory.mktemp("stub")
    library, nccl = folder / "libcuda.so.1", folder / "libnccl.so.2"
    for output, source, *more in (
        (library, "stub_driver.c", "-ldl"),
        (nccl, "stub_nccl.c", "-Wl,-soname,libnccl.so.2", "-lm"),
    ):
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(output), str(HERE / source), *more]
        subprocess.run(command, check=True, capture_output=True, text=True)
    paths = [str(library.parent), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("STUB_", "TRITORCH_", "PYTEST_"))
    }
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    paths = os.pathsep.join(filter(None, paths))
    return environment | {"LD_LIBRARY_PATH": paths, "STUB_DRIVER": str(library), "STUB_NCCL": str(nccl)}


class StubDriver:
    """The stub's own functions: counters, held streams, and failing from now on."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        self._library.stub_counter.restype = ctypes.c_long

    def count(self, name):
        """A counter: allocations, frees, copies, uploads, downloads, synchronizations, launches, and more."""
        found = self._library.stub_counter(name.encode())
        assert found >= 0, name
        return found

    def hold(self, stream, held=True):
        """Let a stream's work seem not to be done; waiting for it lets go."""
        self._library.stub_hold(ctypes.c_void_p(stream.cuda_stream), int(held))

    def fail(self, code):
        """Let every call fail with this error from now on, 0 for none."""
        self._library.stub_fail(code)


@pytest.fixture
def stub():
    """The stub driver of this process."""
    path = os.environ.get("STUB_DRIVER")
    if path is None:
        pytest.skip("runs in a process with the stub driver: pytest tests/stub/test_stub.py")
    return StubDriver(path)


@pytest.fixture
def compiled_once(stub, monkeypatch):
    """Of each kernel only the first launch is compiled, and all others get its code: what runs is interpreted."""
    from tritorch.runtime import compile as compiling
    from tritorch.runtime.specialise import specialise

    compile_values = compiling.compile_values

    def compile_once(kernel, values, options, capability):
        if kernel not in first_compilations:
            first_compilations[kernel] = compile_values(kernel, values, options, capability)
        first = first_compilations[kernel]
        signature = SimpleNamespace(signature=specialise(kernel, values)[0])
        return SimpleNamespace(src=signature, metadata=first.metadata, asm=first.asm)

    monkeypatch.setattr(compiling, "compile_values", compile_once)


first_compilations: dict = {}  # kernel -> what its first launch was compiled to


@pytest.fixture
def interpreted(stub):
    """Launches are interpreted on the stub's memory."""
    import bridge  # imports Triton, which the checks look for first

    from tritorch.runtime.launcher import set_launch_hook

    before = set_launch_hook(bridge.interpret_launch)
    yield
    set_launch_hook(before)
