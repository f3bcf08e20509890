"""What a report of a problem should say about the machine: `python -m tritorch.utils.collect_env`."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import tritorch
from tritorch.runtime.cuda import driver

PACKAGES = ("numpy", "ml_dtypes", "triton", "cuda-core", "cuda-bindings", "safetensors")


def get_env_info():
    """The facts by name."""
    found = {
        "tritorch": tritorch.__version__,
        "Python": sys.version.split()[0],
        "system": platform.platform(),
        "CUDA driver": driver.driver_version() or "none",
    }
    for index in range(driver.device_count()):
        properties = driver.properties(index)
        found[f"GPU {index}"] = f"{properties.name}, compute capability {'.'.join(map(str, properties.capability))}"
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def get_pretty_env_info():
    """The facts as lines of text."""
    return "\n".join(f"{name}: {value}" for name, value in get_env_info().items())


def main():
    """Print the facts."""
    print("Collecting environment information...")
    print(get_pretty_env_info())


if __name__ == "__main__":
    main()
