"""Streams and events: the order in which a GPU does things.

Every device has one stream of ours, made on first use, which is never the driver's default stream; so another library
in the process neither waits for us nor makes us wait.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager

from tritorch.runtime.cuda import driver
from tritorch.runtime.device import Device


class Stream:
    """A queue of work on one GPU. `.core` is cuda-core's stream, `.handle` the driver's, `.cuda_stream` its number."""

    __slots__ = ("core", "cuda_stream", "device", "device_index", "handle")

    def __init__(self, device=None, priority=0):
        self.device_index = driver.index_of(device)
        self.device = Device("cuda", self.device_index)
        driver.activate(self.device_index)
        from cuda.core import StreamOptions

        options = StreamOptions(nonblocking=True, priority=priority or None)
        with driver.core_errors("cuStreamCreate"):
            self.core = driver.core_device(self.device_index).create_stream(options=options)
        self.handle = self.core.handle
        self.cuda_stream = int(self.handle)

    def __repr__(self):
        return f"<tritorch.cuda.Stream device=cuda:{self.device_index} cuda_stream={self.cuda_stream:#x}>"

    def synchronize(self):
        """Wait until all work queued so far is done."""
        driver.activate(self.device_index)
        driver.call(driver.api().cuStreamSynchronize, self.handle)

    def query(self):
        """Whether all work queued so far is done."""
        driver.activate(self.device_index)
        return _is_done(driver.api().cuStreamQuery, self.handle)

    def wait_event(self, event):
        """Let work queued here from now on wait for `event`; the host does not wait."""
        event.wait(self)

    def wait_stream(self, stream):
        """Let work queued here from now on wait for all that is queued on `stream` so far."""
        self.wait_event(stream.record_event())

    def record_event(self, event=None):
        """Record `event`, or a new one, here and return it."""
        event = event or Event()
        event.record(self)
        return event


class Event:
    """A point in a stream's queue that can be waited for, and with `enable_timing` measured."""

    __slots__ = ("_api", "device_index", "enable_timing", "flags", "handle")

    def __init__(self, enable_timing=False, blocking=False, interprocess=False):
        if interprocess:
            raise NotImplementedError("Event(): interprocess=True is not in tritorch")
        self.enable_timing = enable_timing
        self.flags = (0 if enable_timing else 2) | (1 if blocking else 0)  # CU_EVENT_DISABLE_TIMING, _BLOCKING_SYNC
        self.handle, self.device_index, self._api = None, None, None

    def __del__(self, in_bad_fork=driver.in_bad_fork, is_finalizing=sys.is_finalizing):
        # After a fork the parent's driver must not be touched; at exit the bindings are half gone, and so are events.
        if self.handle is not None and not in_bad_fork() and not is_finalizing():
            self._api.cuEventDestroy(self.handle)

    def record(self, stream=None):
        """Put this event at the end of `stream` (None: the current one), which makes it pending again."""
        stream = stream or current_stream(self.device_index)
        driver.activate(stream.device_index)
        if self.handle is None:
            self._api = driver.api()
            self.handle = driver.call(self._api.cuEventCreate, self.flags)
            self.device_index = stream.device_index
        if stream.device_index != self.device_index:
            raise RuntimeError(
                f"Event device cuda:{self.device_index} does not match recording stream's device "
                f"cuda:{stream.device_index}."
            )
        driver.call(self._api.cuEventRecord, self.handle, stream.handle)

    def wait(self, stream=None):
        """Let work queued on `stream` (None: the current one) from now on wait for this event."""
        if self.handle is not None:
            stream = stream or current_stream()
            driver.activate(stream.device_index)
            driver.call(driver.api().cuStreamWaitEvent, stream.handle, self.handle, 0)

    def query(self):
        """Whether all work before this event is done; True for one never recorded."""
        return self.handle is None or _is_done(driver.api().cuEventQuery, self.handle)

    def synchronize(self):
        """Wait until all work before this event is done."""
        if self.handle is not None:
            driver.call(driver.api().cuEventSynchronize, self.handle)

    def elapsed_time(self, end_event):
        """Milliseconds between this event and `end_event`; both were made with `enable_timing` and are done."""
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self.handle is None or end_event.handle is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        if not (self.query() and end_event.query()):
            raise ValueError("Both events must be completed before calculating elapsed time.")
        return float(driver.call(driver.api().cuEventElapsedTime, self.handle, end_event.handle))


def _is_done(function, handle):
    (status,) = function(handle)
    if status and int(status) != 600:  # CUDA_ERROR_NOT_READY is an answer, not a failure
        raise driver.error(status, function.__name__)
    return not status


_defaults: dict = {}  # device index -> its first stream


def default_stream(device=None):
    """The stream of a GPU that work goes to unless another was chosen."""
    index = driver.index_of(device)
    driver.activate(index)
    found = _defaults.get(index)
    if found is None:
        found = _defaults.setdefault(index, Stream(index))
    return found


_copying: dict = {}  # device index -> its stream for copies


def copy_stream(index):
    """The stream of a GPU for copies that go on beside the work on its other streams."""
    found = _copying.get(index)
    if found is None:
        found = _copying.setdefault(index, Stream(index))
    return found


def current_stream(index=None):
    """The stream this thread queues work on for GPU `index` (None: the current one); its context is made current."""
    state = driver.state
    if index is None:
        index = state.device
    if state.active != index:
        driver.activate(index)
    return state.streams.get(index) or _defaults.get(index) or default_stream(index)


def set_stream(stream):
    """Queue this thread's work for the stream's GPU on `stream` from now on."""
    driver.state.streams[stream.device_index] = stream


@contextmanager
def stream(chosen):
    """Queue work on `chosen` inside the block, and make its GPU the current one; None changes nothing."""
    if chosen is None:
        yield
        return
    state, index = driver.state, chosen.device_index
    before, device = state.streams.get(index), state.device
    state.streams[index], state.device = chosen, index
    try:
        yield
    finally:
        state.device = device
        if before is None:
            del state.streams[index]
        else:
            state.streams[index] = before


def synchronize(device=None):
    """Wait until all work on a GPU is done."""
    driver.activate(driver.index_of(device))
    driver.call(driver.api().cuCtxSynchronize)
