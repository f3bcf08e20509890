"""Memory shared with PyTorch and CuPy on a GPU, where they are installed, and by DLPack with ourselves."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

import tritorch

pytestmark = pytest.mark.skipif(not tritorch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("name", ["tritorch", "torch", "cupy"])
def test_memory_is_shared_both_ways(name):
    library = importlib.import_module(name) if importlib.util.find_spec(name) else tritorch
    ours = tritorch.arange(6.0, device="cuda").view(2, 3).t()
    theirs = library.from_dlpack(ours)
    theirs += 1
    assert ours.tolist() == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    back = tritorch.from_dlpack(theirs)
    assert back.data_ptr() == ours.data_ptr() and back.stride() == ours.stride()
    same = tritorch.as_tensor(theirs)
    assert same.is_cuda and same.tolist() == ours.tolist()
