"""What a config may depend on: the device, and the environment that compiled and timed it."""

from __future__ import annotations

import functools
import re
from dataclasses import asdict, dataclass

import numpy as np

from tritorch.autotune.digest import digest_of
from tritorch.runtime import debug
from tritorch.runtime.compile import SHARED_MEMORY
from tritorch.runtime.language import triton_missing


@dataclass(frozen=True)
class DeviceInfo:
    """What a default config may depend on: the kind of device and, on a GPU, its size."""

    kind: str
    sms: int = 1
    shared_memory: int = 1 << 30
    capability: int = 0
    name: str = ""


INTERPRETER = DeviceInfo("interpreter", name="interpreter")

# A GPU of each generation, to choose configs and compile for without one: its multiprocessors by capability.
_GENERATIONS = {80: 108, 86: 84, 89: 128, 90: 132, 100: 148, 120: 170}


def generation(arch):
    """The DeviceInfo that stands for GPUs of an architecture, such as "sm_90" or 90."""
    match = re.fullmatch(r"(?:sm_)?(\d+)a?", str(arch))
    if match is None or int(match[1]) not in _GENERATIONS:
        raise ValueError(
            f"no architecture named {arch!r}; there are {', '.join(f'sm_{each}' for each in _GENERATIONS)}"
        )
    capability = int(match[1])
    return DeviceInfo("cuda", _GENERATIONS[capability], SHARED_MEMORY[capability], capability, f"sm_{capability}")


@functools.cache
def cuda_info(index):
    """The DeviceInfo of a GPU of this machine."""
    from tritorch.runtime.cuda import driver

    found = driver.properties(index)
    major, minor = found.capability
    return DeviceInfo("cuda", found.sms, found.shared_memory, major * 10 + minor, found.name)


def device_info(array):
    """The DeviceInfo of the device that `array` makes a kernel run on."""
    return INTERPRETER if isinstance(array, np.ndarray) else cuda_info(array.device.index)


@dataclass(frozen=True)
class Environment:
    """What decides, beside a key, whether a config found earlier still holds: device, driver, compiler, switches."""

    device: str
    capability: int
    sms: int
    shared_memory: int
    driver: str
    triton: str
    flags: str
    determinism: str

    @property
    def digest(self):
        """Eight characters that stand for all of it."""
        return digest_of(asdict(self), 8)

    @property
    def folder(self):
        """The name of the folder that holds its entries: the device for people, the digest for certainty."""
        return f"{re.sub('[^A-Za-z0-9]+', '-', self.device).strip('-')}-{self.digest}"

    def carried(self):
        """The fields that must agree for a table made elsewhere to count here, by name.

        Not the driver: it neither generates code nor chooses a grid, and tables are there to be carried to other
        machines. Of Triton's version, what changes generated code.
        """
        found = {name: value for name, value in asdict(self).items() if name not in ("driver", "shared_memory")}
        return found | {"triton": ".".join(self.triton.split(".")[:2])}


@functools.cache
def _environment(device, debugging):
    import importlib.metadata  # here, since it takes a tenth of the time that `import tritorch` may

    triton = "missing" if triton_missing() else importlib.metadata.version("triton")
    return Environment(
        device=device.name,
        capability=device.capability,
        sms=device.sms,
        shared_memory=device.shared_memory,
        driver=_driver_version() if device.kind == "cuda" else "none",
        triton=triton,
        flags="debug" if debugging else "fp_fusion",
        determinism="deterministic",  # no kernel adds floats atomically
    )


def environment_of(device):
    """The Environment of a DeviceInfo in this process."""
    return _environment(device, debug.enabled)


def _driver_version():
    """The driver's own version where the system tells it, else the newest CUDA it supports."""
    from tritorch.runtime.cuda import driver

    try:
        with open("/proc/driver/nvidia/version") as file:
            found = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", file.readline())
    except OSError:
        found = None
    return found[1] if found else f"CUDA {driver.driver_version() or 'none'}"
