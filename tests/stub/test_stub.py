"""The whole of device="cuda" except the hardware, in processes whose CUDA driver is a stub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PARTS = 4  # of the check over all ops, each a process
CHECKS = [("check_ops.py", f"{part}/{PARTS}") for part in range(PARTS)]  # the longest first: these end a whole run
CHECKS += [(each.name, "0/1") for each in sorted(HERE.glob("check_*.py")) if each.name != "check_ops.py"]
ROOT = HERE.parent.parent


@pytest.mark.parametrize(("name", "part"), CHECKS)
def test_check(name, part, stub_environment):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(HERE / name)]
    environment = stub_environment | {"STUB_PART": part}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def ask(environment, text):
    """What a small program prints, run with the stub driver."""
    command = [sys.executable, "-c", "from tritorch.runtime.cuda import driver\n" + text]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (
            {"STUB_DEVICES": "0"},
            "the NVIDIA driver shows no GPU (is one there, and does CUDA_VISIBLE_DEVICES allow it?).",
        ),
        ({"STUB_VERSION": "11080"}, "the NVIDIA driver is too old: it supports CUDA 11.8, and cuda-bindings"),
    ],
)
def test_why_there_is_no_gpu(setting, reason, stub_environment):
    text = "print(driver.device_count(), driver.is_available(), driver.why_not())"
    assert ask(stub_environment | setting, text).startswith(f"0 False {reason}")


def test_counting_devices_makes_no_context_and_imports_no_bindings(stub_environment):
    text = (
        "import ctypes, os, sys\n"
        "print(driver.device_count(), ctypes.CDLL(os.environ['STUB_DRIVER']).stub_counter(b'context'),"
        " [name for name in sys.modules if name.startswith('cuda.')])"
    )
    assert ask(stub_environment | {"STUB_DEVICES": "3"}, text) == "3 0 []\n"


def test_arrays_may_outlive_everything_at_exit(stub_environment):
    """Collection at interpreter shutdown is silent, whatever is left: arrays, events, pinned memory, a cycle."""
    text = (
        "import numpy as np\n"
        "from tritorch.runtime.cuda import array, pinned, stream\n"
        "kept = [array.from_host(np.arange(5)), stream.Stream().record_event(), pinned.empty((3,), np.int8)]\n"
        "kept.append(kept)\n"
    )
    command = [sys.executable, "-X", "dev", "-c", text]
    done = subprocess.run(command, env=stub_environment, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("options", "device"), [((), "cpu"), (("--device", "cuda"), "cuda:0")])
def test_scripts_start_with_pytorchs_default_device(options, device, stub_environment, tmp_path):
    """Where a GPU is, too: a script may compare what it moved to the CPU with tensors that it never moved."""
    script = tmp_path / "script.py"
    script.write_text("import torch; print(torch.cuda.is_available(), torch.get_default_device())")
    command = [sys.executable, "-m", "tritorch", "run", *options, str(script)]
    found = subprocess.run(command, env=stub_environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == f"True {device}\n"


def test_a_second_process_compiles_nothing(stub_environment, tmp_path):
    """A step of training at the next start finds every kernel on the disk, and Triton's key of its own build."""
    environment = stub_environment | {
        "TRITORCH_CACHE_DIR": str(tmp_path / "ours"), "TRITON_CACHE_DIR": str(tmp_path / "theirs"),
    }  # fmt: skip
    text = (
        "from triton.backends.nvidia.compiler import CUDABackend\n"
        "from triton.runtime import cache\n"
        "import tritorch as torch\n"
        "from tritorch import nn\n"
        "compiled, hashed = [], []\n"
        "stages, key = CUDABackend.add_stages, cache.triton_key\n"
        "def add_stages(self, found, *rest):\n"
        "    stages(self, found, *rest)\n"
        "    cubin = found['cubin']\n"
        "    found['cubin'] = lambda *parts: compiled.append(1) or cubin(*parts)\n"
        "CUDABackend.add_stages, cache.triton_key = add_stages, lambda: hashed.append(1) or key()\n"
        "model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).to('cuda')\n"
        "optimizer = torch.optim.AdamW(model.parameters())\n"
        "labels = torch.zeros(8, dtype=torch.int64, device='cuda')\n"
        "nn.functional.cross_entropy(model(torch.ones(8, 1, 8, 8, device='cuda')), labels).backward()\n"
        "optimizer.step()\n"
        "print(len(compiled) > 0, len(hashed))\n"
    )
    assert ask(environment, text) == "True 1\n"
    assert ask(environment, text) == "False 0\n"
