"""The accelerator of this machine by PyTorch's names: the GPU where there is one."""

from __future__ import annotations

from tritorch import cuda
from tritorch.runtime.cuda import driver
from tritorch.runtime.device import Device


def _need():
    if not driver.is_available():
        raise RuntimeError(f"Cannot access accelerator device when none is available: {driver.why_not()}")


def _index(device):
    _need()
    return driver.index_of(device)


def is_available():
    """Whether there is a GPU."""
    return driver.is_available()


def current_accelerator(check_available=False):
    """The kind of accelerator, `device("cuda")`, or None where there is no GPU."""
    return Device("cuda") if driver.is_available() else None


def device_count():
    """How many GPUs there are."""
    return driver.device_count()


def current_device_index():
    """The index of the GPU that "cuda" means in this thread."""
    _need()
    return driver.current_device()


current_device_idx = current_device_index


def set_device_index(device, /):
    """Make a GPU the one that "cuda" means in this thread."""
    driver.set_device(_index(device))


set_device_idx = set_device_index


class device_index(cuda.device):
    """Make GPU `device` the one that "cuda" means, inside a `with` block; None changes nothing."""

    def __init__(self, device, /):
        super().__init__(device)


def current_stream(device=None, /):
    """The stream that this thread's work on a GPU goes to."""
    return cuda.current_stream(_index(device))


def set_stream(stream):
    """Send this thread's work to `stream` from now on."""
    _need()
    cuda.set_stream(stream)
    driver.set_device(stream.device_index)


def synchronize(device=None, /):
    """Wait until all work on a GPU is done."""
    cuda.synchronize(_index(device))


def get_device_capability(device=None, /):
    """What a GPU can do: the dtypes it takes."""
    from tritorch.runtime import dtypes

    _index(device)
    return {"supported_dtypes": set(dtypes.ALL)}


def empty_cache():
    """Give all cached memory back to the driver."""
    _need()
    cuda.empty_cache()


def memory_stats(device=None, /):
    """The counters of a GPU's memory by name."""
    return cuda.memory_stats(_index(device))


def memory_allocated(device=None, /):
    """Bytes that tensors hold on a GPU."""
    return cuda.memory_allocated(_index(device))


def max_memory_allocated(device=None, /):
    """The most bytes that tensors held at once."""
    return cuda.max_memory_allocated(_index(device))


def memory_reserved(device=None, /):
    """Bytes got from the driver."""
    return cuda.memory_reserved(_index(device))


def max_memory_reserved(device=None, /):
    """The most bytes got from the driver at once."""
    return cuda.max_memory_reserved(_index(device))


def reset_peak_memory_stats(device=None, /):
    """Make the current use the highest seen so far."""
    cuda.reset_peak_memory_stats(_index(device))


def get_memory_info(device=None, /):
    """(free, total) bytes of a GPU, all programs together."""
    return cuda.mem_get_info(_index(device))
