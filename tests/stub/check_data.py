"""What tests/gpu says of the DataLoader beside CUDA, on the stub: how workers start, host copies, pinned batches."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parent.parent / "gpu"))

from test_data_cuda import *  # noqa: F403


@pytest.fixture(autouse=True)
def everywhere(interpreted):
    """All of them on the stub; a mark here would take the place of theirs."""
