"""Every op's samples on device="cuda": bound, packed, and interpreted at device addresses, against its reference.

Only the first launch of each kernel is compiled; that all others build is what the compile tier proves.
"""

from __future__ import annotations

import os

import pytest

from tritorch.ops.base import TABLE
from tritorch.runtime.language import triton_missing
from tritorch.validation import check_op

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

part, parts = map(int, os.environ.get("STUB_PART", "0/1").split("/"))  # several processes share the ops


@pytest.mark.parametrize("name", sorted(TABLE)[part::parts])
def test_samples(name, compiled_once, interpreted):
    wrong = [str(finding) for finding in check_op(name, "cuda") if not finding.ok]
    assert not wrong, "\n".join(wrong)
