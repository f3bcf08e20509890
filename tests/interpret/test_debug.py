"""TRITORCH_DEBUG=1: an assertion in a kernel stops it; else there is none."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import numpy as np
from tritorch.runtime import tl
from tritorch.runtime.kernel import Kernel

@Kernel
def read(x, at, out, SIZE: tl.constexpr):
    place = tl.load(at + tl.arange(0, 4))
    valid = place < SIZE
    tl.device_assert(valid, "index out of bounds", mask=place != 5)
    tl.store(out + tl.arange(0, 4), tl.load(x + place, mask=valid, other=0))

out = np.ones(4)
read[(1,)](np.arange(3.0) + 1, np.array(AT), out, SIZE=3)
print(out.tolist())
"""


def run(tmp_path, at, debug):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.replace("AT", str(at)))
    environment = {**os.environ, "TRITORCH_DEBUG": debug}
    return subprocess.run([sys.executable, path], capture_output=True, text=True, check=False, env=environment)


def test_an_assertion_stops_a_kernel_when_debugging(tmp_path):
    found = run(tmp_path, [0, 1, 2, 3], "1")
    assert found.returncode != 0
    assert "kernel read" in found.stderr and "index out of bounds" in found.stderr


def test_what_holds_or_is_masked_passes(tmp_path):
    assert run(tmp_path, [0, 1, 2, 5], "1").stdout == "[1.0, 2.0, 3.0, 0.0]\n"


def test_without_debugging_nothing_is_checked(tmp_path):
    assert run(tmp_path, [0, 1, 2, 3], "0").stdout == "[1.0, 2.0, 3.0, 0.0]\n"
