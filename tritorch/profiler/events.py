"""What a profile consists of: spans of time, and their averages by name."""

from __future__ import annotations

from collections import namedtuple

from tritorch.profiler.table import table


class Interval(namedtuple("Interval", ("start", "end"))):
    """When something began and ended, in microseconds."""

    __slots__ = ()

    def elapsed_us(self):
        """How long it took."""
        return self.end - self.start


def time_text(microseconds):
    """A time in the unit that suits it."""
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:.3f}s"
    if microseconds >= 1e3:
        return f"{microseconds / 1e3:.3f}ms"
    return f"{microseconds:.3f}us"


class Times:
    """Time on the CPU and on a device, in microseconds, under PyTorch's names.

    `self_` leaves out what ran inside; `_total` is the sum over all calls, without it the mean of one.
    """

    count = 1

    @property
    def cpu_time(self):
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def device_time(self):
        return self.device_time_total / self.count if self.count else 0.0

    cuda_time = device_time

    @property
    def cuda_time_total(self):
        return self.device_time_total

    @property
    def self_cuda_time_total(self):
        return self.self_device_time_total

    def __getattr__(self, name):
        if name.endswith("_str") and not name.startswith("__"):
            return time_text(getattr(self, name.removesuffix("_str")))
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


class KernelTime:
    """One launch on a GPU: the kernel's name, and when it began and ended, in nanoseconds of the host's clock."""

    def __init__(self, name, stream, first, last):
        self.name, self.stream, self.events = name, stream, (first, last)
        self.start = self.end = 0

    def read(self, origin, host):
        """Wait for the launch, and work out its time from the event `origin`, recorded when the clock was at `host`."""
        first, last = self.events
        last.synchronize()
        self.start = host + int(origin.elapsed_time(first) * 1e6)
        self.end = self.start + int(first.elapsed_time(last) * 1e6)
        self.events = None

    @property
    def duration(self):
        return (self.end - self.start) / 1e3  # microseconds


class Span(Times):
    """One call: of an op, of a gradient, or of what `record_function` marks."""

    def __init__(self, name, kind, thread, parent):
        self.name = self.key = name
        self.kind, self.thread, self.cpu_parent = kind, thread, parent
        self.cpu_children = []
        if parent is not None:
            parent.cpu_children.append(self)
        self.start = self.end = 0  # nanoseconds
        self.kernels = []
        self.memory = self.device_memory = self.flops = 0
        self.input_shapes, self.input_types, self.stack = [], [], []

    @property
    def is_user_annotation(self):
        return self.kind == "user_annotation"

    @property
    def time_range(self):
        return Interval(self.start / 1e3, self.end / 1e3)

    @property
    def cpu_time_total(self):
        return (self.end - self.start) / 1e3

    @property
    def self_cpu_time_total(self):
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    @property
    def self_device_time_total(self):
        return sum(kernel.duration for kernel in self.kernels)

    @property
    def device_time_total(self):
        return self.self_device_time_total + sum(child.device_time_total for child in self.cpu_children)

    @property
    def cpu_memory_usage(self):
        return self.memory + sum(child.cpu_memory_usage for child in self.cpu_children)

    self_cpu_memory_usage = property(lambda self: self.memory)
    self_device_memory_usage = property(lambda self: self.device_memory)

    @property
    def device_memory_usage(self):
        return self.device_memory + sum(child.device_memory_usage for child in self.cpu_children)

    def __repr__(self):
        inside = "" if self.cpu_parent is None else f" in {self.cpu_parent.name}"
        return (
            f"<FunctionEvent {self.name}{inside}: cpu {self.cpu_time_total_str}, device {self.device_time_total_str}>"
        )


_SUMMED = (
    "cpu_time_total", "self_cpu_time_total", "device_time_total", "self_device_time_total", "cpu_memory_usage",
    "self_cpu_memory_usage", "device_memory_usage", "self_device_memory_usage", "flops",
)  # fmt: skip


class Average(Times):
    """All calls of one name, and of equal shapes or places where those were asked to be told apart."""

    def __init__(self, key, input_shapes, stack):
        self.key, self.input_shapes, self.stack = key, input_shapes, stack
        self.count, self.is_user_annotation = 0, False
        for name in _SUMMED:
            setattr(self, name, 0)

    def add(self, span):
        """Count one more call."""
        self.count += 1
        self.is_user_annotation = span.is_user_annotation
        nested = _inside_one_of_the_same_name(span)
        for name in _SUMMED:
            if name.startswith("self_") or name == "flops" or not nested:
                # A total counts what a recursive span did once.
                setattr(self, name, getattr(self, name) + getattr(span, name))

    def __repr__(self):
        return (
            f"<FunctionEventAvg {self.key}: {self.count} calls, cpu {self.cpu_time_total_str}, "
            f"device {self.device_time_total_str}>"
        )


def _inside_one_of_the_same_name(span):
    outer = span.cpu_parent
    while outer is not None:
        if outer.key == span.key:
            return True
        outer = outer.cpu_parent
    return False


class EventList(list):
    """Spans, or their averages, and the table of them."""

    def __init__(self, items=(), *, memory=False):
        super().__init__(items)
        self.memory = memory

    def key_averages(self, group_by_input_shapes=False, group_by_stack_n=0):
        """One Average for each name (and for each shape or place of the call)."""
        found = {}
        for span in self:
            shapes = span.input_shapes if group_by_input_shapes else []
            stack = span.stack[:group_by_stack_n]
            key = (span.key, str(shapes), tuple(stack))
            if key not in found:
                found[key] = Average(span.key, shapes, stack)
            found[key].add(span)
        return EventList(found.values(), memory=self.memory)

    def total_average(self):
        """All spans as if of one name."""
        total = Average("Total", [], [])
        for span in self:
            total.add(span)
        return total

    @property
    def self_cpu_time_total(self):
        return sum(each.self_cpu_time_total for each in self)

    def table(self, sort_by=None, row_limit=100, max_src_column_width=75, max_name_column_width=55,
              max_shapes_column_width=80, header=None, top_level_events_only=False, time_unit=None):  # fmt: skip
        """The averages as a table of text, largest `sort_by` first; `row_limit` of -1 shows all rows."""
        rows = [each for each in self if not (top_level_events_only and getattr(each, "cpu_parent", None))]
        widths = max_name_column_width, max_shapes_column_width, max_src_column_width
        return table(rows, sort_by, row_limit, widths, header, self.memory, time_unit)

    def __str__(self):
        return self.table()
