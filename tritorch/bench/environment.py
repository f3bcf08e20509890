"""What a measurement depends on beside the code: device, driver, and versions."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import tritorch
from tritorch.autotune.device import cuda_info, environment_of
from tritorch.cli.doctor import version


def environment(device, peer=None):
    """The names that every report has; None for what there is not."""
    gpu = driver = cuda = None
    if device.is_cuda:
        from tritorch.runtime.cuda import driver as drivers

        info = cuda_info(device.index)
        gpu, driver, cuda = info.name, environment_of(info).driver, drivers.driver_version()
    return {
        "gpu": gpu,
        "driver": driver,
        "cuda": cuda,
        "triton": version("triton"),
        "torch": None if peer is None else peer.version,
        "python": platform.python_version(),
        "commit": commit(),
    }


def commit():
    """The commit of the checkout that this library runs from, "-dirty" after it where files differ from it.

    None where the library is installed without a checkout, or there is no Git.
    """
    folder = Path(tritorch.__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    ask = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(ask, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
