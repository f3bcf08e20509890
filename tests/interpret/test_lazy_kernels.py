"""Kernels import nothing before their first use, say what is missing, and survive TRITON_INTERPRET."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

LAZY = """
import os, sys
os.environ["TRITON_INTERPRET"] = "1"
import numpy as np
sys.path.insert(0, {folder!r})
import test_kernel_object as module
assert "triton" not in sys.modules
module.run_sum(np.float32)
assert "TRITON_INTERPRET" not in os.environ
module.test_compiles_alike_before_and_after_interpreting()
"""
MISSING = """
import sys
sys.modules["triton"] = None
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl

@Kernel
def kernel(x, BLOCK: tl.constexpr = 4): tl.store(x, 1)

try:
    kernel[(1,)](None)
except RuntimeError as error:
    assert "Triton is not" in str(error) and "device='cpu'" in str(error), error
else:
    raise SystemExit("launched without Triton")
"""
IMPORTED = """
import sys
from tritorch.runtime.kernel import Kernel
from tritorch.runtime.language import tl

@Kernel
def kernel(x, BLOCK: tl.constexpr = tl.constexpr(4)): tl.store(x, 1)

assert "triton" not in sys.modules and "cuda" not in sys.modules
"""


@pytest.mark.parametrize("text", [LAZY, MISSING, IMPORTED], ids=["interpret_switch", "no_triton", "nothing_imported"])
def test_in_a_fresh_process(text, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(text.replace("{folder!r}", repr(str(Path(__file__).parent))))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
