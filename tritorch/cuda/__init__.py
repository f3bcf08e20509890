"""The GPU by PyTorch's names: is there one, its memory, streams, events and random numbers.

Nothing here needs a GPU to be imported or asked about; what cannot work without one raises the reason.
"""

from __future__ import annotations

from tritorch.cuda.memory import OutOfMemoryError as OutOfMemoryError
from tritorch.cuda.memory import empty_cache as empty_cache
from tritorch.cuda.memory import max_memory_allocated as max_memory_allocated
from tritorch.cuda.memory import max_memory_cached as max_memory_cached
from tritorch.cuda.memory import max_memory_reserved as max_memory_reserved
from tritorch.cuda.memory import mem_get_info as mem_get_info
from tritorch.cuda.memory import memory_allocated as memory_allocated
from tritorch.cuda.memory import memory_cached as memory_cached
from tritorch.cuda.memory import memory_reserved as memory_reserved
from tritorch.cuda.memory import memory_stats as memory_stats
from tritorch.cuda.memory import memory_summary as memory_summary
from tritorch.cuda.memory import reset_max_memory_allocated as reset_max_memory_allocated
from tritorch.cuda.memory import reset_max_memory_cached as reset_max_memory_cached
from tritorch.cuda.memory import reset_peak_memory_stats as reset_peak_memory_stats
from tritorch.cuda.random import get_rng_state as get_rng_state
from tritorch.cuda.random import get_rng_state_all as get_rng_state_all
from tritorch.cuda.random import initial_seed as initial_seed
from tritorch.cuda.random import manual_seed as manual_seed
from tritorch.cuda.random import manual_seed_all as manual_seed_all
from tritorch.cuda.random import seed as seed
from tritorch.cuda.random import seed_all as seed_all
from tritorch.cuda.random import set_rng_state as set_rng_state
from tritorch.cuda.random import set_rng_state_all as set_rng_state_all
from tritorch.functional.tensor_types import CUDA_TYPES
from tritorch.rooms import found_when_asked
from tritorch.runtime.cuda import driver
from tritorch.runtime.cuda import stream as streams
from tritorch.runtime.cuda.driver import CudaError as CudaError
from tritorch.runtime.cuda.driver import device_count as device_count
from tritorch.runtime.cuda.driver import is_available as is_available
from tritorch.runtime.cuda.stream import Event as Event
from tritorch.runtime.cuda.stream import Stream as Stream
from tritorch.runtime.cuda.stream import set_stream as set_stream
from tritorch.runtime.cuda.stream import stream as stream
from tritorch.runtime.cuda.stream import synchronize as synchronize

globals().update(CUDA_TYPES)  # cuda.FloatTensor and the like
__getattr__ = found_when_asked(__name__)  # cuda.amp, cuda.nvtx and the like are imported when first asked for

AcceleratorError = CudaError
has_half = True


def init():
    """Make sure that there is a GPU; what it needs is started by the first tensor on it."""
    driver.require()


def current_device():
    """The index of the GPU that "cuda" means in this thread."""
    driver.require()
    return driver.current_device()


def set_device(device):
    """Make a GPU the one that "cuda" means in this thread; a negative index changes nothing."""
    if driver.index_of(device) >= 0:
        driver.set_device(device)


def current_stream(device=None):
    """The stream that this thread's work on a GPU goes to."""
    return streams.current_stream(driver.index_of(device))


def default_stream(device=None):
    """The stream that work on a GPU goes to unless another was chosen."""
    return streams.default_stream(driver.index_of(device))


def is_current_stream_capturing():
    """Whether this thread's work is being recorded instead of run: never."""
    return False


def get_device_properties(device=None):
    """Name, memory, multiprocessors and compute capability of a GPU."""
    return driver.properties(device)


def get_device_name(device=None):
    """The name of a GPU."""
    return driver.properties(device).name


def get_device_capability(device=None):
    """The compute capability of a GPU, such as (9, 0)."""
    return driver.properties(device).capability


def get_arch_list():
    """The architectures that kernels are compiled for: those of the GPUs that are there, such as ["sm_90"]."""
    found = {driver.properties(index).capability for index in range(device_count())}
    return [f"sm_{major}{minor}" for major, minor in sorted(found)]


def is_bf16_supported(including_emulation=True):
    """Whether the GPU computes in bfloat16: from compute capability 8.0 on."""
    return is_available() and driver.properties().capability >= (8, 0)


def is_tf32_supported():
    """Whether the GPU has tf32 matrix products: from compute capability 8.0 on."""
    return is_available() and driver.properties().capability >= (8, 0)


def is_initialized():
    """Whether anything has used CUDA in this process."""
    return driver.is_initialised()


def ipc_collect():
    """Give back memory shared between processes that nobody uses: there never is any, tensors are copied there."""
    driver.require()


class device:
    """Make a GPU the one that "cuda" means, inside a `with` block; None and negative indices change nothing."""

    def __init__(self, device):
        self.index = -1 if device is None else driver.index_of(device)

    def __enter__(self):
        if self.index >= 0:
            self.before = driver.current_device()
            driver.set_device(self.index)
        return self

    def __exit__(self, *_):
        if self.index >= 0:
            driver.set_device(self.before)


class device_of(device):
    """Make the GPU of a tensor the one that "cuda" means, inside a `with` block; a host tensor changes nothing."""

    def __init__(self, obj):
        super().__init__(obj.get_device())
