"""Why there is no GPU, in one clear sentence, on machines that lack one thing or another."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from tritorch.runtime.cuda import driver


@pytest.fixture
def unprobed(monkeypatch):
    """The driver module as before its first question."""
    monkeypatch.setattr(driver, "_found", None)
    monkeypatch.setattr(driver, "_initialised", False)
    return monkeypatch


class PretendedLibrary:
    """A driver that starts and shows `devices` GPUs."""

    def __init__(self, version=13000, status=0, devices=2):
        self.version, self.status, self.devices = version, status, devices

    def cuInit(self, flags):
        return self.status

    def cuDriverGetVersion(self, number):
        number._obj.value = self.version

    def cuDeviceGetCount(self, number):
        number._obj.value = self.devices
        return 0


def pretend(monkeypatch, library=None, packages=None):
    def load(name):
        if library is None:
            raise OSError(f"{name}: cannot open shared object file")
        return library

    def version(name):
        found = ({"cuda-core": "1.2.2", "cuda-bindings": "13.5.0"} | (packages or {})).get(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(driver.ctypes, "CDLL", load)
    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize(
    ("library", "packages", "reason"),
    [
        (None, {}, "no NVIDIA driver was found (libcuda.so.1 cannot be loaded)."),
        (PretendedLibrary(), {"cuda-core": None}, "the Python package 'cuda-core' is not installed"),
        (PretendedLibrary(), {"cuda-bindings": None}, "the Python package 'cuda-bindings' is not installed"),
        (PretendedLibrary(), {"cuda-core": "0.3.2"}, "cuda-core 0.3.2 is too old, 1.0 or newer is needed"),
        (
            PretendedLibrary(version=12040),
            {},
            "the NVIDIA driver is too old: it supports CUDA 12.4, and cuda-bindings 13.5.0",
        ),
        (PretendedLibrary(status=100), {}, "the NVIDIA driver shows no GPU"),
        (PretendedLibrary(devices=0), {}, "the NVIDIA driver shows no GPU"),
        (PretendedLibrary(status=999), {}, "the NVIDIA driver failed to start (cuInit gave error 999)"),
    ],
)
def test_why_not(library, packages, reason, unprobed):
    pretend(unprobed, library, packages)
    assert driver.why_not().startswith(reason)
    assert not driver.is_available()
    assert driver.device_count() == 0
    with pytest.raises(RuntimeError) as caught:
        driver.require(0)
    assert str(caught.value).startswith(f"device='cuda' is not available: {reason}")


def test_a_driver_with_gpus(unprobed):
    pretend(unprobed, PretendedLibrary())
    assert (driver.device_count(), driver.is_available(), driver.why_not()) == (2, True, None)
    driver.require()
    driver.require(1)
    with pytest.raises(RuntimeError, match="invalid device ordinal 2: there are 2 GPUs"):
        driver.require(2)
    driver.set_device(1)
    assert driver.current_device() == driver.index_of(None) == driver.index_of("cuda") == 1
    driver.set_device(0)


def test_after_a_fork_use_is_refused(unprobed):
    pretend(unprobed, PretendedLibrary())
    assert driver.is_available()
    unprobed.setattr(driver, "_forked", False)
    unprobed.setattr(driver, "_api", None)
    unprobed.setattr(driver, "_lock", None)
    driver._after_fork()
    assert driver.in_bad_fork()
    for use in (driver.require, driver.api, lambda: driver.activate(0)):
        with pytest.raises(RuntimeError, match="Cannot re-initialize CUDA in forked subprocess"):
            use()


def test_a_fork_before_cuda_was_used_is_fine(unprobed):
    unprobed.setattr(driver, "_forked", False)
    unprobed.setattr(driver, "_lock", None)
    driver._after_fork()
    assert not driver.in_bad_fork()


def test_importing_loads_nothing_of_cuda():
    text = (
        "import sys\n"
        "from tritorch.runtime.cuda import array, copies, driver, memory, pinned, stream\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('cuda', 'triton', 'torch')], driver._found,"
        " memory.memory_allocated(0), len(memory.memory_summary(0)) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "[] None 0 True\n"
