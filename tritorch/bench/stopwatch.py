"""How long functions take, one call of each after the other, so that what slows the machine slows all alike.

Each stopwatch has `turns(functions)`, which gives the Timing of each. The device's own is the tuner's clock: events of
the driver on this library's stream, with a cold L2 cache, and Python's time hidden behind the flush of it.
"""

from __future__ import annotations

import time

from tritorch.autotune.clock import DeviceClock, SimulatedClock, timing_of
from tritorch.runtime import launcher
from tritorch.runtime.kernel import recording_launches

ROUNDS = 11
ROUND_SECONDS, MOST_CALLS = 0.005, 500  # of a round, and calls in it: fewer than a GPU's queue holds
STEP_ROUND_SECONDS = 0.1  # of a round of whole steps, so that the wait at its end does not count
WARM_CALLS = 3  # the first compiles, the second is noted for a plan, the third is the first to follow it
LONG_SECONDS, FEW_ROUNDS = 0.2, 3  # of what takes longer than this


def stopwatch_for(device, on_host, is_whole=False):
    """What times on a device: Python's time until all is queued if `on_host`, until all is done if `is_whole`."""
    if is_whole and not (device.is_cuda and launcher.is_diverted()):
        return StepStopwatch(device)
    if on_host or not device.is_cuda:
        return HostStopwatch(device)
    return SimulatedStopwatch(device) if launcher.is_diverted() else DeviceStopwatch(device)


class HostStopwatch:
    """Times by the host's clock; what the calls have queued on a GPU is waited for between rounds."""

    round_seconds = property(lambda self: ROUND_SECONDS)
    long_seconds, few_rounds = LONG_SECONDS, FEW_ROUNDS

    def __init__(self, device):
        self.device = device

    def turns(self, functions):
        """The Timing of a call of each."""
        once = []
        for function in functions:
            for _ in range(WARM_CALLS):
                self._round(function, 1)
            once.append(self._round(function, 1))
        counts = [min(max(int(self.round_seconds / seconds), 1), MOST_CALLS) for seconds in once]
        samples = [[] for _ in functions]
        for turn in range(ROUNDS if max(once) < self.long_seconds else self.few_rounds):
            for at in range(len(functions)):
                at = (at + turn) % len(functions)
                samples[at].append(self._round(functions[at], counts[at]))
        return [timing_of(each) for each in samples]

    def _round(self, function, calls):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        seconds = time.perf_counter() - start
        self._wait()
        return max(seconds / calls, 1e-9)

    def _wait(self):
        if self.device.is_cuda:
            from tritorch.runtime.cuda import stream

            stream.synchronize(self.device)


class StepStopwatch(HostStopwatch):
    """Times rounds of whole steps, one after the other as a training loop makes them, until a GPU has done the last."""

    round_seconds = property(lambda self: STEP_ROUND_SECONDS)
    long_seconds, few_rounds = 1.0, 5

    def _round(self, function, calls):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        self._wait()
        return max((time.perf_counter() - start) / calls, 1e-9)


class DeviceStopwatch:
    """Times what functions queue on this library's stream, by events there."""

    def __init__(self, device):
        self.clock = DeviceClock(device, "eager")

    def turns(self, functions):
        """The Timing of a call of each."""
        return self.clock.turns([self.clock.queued(function) for function in functions])


class SimulatedStopwatch:
    """Times by the tuner's model of the launches, where launches do not reach a GPU."""

    def __init__(self, device):
        self.clock = SimulatedClock(device)

    def turns(self, functions):
        """The modelled Timing of a call of each."""
        replays = []
        for function in functions:
            with recording_launches(run=False) as launches:
                function()
            replays.append(launches)
        return self.clock.finals(replays)
