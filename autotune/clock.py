"""How long the launches of a call take: on the device's own clock, or by a model where there is no GPU.

A clock's two functions take replays, each the launches of one call in order as `recording_launches` notes them:

    measure(launches)   the Timing of one, by itself
    finals(replays)     the Timing of each, measured turn by turn, so that drift hits all alike
"""

from __future__ import annotations

import math
import random
import time
import zlib
from abc import ABC, abstractmethod

from tritorch.autotune.roofline import ceiling_of
from tritorch.autotune.trial import Timing
from tritorch.runtime import dtypes, launcher, strides, transfer


def clock_for(device, policy, seed=0, floor=0.0):
    """The Clock for a Device: its own where launches reach a GPU, else a model, which never goes below `floor`."""
    if device.is_cuda and not launcher.is_diverted():
        return DeviceClock(device, policy)
    return SimulatedClock(device, seed, floor)


class Clock(ABC):
    """Times launches."""

    @abstractmethod
    def measure(self, launches) -> Timing:
        """The Timing of a replay."""

    @abstractmethod
    def finals(self, replays) -> list[Timing]:
        """The Timing of each replay, measured turn by turn."""


def timing_of(samples):
    """The Timing of measurements in seconds."""
    ordered = sorted(samples)
    p20, p50, p80 = (_quantile(ordered, share) for share in (0.2, 0.5, 0.8))
    return Timing(p20, p50, p80, len(ordered))


def _quantile(ordered, share):
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def replay(launches):
    """Carry launches out again."""
    for kernel, grid, args, keywords in launches:
        kernel[grid](*args, **keywords)


WARM_SECONDS = 0.01  # of running before anything is measured, so that clocks have risen
MEASURED_SECONDS = 0.03  # of spans in all, for one replay
LEAST_REPEATS, MOST_REPEATS = 10, 400
FEW_REPEATS, LONG_SECONDS = 3, 0.2  # of what takes longer than this
_LAUNCH_SECONDS = 8e-6  # that Python takes for a launch, at most
_TRIED, _SLOWER = 3, 1.5  # how often a function's Python is timed, and how much longer it may take later


class DeviceClock(Clock):
    """Times by events on the GPU's stream, each repeat with a cold L2 cache.

    Before each span a buffer of twice the cache is written. While the GPU does that the host queues the span; under the
    policy "eager" it is written as often as the host needs time for, so that no span waits for Python. Under "graph"
    the launches are captured once, and a span is one replay of the graph.
    """

    def __init__(self, device, policy):
        from tritorch.runtime.cuda import driver

        self.index = driver.index_of(device)
        self.captures = policy == "graph"
        self.cache = 2 * driver.properties(self.index).L2_cache_size
        self.flush_seconds = self.cache / ceiling_of(device).bandwidth
        self._buffer = None

    def measure(self, launches):
        """The Timing of one replay."""
        return self.finals([launches])[0]

    def finals(self, replays):
        """The Timing of each replay, one repeat of each after the other; who begins changes from turn to turn."""
        return self.turns([self._prepared(each) for each in replays])

    def turns(self, runs):
        """The same for runs that `queued` gave."""
        turns = max((self._repeats(run) for run in runs), default=0)
        spans = [[] for _ in runs]
        for turn in range(turns):
            for at in range(len(runs)):
                at = (at + turn) % len(runs)
                spans[at].append(self._span(runs[at]))
        self._synchronise()
        return [timing_of([_seconds(*span) for span in each]) for each in spans]

    def queued(self, function):
        """The run of any function that queues work on this device's current stream, which it does a few times here.

        That may be another library's work, if that library was told to use this stream.
        """
        function()
        spent = min(self._host_seconds(function) for _ in range(_TRIED))
        return math.ceil((_SLOWER * spent + _LAUNCH_SECONDS) / self.flush_seconds), function

    def _host_seconds(self, function):
        """How long the host takes to queue something, the device being idle."""
        self._synchronise()
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    def _prepared(self, launches):
        """(how often to write the buffer, a function that queues the replay, which has run)."""
        replay(launches)  # before it is captured, since this may load kernels
        if not self.captures:
            flushes = math.ceil(_LAUNCH_SECONDS * (len(launches) + 1) / self.flush_seconds)  # one for the events
            return flushes, lambda: replay(launches)
        from tritorch.runtime.cuda.graph import Graph

        graph = Graph(lambda: replay(launches), self.index)
        graph.replay()
        return 1, graph.replay

    def _repeats(self, run):
        """How many repeats fill the time there is for them, after warming up."""
        once = self._seconds([self._span(run)])
        warm = min(int(WARM_SECONDS / once) + 1, MOST_REPEATS)
        seconds = self._seconds([self._span(run) for _ in range(warm)])
        if seconds > LONG_SECONDS:
            return FEW_REPEATS
        return min(max(int(MEASURED_SECONDS / seconds), LEAST_REPEATS), MOST_REPEATS)

    def _seconds(self, spans):
        """The shortest of some spans, after waiting for them."""
        self._synchronise()
        return min(_seconds(*span) for span in spans)

    def _span(self, run):
        """Queue a flush of the cache and a repeat; gives the events around the repeat."""
        from tritorch.runtime.cuda import array, copies
        from tritorch.runtime.cuda.stream import Event

        if self._buffer is None:
            self._buffer = array.empty((self.cache,), dtypes.uint8.numpy, self.index)
        start, end = Event(enable_timing=True), Event(enable_timing=True)
        start.record()  # the first time makes them, which the span must not wait for
        end.record()
        flushes, queue = run
        for _ in range(flushes):
            copies.set_memory(self._buffer.pointer, b"\0", self.cache, self.index)
        start.record()
        queue()
        end.record()
        return start, end

    def _synchronise(self):
        from tritorch.runtime.cuda.stream import current_stream

        current_stream(self.index).synchronize()


def _seconds(start, end):
    """The time between two events; a span of nothing counts as a nanosecond."""
    return max(start.elapsed_time(end) / 1e3, 1e-9)


# The model: a launch moves its arrays at the device's bandwidth, and loses by multiprocessors without work in the last
# wave, by threads with too few or too many elements, by pipelines too short or too long, and by what nobody foresees.
_LATENCY = 2e-6  # seconds a launch
_PROGRAM = 1e-7  # seconds a program, on the multiprocessor where it runs
_THREADS = 2048  # on a multiprocessor
_ELEMENTS = 16  # that a thread does best with
_NOISE = 0.004  # of a measurement
_REPEATS = 25
_CONSTANTS = (bool, int, str)


class SimulatedClock(Clock):
    """Times by a model of the launch (grid, warps, stages, bytes) with a little noise; nothing runs.

    The same seed, launch and place in the finals give the same Timing. No call takes less than `floor` seconds.
    """

    def __init__(self, device, seed=0, floor=0.0):
        self.ceiling, self.seed, self.floor = ceiling_of(device), seed, floor
        self.sms = 132
        if device.is_cuda:
            from tritorch.runtime.cuda import driver

            self.sms = driver.properties(device).sms

    def measure(self, launches):
        """The modelled Timing of one call."""
        return self._noisy(launches, "measure")

    def finals(self, replays):
        """The same, with other noise."""
        return [self._noisy(launches, "finals") for launches in replays]

    def _noisy(self, launches, what):
        seconds = self.seconds(launches)
        noise = random.Random(f"{self.seed} {what} {[_named(each) for each in launches]}")
        return timing_of([seconds * (1 + _NOISE * abs(noise.gauss(0, 1))) for _ in range(_REPEATS)])

    def seconds(self, launches):
        """What the model says, without noise."""
        moved = [_moved(each) for each in launches]
        total = max(sum(moved), 1)
        return sum(
            self._launch(launch, max(nbytes / self.ceiling.bandwidth, self.floor * nbytes / total))
            for launch, nbytes in zip(launches, moved, strict=True)
        )

    def _launch(self, launch, ideal):
        programs, warps = max(math.prod(launch.grid), 1), launch.keywords.get("num_warps") or 4
        slots = self.sms * max(1, _THREADS // (32 * warps))
        waves = math.ceil(programs / slots)
        filled = programs / (waves * slots)
        elements = sum(each.size for each in launch.arrays())
        each = max(elements, 1) / programs / (32 * warps)
        lost = 1 + 0.05 * math.log2(each / _ELEMENTS) ** 2
        lost *= 1 + 0.03 * abs((launch.keywords.get("num_stages") or 3) - 3)
        lost *= 1 + 0.06 * (zlib.crc32(_named(launch).encode()) % 1000) / 1000
        return (_LATENCY + _PROGRAM * waves + ideal) * lost / filled**0.25


def _moved(launch):
    """The bytes of all arrays of a launch, each piece of memory once."""
    found = {}
    for each in launch.arrays():
        low, high = strides.extent(each.shape, each.strides, each.itemsize)
        place = transfer.pointer(each) + low
        found[place] = max(found.get(place, 0), high - low)
    return sum(found.values())


def _named(launch):
    """A launch as text: its kernel, grid and constants, the same in every process."""
    constants = sorted((name, value) for name, value in launch.keywords.items() if isinstance(value, _CONSTANTS))
    return f"{launch.kernel.__name__} {launch.grid} {constants}"
