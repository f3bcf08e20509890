"""Machines that lack something: no Triton, no GPU, no C compiler; and the environment's variables."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tritorch.runtime.cuda import driver

STEP = """
import tritorch as torch
x = torch.ones(3, 2, requires_grad=True, device={device!r})
((x @ x.t()).relu().sum()).backward()
assert x.grad.tolist() == [[6, 6]] * 3, x.grad
print("right")
"""


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_without_triton_the_cpu_works_and_kernels_say_what_is_missing():
    block = "import sys; sys.modules['triton'] = None\n"
    assert "right" in python(block + STEP.format(device="cpu")).stdout
    found = python(block + STEP.format(device="interpreter"))
    assert found.returncode != 0
    assert "RuntimeError: Triton is not" in found.stderr and "device='cpu'" in found.stderr


def test_without_cuda_core_the_cpu_works_and_cuda_says_what_is_missing():
    block = "import sys; sys.modules['cuda'] = sys.modules['cuda.core'] = None\n"
    assert "right" in python(block + STEP.format(device="cpu")).stdout
    found = python(block + "import tritorch; tritorch.ones(1, device='cuda')")
    assert "RuntimeError" in found.stderr.splitlines()[-1]


def test_without_a_c_compiler_kernels_run(tmp_path):
    found = python(STEP.format(device="interpreter"), PATH=str(tmp_path), CC="/nonexistent")
    assert "right" in found.stdout, found.stderr


@pytest.mark.skipif(driver.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_cuda_is_a_clear_error():
    found = python("import tritorch; tritorch.ones(1).cuda()")
    assert "RuntimeError" in found.stderr.splitlines()[-1]
    assert "Triton" not in found.stderr.splitlines()[-1]


def test_triton_interpret_in_the_environment_changes_nothing():
    assert "right" in python(STEP.format(device="interpreter"), TRITON_INTERPRET="1").stdout


def test_the_default_device_can_come_from_the_environment():
    code = "import tritorch; print(tritorch.ones(1).device.type, tritorch.get_default_device())"
    assert python(code, TRITORCH_DEVICE="interpreter").stdout.split() == ["interpreter", "interpreter"]
    found = python(code, TRITORCH_DEVICE="toaster")
    assert "toaster" in found.stderr.splitlines()[-1]


def test_numpy_warnings_are_silenced_with_and_without_its_context_variable():
    block = "import numpy._core.umath as u; del u._extobj_contextvar\n"
    code = "import tritorch as t, warnings; warnings.simplefilter('error'); print((t.ones(2) / 0).tolist())"
    assert "[inf, inf]" in python(code).stdout
    assert "[inf, inf]" in python("import numpy\n" + block + code).stdout
    after = "; import numpy; numpy.ones(2) / 0"
    assert "divide by zero" in python(code + after).stderr, "the user's own NumPy warns as before"
