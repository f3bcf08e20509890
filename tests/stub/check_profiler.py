"""The profiler on a GPU (of the stub driver): each op's time on its stream, and the trace's row for it."""

from __future__ import annotations

import json

import tritorch as torch
from tritorch.profiler import profile


def test_ops_are_timed_on_their_stream(tmp_path):
    x = torch.ones(64, device="cuda", requires_grad=True)
    side = torch.cuda.Stream()
    with profile(profile_memory=True) as found:
        y = x.exp()
        with torch.cuda.stream(side):
            y.sum().backward()
    spans = {span.name: span for span in found.events()}
    (kernel,) = spans["exp"].kernels
    assert kernel.end >= kernel.start > 0 and kernel.name == "pointwise_kernel"
    assert spans["exp"].device_memory == 512  # a block of the allocator
    assert spans["sum"].kernels[0].stream != kernel.stream
    assert spans["ExpBackward0"].device_time_total >= spans["ExpBackward0"].self_device_time_total == 0
    found.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    rows = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"GPU stream 0", "GPU stream 1"} <= rows
    kernels = [event for event in events if event.get("cat") == "kernel"]
    arrows = {event["id"] for event in events if event["ph"] == "f"}
    assert len(kernels) == len(arrows) > 2
