"""What this is and what it runs on, under the names of `torch.version`."""

from __future__ import annotations

import tritorch
from tritorch.runtime.cuda import driver

debug = False
hip = rocm = xpu = None  # AMD's and Intel's GPUs are not used
git_version = "unknown"  # a package does not know which commit it was built from


def __getattr__(name):
    if name == "__version__":
        return tritorch.__version__
    if name == "cuda":  # asked for when wanted, since it starts the driver: what it supports, such as "13.0"
        return driver.driver_version() if driver.is_available() else None
    raise AttributeError(f"module '{__name__}' has no attribute {name!r}")
