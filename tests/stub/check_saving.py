"""What tests/gpu says of checkpoints of tensors on a GPU, on the stub."""

from __future__ import annotations

import sys
from pathlib import Path

import bridge
import pytest

from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import set_launch_hook

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

sys.path.insert(0, str(Path(__file__).parent.parent / "gpu"))

from test_saving_cuda import *  # noqa: F403


@pytest.fixture(autouse=True)
def interpreted(stub):
    before = set_launch_hook(bridge.interpret_launch)
    yield
    set_launch_hook(before)
