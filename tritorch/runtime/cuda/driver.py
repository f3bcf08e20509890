"""The CUDA driver, found and called lazily: which GPUs there are, why there are none, and errors in clear words.

Importing this module touches nothing. Counting devices initialises the driver but makes no context; the first array or
stream on a device does. A driver that was initialised before a fork is unusable in the child, and says so.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from tritorch.runtime import plans

OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
FATAL = {700, 702, 709, 710, 714, 715, 716, 717, 718, 719}  # after these a context answers every call with an error
FORKED = (
    "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the 'spawn' start "
    "method"
)


class CudaError(RuntimeError):
    """A call to the CUDA driver that failed; `.code` is the driver's number."""

    def __init__(self, message, code=None):
        super().__init__(message)
        self.code = code


class _ThreadState(threading.local):
    """What each thread has chosen: the user's device, the device whose context is current, and its streams."""

    def __init__(self):
        self.device = 0
        self.active = None
        self.streams = {}


state = _ThreadState()
_lock = threading.RLock()
_found: tuple | None = None  # (device count, why there is none) once asked
_initialised = False
_forked = False
_fatal: str | None = None
_api = None


def _after_fork():
    """Runs in a forked child: nothing of the parent's CUDA may be used there, and its locks may be held by nobody."""
    global _lock, _api, _forked
    _lock = threading.RLock()
    if _initialised:
        _forked, _api = True, None
        state.active = None
        state.streams = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def is_available():
    """Whether `device="cuda"` works here."""
    return _probe()[0] > 0


def device_count():
    """How many GPUs the driver shows (CUDA_VISIBLE_DEVICES counts); makes no context."""
    return _probe()[0]


def why_not():
    """One sentence saying why there is no CUDA here, or None where there is."""
    return _probe()[1]


def context_lost():
    """Whether a fatal error has made the driver useless in this process."""
    return _fatal is not None


def in_bad_fork():
    """Whether this process was forked from one that had initialised CUDA."""
    return _forked


def is_initialised():
    """Whether this process has initialised the CUDA driver."""
    return _initialised


def require(index=None):
    """Raise the reason, where device `index` (None for the current one) cannot be used in this process."""
    if _forked:
        raise RuntimeError(FORKED)
    count, reason = _probe()
    if reason:
        raise RuntimeError(f"device='cuda' is not available: {reason}")
    if index is not None and not 0 <= index < count:
        raise RuntimeError(f"CUDA error: invalid device ordinal {index}: there are {count} GPUs, numbered from 0")


def _probe():
    global _found
    if _found is None:
        with _lock:
            _found = _found or _search()
    return _found


def _search():
    """(device count, reason there is none): asks the driver itself, so that no package is imported to hear "no"."""
    global _initialised
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0, "no NVIDIA driver was found (libcuda.so.1 cannot be loaded)."
    reason = _missing_package() or _too_old(library)
    if reason:
        return 0, reason
    status = library.cuInit(0)
    _initialised = status == 0
    count = ctypes.c_int(0)
    status = status or library.cuDeviceGetCount(ctypes.byref(count))
    if status not in (0, NO_DEVICE):
        return 0, f"the NVIDIA driver failed to start (cuInit gave error {status}); `nvidia-smi` may say more."
    if count.value == 0:
        return 0, "the NVIDIA driver shows no GPU (is one there, and does CUDA_VISIBLE_DEVICES allow it?)."
    return count.value, None


def _missing_package():
    import importlib.metadata  # here, since it takes a tenth of the time that `import tritorch` may

    for package in ("cuda-core", "cuda-bindings"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return f"the Python package '{package}' is not installed (pip install cuda-core cuda-bindings)."
        if package == "cuda-core" and int(version.partition(".")[0]) < 1:
            return f"cuda-core {version} is too old, 1.0 or newer is needed (pip install -U cuda-core)."
    return None


def _too_old(library):
    """The reason, where the driver is of an older CUDA generation than the bindings speak."""
    import importlib.metadata

    version, bindings = _version_number(library), importlib.metadata.version("cuda-bindings")
    needed = int(bindings.partition(".")[0])
    if version // 1000 >= needed:
        return None
    return (
        f"the NVIDIA driver is too old: it supports CUDA {_format_version(version)}, and cuda-bindings "
        f"{bindings} needs CUDA {needed} (update the driver, or pip install 'cuda-bindings<{needed}')."
    )


def _version_number(library):
    number = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    return number.value


def _format_version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def api():
    """The functions of the driver, `cuda.bindings.driver`."""
    return _api or _load()


def _load():
    global _api
    require()
    from cuda.bindings import driver

    with _lock:
        _api = driver
    return driver


def call(function, *arguments):
    """Call a function of `api()` and give what it gives: nothing, a value or a tuple; raise `CudaError` if it fails."""
    if plans.traces:
        plans.spoil()
    status, *results = function(*arguments)
    if status:
        raise error(status, function.__name__)
    return results[0] if len(results) == 1 else tuple(results) or None


def error(status, name):
    """The CudaError for a driver's `status`; remembers a fatal one, after which the process cannot go on with CUDA."""
    global _fatal
    code, driver = int(status), api()
    text = driver.cuGetErrorString(status)[1]
    words = text.decode() if isinstance(text, bytes) else f"error {code}"
    message = f"CUDA error: {words} ({getattr(status, 'name', code)} in {name})"
    if code in FATAL and _fatal is None:
        _fatal = message
        message += (
            "\nKernels run asynchronously, so an earlier launch may be the cause. The CUDA context is lost: no "
            "CUDA work is possible in this process from here on."
        )
    elif _fatal is not None:
        message = f"CUDA error: the context of this process was lost earlier: {_fatal}"
    return CudaError(message, code)


@contextmanager
def core_errors(name):
    """Turn cuda-core's CUDAError, which is no RuntimeError and has no public name, into our CudaError."""
    try:
        yield
    except Exception as failure:
        raise translated(failure, name) from None


def translated(failure, name):
    """The CudaError for a cuda-core exception raised in `name`; any other exception as it is."""
    named = re.match(r"(CUDA_ERROR_\w+)", str(failure))
    return failure if named is None else error(getattr(api().CUresult, named[1]), name)


def current_device():
    """The index of this thread's current GPU."""
    return state.device


def set_device(index):
    """Make GPU `index` the one that "cuda" without a number means in this thread."""
    index = index_of(index)
    require(index)
    state.device = index


def index_of(device):
    """The GPU index that an int, a Device, a string such as "cuda:1", or None (the current one) names."""
    if device is None:
        return state.device
    if isinstance(device, int):
        return device
    from tritorch.runtime.device import Device

    found = Device(device)
    if not found.is_cuda:
        raise ValueError(f"Expected a cuda device, but got: {found}")
    return state.device if found.index is None else found.index


def activate(index):
    """Make the context of GPU `index` the one this thread's driver calls go to."""
    if state.active != index:
        device = core_device(index)
        with core_errors("cuCtxSetCurrent"):
            device.set_current()
        state.active = index


def core_device(index):
    """The `cuda.core.Device` of GPU `index`."""
    require(index)
    from cuda.core import Device

    return Device(index)


@dataclass(frozen=True)
class DeviceProperties:
    """What a GPU is and has, under PyTorch's names; memory in bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    shared_memory_per_block: int
    shared_memory_per_block_optin: int
    max_threads_per_multi_processor: int
    warp_size: int
    L2_cache_size: int
    clock_rate: int  # kHz, at most
    memory_clock_rate: int  # kHz
    memory_bus_width: int  # bits

    @property
    def capability(self):
        """(major, minor) compute capability, such as (9, 0)."""
        return self.major, self.minor

    @property
    def sms(self):
        """How many multiprocessors there are."""
        return self.multi_processor_count

    @property
    def shared_memory(self):
        """The most bytes of shared memory that a block can ask for."""
        return self.shared_memory_per_block_optin


def driver_version():
    """The newest CUDA that the driver supports, such as "13.0"; None without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return _format_version(_version_number(library))


def properties(device=None):
    """The properties of a GPU; makes no context."""
    index = index_of(device)
    require(index)
    return _properties(index)


@cache
def _properties(index):
    driver = api()
    handle, which = call(driver.cuDeviceGet, index), driver.CUdevice_attribute

    def attribute(which):
        return int(call(driver.cuDeviceGetAttribute, which, handle))

    return DeviceProperties(
        name=call(driver.cuDeviceGetName, 256, handle).partition(b"\0")[0].decode(),
        major=attribute(which.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
        minor=attribute(which.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        total_memory=int(call(driver.cuDeviceTotalMem, handle)),
        multi_processor_count=attribute(which.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
        shared_memory_per_block=attribute(which.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK),
        shared_memory_per_block_optin=attribute(which.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
        max_threads_per_multi_processor=attribute(which.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR),
        warp_size=attribute(which.CU_DEVICE_ATTRIBUTE_WARP_SIZE),
        L2_cache_size=attribute(which.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
        clock_rate=attribute(which.CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        memory_clock_rate=attribute(which.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
        memory_bus_width=attribute(which.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
    )
