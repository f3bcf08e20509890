"""Every op's samples on device="cuda": compiled, packed, and interpreted at device addresses, against its reference."""

from __future__ import annotations

import bridge
import pytest

from tritorch.ops.base import TABLE
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import set_launch_hook
from tritorch.validation import check_op

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)


@pytest.fixture(autouse=True)
def interpreted(stub):
    before = set_launch_hook(bridge.interpret_launch)
    yield
    set_launch_hook(before)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_samples(name):
    wrong = [str(finding) for finding in check_op(name, "cuda") if not finding.ok]
    assert not wrong, "\n".join(wrong)
