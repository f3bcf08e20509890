"""`profile`: records a stretch of a program, or by a schedule some of its steps."""

from __future__ import annotations

import enum
import functools
import os
import socket
import time
import warnings
from pathlib import Path

from tritorch.profiler import recorder, trace
from tritorch.profiler.events import EventList


class ProfilerActivity(enum.Enum):
    """What is measured: time on the CPU, on the GPU."""

    CPU = 0
    CUDA = 2


class ProfilerAction(enum.Enum):
    """What a schedule says of a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities():
    """The activities that can be measured here."""
    from tritorch.runtime.cuda import driver

    return {ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if driver.is_available() else [])}


def schedule(*, wait, warmup, active, repeat=0, skip_first=0, skip_first_wait=0):
    """Skip `skip_first` steps, then in turns wait, warm up, and record; `repeat` turns (0: until the end).

    `skip_first_wait` not 0 leaves out the waiting of the first turn.
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError("Invalid profiler schedule arguments")
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results", stacklevel=2)

    def action(step):
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        if skip_first_wait:
            step += wait
        turn, place = divmod(step, wait + warmup + active)
        if repeat and turn >= repeat:
            return ProfilerAction.NONE
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        last = place == wait + warmup + active - 1
        return ProfilerAction.RECORD_AND_SAVE if last else ProfilerAction.RECORD

    return action


_RECORDS = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


class profile:
    """Time on the CPU and the GPU of every op called inside, of every gradient, and of what `record_function` marks.

    Times are in microseconds. It records the thread that enters it. `record_shapes`, `profile_memory` (on a GPU what an
    op left allocated; on the CPU the bytes of its results), `with_flops` (two for each multiplication in products of
    matrices, convolutions, attention and recurrent layers) and `with_stack` (where each op was called) add columns.
    With a `schedule` it records the steps the schedule names, told apart by `step()`, and calls `on_trace_ready` after
    the last of each turn. `with_modules` and `experimental_config` are taken and add nothing.
    """

    def __init__(self, *, activities=None, schedule=None, on_trace_ready=None, record_shapes=False,
                 profile_memory=False, with_stack=False, with_flops=False, with_modules=False, experimental_config=None,
                 execution_trace_observer=None, acc_events=False, use_cuda=None,
                 custom_trace_id_callback=None):  # fmt: skip
        self.activities = set(activities) if activities is not None else supported_activities()
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        self.schedule, self.on_trace_ready = schedule, on_trace_ready
        self.record_shapes, self.profile_memory, self.with_stack = record_shapes, profile_memory, with_stack
        self.with_flops = with_flops
        self.step_num, self.metadata = 0, {}
        self._recorder, self._step, self._spans = None, None, None
        self.current_action = self._action()

    def _action(self):
        return ProfilerAction.RECORD_AND_SAVE if self.schedule is None else self.schedule(self.step_num)

    # ---------------------------------------------------------------------------------------- beginning and ending

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Begin, as entering a `with` block does."""
        if self.current_action is not ProfilerAction.NONE:
            self._begin()

    def stop(self):
        """End, and call `on_trace_ready` if something was being recorded."""
        if self._recorder is not None:
            self._end(deliver=self.current_action in _RECORDS)

    def step(self):
        """Say that the next step of the program begins."""
        before, self.step_num = self.current_action, self.step_num + 1
        self.current_action = self._action()
        recording, records = before in _RECORDS, self.current_action in _RECORDS
        if before is ProfilerAction.RECORD_AND_SAVE and self.schedule is not None:
            self._end(deliver=True)
        elif self._recorder is not None and (records != recording or self.current_action is ProfilerAction.NONE):
            self._end(deliver=False)  # the warm-up is forgotten
        if self.current_action is not ProfilerAction.NONE:
            if self._recorder is None:
                self._begin()
            elif self.schedule is not None:
                self._step.__exit__(None, None, None)
                self._open_step()

    def _begin(self):
        self._recorder = recorder.Recorder(
            ProfilerActivity.CUDA in self.activities, self.record_shapes, self.profile_memory, self.with_stack,
            self.with_flops,
        )  # fmt: skip
        self._recorder.__enter__()
        if self.schedule is not None:
            self._open_step()

    def _open_step(self):
        self._step = self._recorder.span(f"ProfilerStep#{self.step_num}", recorder.ANNOTATION)
        self._step.__enter__()

    def _end(self, deliver):
        self._recorder.__exit__(None, None, None)
        spans, self._recorder, self._step = self._recorder.finish(), None, None
        if deliver:
            self._spans = spans
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)

    # ---------------------------------------------------------------------------------------- what was found

    def events(self):
        """Every span, in the order in which they began."""
        if self._spans is None:
            raise AssertionError("Profiler must be initialized before retrieving events")
        return EventList(self._spans, memory=self.profile_memory)

    def key_averages(self, group_by_input_shape=False, group_by_stack_n=0):
        """The spans averaged by name; `.table(sort_by="self_cpu_time_total")` shows them."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path):
        """Write the recording for Perfetto or chrome://tracing, compressed if `path` ends in .gz."""
        trace.write(path, trace.chrome_trace(self.events(), self.metadata))

    def export_stacks(self, path, metric="self_cpu_time_total"):
        """Write `caller;...;op microseconds` lines, from which flame graphs are drawn; needs `with_stack`."""
        if not self.with_stack:
            raise AssertionError("export_stacks() requires with_stack=True")
        with open(path, "w", encoding="utf-8") as file:
            for span in self.events():
                value = int(getattr(span, metric))
                if span.stack and value:
                    file.write(";".join([*reversed(span.stack), span.name]) + f" {value}\n")

    def add_metadata(self, key, value):
        """Put a string beside the trace's events."""
        self.metadata[key] = str(value)

    add_metadata_json = add_metadata


def tensorboard_trace_handler(dir_name, worker_name=None, use_gzip=False):
    """An `on_trace_ready` that writes each recording into a folder, under a name that no other run uses."""
    folder = Path(dir_name)

    def handle(found):
        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        ending = ".pt.trace.json" + (".gz" if use_gzip else "")
        found.export_chrome_trace(folder / f"{worker}.{time.time_ns()}{ending}")

    return handle


class record_function:
    """Show what runs inside the block, or inside a decorated function, under a name of its own in a profile."""

    def __init__(self, name, args=None):
        self.name, self.args, self.spans = name, args, []

    def __enter__(self):
        found = recorder.active()
        span = found.span(self.name, recorder.ANNOTATION) if found is not None else None
        self.spans.append(span)
        if span is not None:
            span.__enter__()
        return self

    def __exit__(self, *error):
        span = self.spans.pop()
        if span is not None:
            span.__exit__(*error)

    def __call__(self, function):
        @functools.wraps(function)
        def marked(*args, **kwargs):
            with record_function(self.name):
                return function(*args, **kwargs)

        return marked
