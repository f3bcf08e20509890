"""Every op's samples on device="cuda": bound, packed, and interpreted at device addresses, against its reference.

Only the first launch of each kernel is compiled; that all others build is what the compile tier proves.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

import bridge
import pytest

from tritorch.ops.base import TABLE
from tritorch.runtime import compile as compiling
from tritorch.runtime.language import triton_missing
from tritorch.runtime.launcher import set_launch_hook
from tritorch.runtime.specialise import specialise
from tritorch.validation import check_op

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

first: dict = {}  # kernel -> what its first launch was compiled to
compile_values = compiling.compile_values


def compile_once(kernel, values, options, capability):
    """A kernel for these arguments, with the code and resources of its first compilation."""
    if kernel not in first:
        first[kernel] = compile_values(kernel, values, options, capability)
    signature = specialise(kernel, values)[0]
    return SimpleNamespace(
        src=SimpleNamespace(signature=signature), metadata=first[kernel].metadata, asm=first[kernel].asm
    )


@pytest.fixture(autouse=True)
def interpreted(stub, monkeypatch):
    monkeypatch.setattr(compiling, "compile_values", compile_once)
    before = set_launch_hook(bridge.interpret_launch)
    yield
    set_launch_hook(before)


part, parts = map(int, os.environ.get("STUB_PART", "0/1").split("/"))  # several processes share the ops


@pytest.mark.parametrize("name", sorted(TABLE)[part::parts])
def test_samples(name):
    wrong = [str(finding) for finding in check_op(name, "cuda") if not finding.ok]
    assert not wrong, "\n".join(wrong)
