"""Say what is installed, which devices work here, and what to do about what does not."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile

import numpy as np
from rich.console import Console
from rich.table import Table

from tritorch.cli.main import FAILED, GOOD
from tritorch.runtime.files import cache_folder

PACKAGES = ("tritorch", "numpy", "triton", "cuda-core", "cuda-bindings", "ml_dtypes", "safetensors", "rich", "torch")


def add_arguments(parser):
    """Nothing to choose."""


def run(options):
    """Print the table; 1 if the cpu device itself does not work."""
    console = Console()
    table = Table("what", "state", "what to do", title="tritorch doctor", show_lines=False)
    cpu_works = True
    for name, good, state, remedy in checks():
        mark = "[green]ok[/]" if good else "[yellow]--[/]"
        table.add_row(name, f"{mark} {state}", remedy)
        cpu_works = cpu_works and (good or name != "device cpu")
    console.print(table)
    return GOOD if cpu_works else FAILED


def version(package):
    """The installed version of a package, None without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment():
    """Versions and hardware, as they go into reports."""
    from tritorch.runtime.cuda import driver

    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    found |= {name: version(name) for name in PACKAGES}
    if driver.is_available():
        found["gpu"], found["driver"] = driver.properties(0).name, driver.driver_version()
    return found


def checks():
    """Each check as (what, whether it is good, what was found, what to do)."""
    good = sys.version_info >= (3, 11)
    yield "Python", good, platform.python_version(), "" if good else "use Python 3.11 or newer"
    for name in PACKAGES:
        found = version(name)
        optional = name == "torch"
        remedy = "" if found or optional else f"pip install {name}"
        yield (
            name,
            bool(found) or optional,
            found or ("not installed (not needed)" if optional else "not installed"),
            remedy,
        )
    yield from _devices()
    yield _cache()


def _devices():
    from tritorch.runtime import language
    from tritorch.runtime.cuda import driver

    yield _try_device("cpu")
    reason = language.triton_missing()
    if reason:
        yield "device interpreter", False, reason, ""
    else:
        yield _try_device("interpreter")
    if driver.is_available():
        about = driver.properties(0)
        yield "GPU", True, f"{about.name}, sm_{about.major}{about.minor}, CUDA {driver.driver_version()}", ""
        yield _try_device("cuda")
    else:
        yield "device cuda", False, driver.why_not(), "cpu and interpreter work without it"


def _try_device(name):
    import tritorch

    try:
        x = tritorch.ones(4, 4, device=name, requires_grad=True)
        y = (x @ x).sum()
        y.backward()
        right = y.item() == 64 and bool(np.all(x.grad.numpy() == 8))
    except Exception as error:  # whatever it is, the doctor's job is to say it
        return f"device {name}", False, f"{type(error).__name__}: {error}", "please report this"
    return f"device {name}", right, "a product and its gradient are right" if right else "wrong numbers", ""


def _cache():
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return "cache folder", False, f"{folder}: {error.strerror}", "set TRITORCH_CACHE_DIR to a folder you can write"
    return "cache folder", True, str(folder), ""
