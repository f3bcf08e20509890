"""A profile as a Chrome trace: the JSON that Perfetto and chrome://tracing open (Trace Event Format, Google, 2016)."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import tritorch

_FIRST_STREAM = 1 << 24  # rows of streams: above any thread's number


def chrome_trace(spans, metadata=None):
    """The trace as a dictionary: a row for each thread, and one for each stream of a GPU with arrows to its ops."""
    process = os.getpid()
    named = {thread.native_id: thread.name for thread in threading.enumerate()}
    first = min((span.start for span in spans), default=0)
    events = [_label(process, 0, "process_name", "tritorch")]
    for thread in dict.fromkeys(span.thread for span in spans):
        events.append(_label(process, thread, "thread_name", named.get(thread, f"thread {thread}")))
    used = dict.fromkeys(kernel.stream for span in spans for kernel in span.kernels)
    rows = {stream: _FIRST_STREAM + number for number, stream in enumerate(used)}
    for number, row in enumerate(rows.values()):
        events.append(_label(process, row, "thread_name", f"GPU stream {number}"))
    for span in spans:
        events.extend(_events(span, process, first, rows))
    return {
        "schemaVersion": 1,
        "displayTimeUnit": "ms",
        "tritorch": tritorch.__version__,
        **(metadata or {}),
        "traceEvents": events,
    }


def write(path, trace):
    """Write a trace to a file; compressed where its name ends in .gz."""
    text = json.dumps(trace).encode()
    Path(path).write_bytes(gzip.compress(text) if str(path).endswith(".gz") else text)


def _label(process, thread, what, name):
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "ts": 0, "args": {"name": name}}


def _events(span, process, first, rows):
    shown = {"Input Dims": span.input_shapes, "Input type": span.input_types} if span.input_shapes else {}
    if span.stack:
        shown["Call stack"] = ";".join(span.stack)
    start = (span.start - first) / 1e3
    here = {"pid": process, "tid": span.thread}
    yield {"ph": "X", "cat": span.kind, "name": span.name, **here, "ts": start, "dur": span.cpu_time_total,
           "args": shown}  # fmt: skip
    for kernel in span.kernels:
        there = {"pid": process, "tid": rows[kernel.stream]}
        begin = (kernel.start - first) / 1e3
        yield {"ph": "X", "cat": "kernel", "name": kernel.name, **there, "ts": begin, "dur": kernel.duration,
               "args": {"op": span.name, "stream": rows[kernel.stream] - _FIRST_STREAM}}  # fmt: skip
        arrow = {"cat": "launch", "name": "launch", "id": id(kernel)}
        yield {"ph": "s", **arrow, **here, "ts": start}
        yield {"ph": "f", "bp": "e", **arrow, **there, "ts": begin}
