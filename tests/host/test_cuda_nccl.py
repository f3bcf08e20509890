"""NCCL by its names where it is not installed: what is missing, and how it is got."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

import tritorch as torch
from tritorch.distributed import nccl_library


@pytest.fixture(autouse=True)
def anew():
    """The library is looked for again, and forgotten afterwards."""
    nccl_library.bindings.cache_clear()
    yield
    nccl_library.bindings.cache_clear()


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "nccl.bindings", None)
    with pytest.raises(RuntimeError, match=r"needs the Python package nccl4py \(pip install 'tritorch\[nccl\]'\)"):
        torch.cuda.nccl.version()
    assert not nccl_library.is_nccl_available()


def pretend(monkeypatch, version):
    """nccl4py's bindings with a function for the version."""
    package, bindings = ModuleType("nccl"), ModuleType("nccl.bindings")
    package.bindings, bindings.nccl = bindings, ModuleType("nccl.bindings.nccl")
    bindings.nccl.get_version = version
    for each in (package, bindings, bindings.nccl):
        monkeypatch.setitem(sys.modules, each.__name__, each)


def test_without_the_library(monkeypatch):
    def version():
        raise RuntimeError('Failure finding "libnccl.so.2"')

    pretend(monkeypatch, version)
    with pytest.raises(RuntimeError, match=r"libnccl.so.2, which was not found: pip install 'tritorch\[nccl\]'"):
        torch.cuda.nccl.version()
    assert not nccl_library.is_nccl_available()
    with pytest.warns(UserWarning, match="tritorch finds no NCCL"):
        assert not torch.cuda.nccl.is_available([])


def test_with_both(monkeypatch):
    pretend(monkeypatch, lambda: 22907)
    assert torch.cuda.nccl.version() == (2, 29, 7)
    assert torch.cuda.nccl.is_available([]) and not torch.cuda.nccl.is_available([torch.ones(2)])
