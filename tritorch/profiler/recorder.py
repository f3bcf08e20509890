"""The recorder: notes when each op call, each gradient, each kernel and each marked span began and ended."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, nullcontext
from time import perf_counter_ns

from tritorch.autograd.intercept import Interceptor
from tritorch.autograd.variable import Variable
from tritorch.profiler.events import KernelTime, Span
from tritorch.runtime.launcher import set_launch_watcher

OP, GRADIENT, ANNOTATION = "cpu_op", "gradient", "user_annotation"
_HERE = __name__.partition(".")[0]


class _Here(threading.local):
    def __init__(self):
        self.recorders = []  # of this thread; as interceptors they are out of the way while they handle a call


_here = _Here()


class Recorder(Interceptor):
    """Spans of the thread that entered it, nested as they ran; on a GPU the time of each kernel an op launched.

    A kernel's time is measured by two events on its stream, one before and one after its launch, and is read when the
    recording ends, so that recording does not wait for the GPU. Where the GPU has nothing else to do it includes the
    few microseconds between the two calls of the driver.
    """

    def __init__(self, devices=True, shapes=False, memory=False, stack=False, flops=False):
        self.devices, self.shapes, self.memory, self.stack, self.flops = devices, shapes, memory, stack, flops
        self.spans, self.open = [], []
        self.origin = None  # the event that times on the GPU count from, and when it was recorded

    def __enter__(self):
        if self.devices:
            self._watcher_before = set_launch_watcher(_watch_launch)
        _here.recorders.append(self)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        _here.recorders.remove(self)
        if self.devices:
            set_launch_watcher(self._watcher_before)

    def intercept(self, cls, args):
        """Let the call go on between two readings of the clock."""
        device = next((arg.device for arg in args if isinstance(arg, Variable) and arg.device.type == "cuda"), None)
        with self.span(cls.op_name, OP, args) as span:
            before = self._allocated(device)
            outputs = cls.apply(*args)
            self._note_memory(span, device, before, outputs)
        if self.flops:
            span.flops = 2 * cls.multiplications(outputs, *args)
        return outputs

    @contextmanager
    def around_backward(self, node):
        """A span around the gradient of a node; the ops it calls lie inside."""
        with self.span(node.name(), GRADIENT):
            yield

    @contextmanager
    def span(self, name, kind, args=()):
        """Record what runs inside under a name."""
        span = Span(name, kind, threading.get_native_id(), self.open[-1] if self.open else None)
        if self.shapes:
            span.input_shapes = [list(arg.array.shape) if isinstance(arg, Variable) else [] for arg in args]
            span.input_types = [arg.dtype.name if isinstance(arg, Variable) else type(arg).__name__ for arg in args]
        if self.stack:
            span.stack = _callers()
        self.spans.append(span)
        self.open.append(span)
        span.start = perf_counter_ns()
        try:
            yield span
        finally:
            span.end = perf_counter_ns()
            if span in self.open:  # a recording that stopped meanwhile has closed it
                del self.open[self.open.index(span) :]

    def _allocated(self, device):
        if device is None or not self.memory:
            return 0
        from tritorch.runtime.cuda.memory import memory_allocated

        return memory_allocated(device)

    def _note_memory(self, span, device, before, outputs):
        if not self.memory:
            return
        if device is not None:
            span.device_memory = self._allocated(device) - before
            return
        made = outputs if type(outputs) is tuple else (outputs,)
        span.memory = sum(each.array.nbytes for each in made if each.view_of is None)

    @contextmanager
    def launch(self, kernel, stream):
        """Events around a launch, which count for the span that is open."""
        if self.origin is None:
            self.origin = _event(stream), perf_counter_ns()
        first = _event(stream)
        yield
        if self.open:
            self.open[-1].kernels.append(KernelTime(kernel.__name__, stream.handle, first, _event(stream)))

    def finish(self):
        """End what is still open, wait for the GPU, and read the time each op took there."""
        now = perf_counter_ns()
        for span in self.open:
            span.end = now
        self.open.clear()
        for span in self.spans:
            for kernel in span.kernels:
                kernel.read(*self.origin)
        return self.spans


def active():
    """The recorder of this thread, or None."""
    return _here.recorders[-1] if _here.recorders else None


def _event(stream):
    from tritorch.runtime.cuda.stream import Event

    event = Event(enable_timing=True)
    event.record(stream)
    return event


def _watch_launch(kernel, stream):
    """The recorder of the thread that launches, which may be none."""
    found = active()
    return nullcontext() if found is None else found.launch(kernel, stream)


def _callers():
    """Where the call came from, newest first, without the library's own frames."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in (_HERE, "contextlib"):
            found.append(f"{frame.f_code.co_filename}({frame.f_lineno}): {frame.f_code.co_name}")
        frame = frame.f_back
    return found
