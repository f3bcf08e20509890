"""CUDA graphs: work that a stream took once, to be done again as one."""

from __future__ import annotations

import sys

from tritorch.runtime.cuda import driver
from tritorch.runtime.cuda.memory import allocator
from tritorch.runtime.cuda.stream import Stream, current_stream


class Graph:
    """The launches, copies and fills that `function()` queues on the current stream, captured; nothing runs yet.

    `replay()` queues them. Memory that the function allocates stays with the graph, since every replay uses it again.
    Kernels must have been launched once before: loading one is not allowed while a stream captures.
    """

    def __init__(self, function, device=None):
        self.stream = current_stream(driver.index_of(device))
        beside = Stream(self.stream.device_index)
        self._api, self._executable = driver.api(), None
        with allocator(self.stream.device_index).capturing(self.stream, beside) as self._memory:
            graph = self._captured(function)
        try:
            self._executable = driver.call(self._api.cuGraphInstantiate, graph, 0)
        finally:
            driver.call(self._api.cuGraphDestroy, graph)

    def _captured(self, function):
        # Relaxed, since this thread allocates on another stream meanwhile.
        mode = self._api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        driver.call(self._api.cuStreamBeginCapture, self.stream.handle, mode)
        try:
            function()
        except BaseException:
            self._api.cuStreamEndCapture(self.stream.handle)  # whatever it says, the stream must not stay so
            raise
        return driver.call(self._api.cuStreamEndCapture, self.stream.handle)

    def replay(self):
        """Queue all of it on the stream it was captured from."""
        driver.call(self._api.cuGraphLaunch, self._executable, self.stream.handle)

    def __del__(self, in_bad_fork=driver.in_bad_fork, is_finalizing=sys.is_finalizing):
        if getattr(self, "_executable", None) is not None and not in_bad_fork() and not is_finalizing():
            self._api.cuGraphExecDestroy(self._executable)
