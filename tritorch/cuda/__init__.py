"""The GPU by PyTorch's names: is there one, its memory, streams and events."""

from __future__ import annotations

from tritorch.namespaces import rooms_of
from tritorch.runtime.cuda import driver
from tritorch.runtime.cuda.driver import device_count as device_count
from tritorch.runtime.cuda.driver import is_available as is_available
from tritorch.runtime.cuda.driver import set_device as set_device
from tritorch.runtime.cuda.memory import OutOfMemoryError as OutOfMemoryError
from tritorch.runtime.cuda.memory import empty_cache as empty_cache
from tritorch.runtime.cuda.memory import max_memory_allocated as max_memory_allocated
from tritorch.runtime.cuda.memory import max_memory_reserved as max_memory_reserved
from tritorch.runtime.cuda.memory import mem_get_info as mem_get_info
from tritorch.runtime.cuda.memory import memory_allocated as memory_allocated
from tritorch.runtime.cuda.memory import memory_reserved as memory_reserved
from tritorch.runtime.cuda.memory import memory_stats as memory_stats
from tritorch.runtime.cuda.memory import memory_summary as memory_summary
from tritorch.runtime.cuda.memory import reset_peak_memory_stats as reset_peak_memory_stats
from tritorch.runtime.cuda.stream import Event as Event
from tritorch.runtime.cuda.stream import Stream as Stream
from tritorch.runtime.cuda.stream import current_stream as current_stream
from tritorch.runtime.cuda.stream import default_stream as default_stream
from tritorch.runtime.cuda.stream import set_stream as set_stream
from tritorch.runtime.cuda.stream import stream as stream
from tritorch.runtime.cuda.stream import synchronize as synchronize


def current_device():
    """The index of the GPU that "cuda" means in this thread."""
    driver.require()
    return driver.current_device()


def get_device_properties(device=None):
    """Name, memory, multiprocessors and compute capability of a GPU."""
    return driver.properties(device)


def get_device_name(device=None):
    """The name of a GPU."""
    return driver.properties(device).name


def get_device_capability(device=None):
    """The compute capability of a GPU, such as (9, 0)."""
    return driver.properties(device).capability


def is_bf16_supported():
    """Whether the GPU computes in bfloat16: from compute capability 8.0 on."""
    return is_available() and driver.properties().capability >= (8, 0)


def is_initialized():
    """Whether anything has used CUDA in this process."""
    return driver.is_initialised()


class device:
    """Make a GPU the one that "cuda" means, inside a `with` block."""

    def __init__(self, device):
        self.index = driver.index_of(device)

    def __enter__(self):
        self.before = driver.current_device()
        driver.set_device(self.index)
        return self

    def __exit__(self, *_):
        driver.set_device(self.before)


def manual_seed(seed):
    """Seed the generator; there is one for all devices, and its numbers are the same on each."""
    from tritorch import random

    random.manual_seed(seed)


manual_seed_all = manual_seed

__getattr__ = rooms_of(__name__)  # cuda.amp, cuda.nvtx and the like are imported when first asked for
