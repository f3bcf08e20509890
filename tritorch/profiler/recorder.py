"""The recorder: an interceptor that notes when each op call, each gradient and each marked span began and ended."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from time import perf_counter_ns

from tritorch.autograd.grad_mode import state
from tritorch.autograd.intercept import Interceptor
from tritorch.autograd.variable import Variable
from tritorch.profiler.events import Span

OP, GRADIENT, ANNOTATION = "cpu_op", "gradient", "user_annotation"
_HERE = __name__.partition(".")[0]


class Recorder(Interceptor):
    """Spans of the thread that entered it, nested as they ran; on a GPU each op's time there too.

    An op's time on a GPU is measured by two events on its stream, before and after its launches, and is read when the
    recording ends, so that recording does not wait for the GPU.
    """

    def __init__(self, devices=True, shapes=False, memory=False, stack=False, flops=False):
        self.devices, self.shapes, self.memory, self.stack, self.flops = devices, shapes, memory, stack, flops
        self.spans, self.open = [], []
        self.origin = None  # the event that times on the GPU count from, and when it was recorded

    def intercept(self, cls, args):
        """Let the call go on between two readings of the clock."""
        device = next((arg.device for arg in args if isinstance(arg, Variable) and arg.device.type == "cuda"), None)
        with self.span(cls.op_name, OP, args) as span:
            before = self._before(device)
            outputs = cls.apply(*args)
            self._after(span, device, before, outputs)
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

    def _before(self, device):
        if device is None:
            return None
        from tritorch.runtime.cuda.memory import memory_allocated
        from tritorch.runtime.cuda.stream import Event

        event = None
        if self.devices:
            if self.origin is None:
                first = Event(enable_timing=True)
                first.record()
                self.origin = first, perf_counter_ns()
            event = Event(enable_timing=True)
            event.record()
        return event, memory_allocated() if self.memory else 0

    def _after(self, span, device, before, outputs):
        if device is None:
            if self.memory:
                made = outputs if type(outputs) is tuple else (outputs,)
                span.memory = sum(each.array.nbytes for each in made if each.view_of is None)
            return
        from tritorch.runtime.cuda.memory import memory_allocated
        from tritorch.runtime.cuda.stream import Event, current_stream

        event, allocated = before
        if self.memory:
            span.device_memory = memory_allocated() - allocated
        if event is not None:
            last = Event(enable_timing=True)
            last.record()
            span.device_events, span.stream = (event, last), current_stream().handle

    def finish(self):
        """End what is still open, wait for the GPU, and read the time each op took there."""
        now = perf_counter_ns()
        for span in self.open:
            span.end = now
        self.open.clear()
        for span in self.spans:
            if span.device_events is not None:
                first, last = span.device_events
                last.synchronize()
                origin, host = self.origin
                span.device_start = host + int(origin.elapsed_time(first) * 1e6)
                span.device_end = span.device_start + int(first.elapsed_time(last) * 1e6)
                span.device_events = None
        return self.spans


def active():
    """The recorder of this thread, or None."""
    return next((each for each in reversed(state.interceptors) if isinstance(each, Recorder)), None)


def _callers():
    """Where the call came from, newest first, without the library's own frames."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in (_HERE, "contextlib"):
            found.append(f"{frame.f_code.co_filename}({frame.f_lineno}): {frame.f_code.co_name}")
        frame = frame.f_back
    return found
