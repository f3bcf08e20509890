"""Where the time goes: op by op on the CPU and the GPU, as a table and as a trace that Perfetto opens."""

from __future__ import annotations

from tritorch.profiler.profile import ProfilerAction as ProfilerAction
from tritorch.profiler.profile import ProfilerActivity as ProfilerActivity
from tritorch.profiler.profile import profile as profile
from tritorch.profiler.profile import record_function as record_function
from tritorch.profiler.profile import schedule as schedule
from tritorch.profiler.profile import supported_activities as supported_activities
from tritorch.profiler.profile import tensorboard_trace_handler as tensorboard_trace_handler
