"""Traces: which ops a program calls, with which arguments, how often and for how long; and the files of them."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from time import perf_counter

from tritorch.autograd.intercept import Interceptor, in_all_threads
from tritorch.autograd.variable import Variable
from tritorch.autotune.device import cuda_info
from tritorch.autotune.op_problem import PASSING, OpProblem
from tritorch.autotune.problem import Problem, configs_asked, describe, problem_from
from tritorch.optim.hooks import register_optimizer_step_post_hook
from tritorch.runtime.device import CPU, INTERPRETER, Device
from tritorch.runtime.files import whole_file
from tritorch.runtime.launcher import set_launch_watcher

FORMAT = 1
_MOST_CALLS = 20_000  # different calls that a thread tells apart; others count by their op
_MOST_PENDING = 256  # launches whose times are not read yet before it is seen which are done
_LARGEST_FILE = 64 << 20
_MOST_PROBLEMS = 10_000


@dataclass(frozen=True)
class Traced:
    """One line of a shapes file: a problem, how often it was called, for how long in all, and its share of the time."""

    problem: Problem | None
    count: int
    seconds: float
    share: float | None


@dataclass
class Seen:
    """Calls of an op that are alike; `problem` is None where there is nothing to tune, for the reason in `why`."""

    op: str
    problem: OpProblem | None = None
    why: str = ""
    device: Device | None = None
    count: int = 0
    seconds: float = 0.0


class Enough(BaseException):
    """Raised inside a program to end it: as much was traced as was asked for."""


class _Here(threading.local):
    def __init__(self):
        self.calls = None  # of this thread, by signature
        self.current = None


class Tracer(Interceptor):
    """Notes every op call of a program, in all its threads, while it is entered.

    On a GPU an op's time is that of its launches, each between two events which are read later, so nothing waits; else
    it is the time the call took. After `steps` steps of optimizers or `seconds`, the program is ended by `Enough`.
    """

    outermost = transparent = True

    def __init__(self, steps=None, seconds=None):
        self.steps, self.seconds = steps, seconds
        self._here, self._threads, self._lock = _Here(), [], threading.Lock()
        self._launches = _Launches()
        self._entered, self._deadline = None, None
        self.began = self.open = False

    def __enter__(self):
        self._watcher_before = set_launch_watcher(self._watch)
        self._entered = in_all_threads(self)
        self._entered.__enter__()
        self._hook = register_optimizer_step_post_hook(self._stepped)
        self._deadline = None if self.seconds is None else perf_counter() + self.seconds
        self.began = self.open = True
        return self

    def __exit__(self, kind, *_):
        self.open = False
        self._hook.remove()
        self._entered.__exit__(None, None, None)
        set_launch_watcher(self._watcher_before)
        self._launches.read(wait=True)
        return kind is Enough

    # -------------------------------------------------------------------------------------------------- what it sees

    def intercept(self, cls, args):
        """The call, noted."""
        if not self.open:
            return cls.apply(*args)
        here = self._here
        if here.calls is None:
            here.calls = {}
            with self._lock:
                self._threads.append(here.calls)
        key = _signature(cls, args)
        seen = here.calls.get(key)
        if seen is None:
            seen = self._first(here.calls, key, cls, args)  # before the op runs, which may write to its arguments
        here.current, began = seen, perf_counter()
        try:
            outputs = cls.apply(*args)
        finally:
            here.current = None
        ended = perf_counter()
        seen.count += 1
        if not seen.device.is_cuda:
            seen.seconds += ended - began
        if self._deadline is not None and ended > self._deadline:
            self._end()
        return outputs

    def _first(self, calls, key, cls, args):
        if len(calls) >= _MOST_CALLS:
            key = cls
            if key in calls:
                return calls[key]
            seen = Seen(cls.op_name, why=f"more than {_MOST_CALLS} different calls")
        else:
            seen = Seen(cls.op_name)
            try:
                seen.problem = OpProblem.of(cls, args)
            except ValueError as error:
                seen.why = str(error)
        devices = [arg.device for arg in args if isinstance(arg, Variable)] or (args[-1:] if cls.creates else [CPU])
        seen.device = next((device for device in devices if device.is_cuda), devices[0])
        calls[key] = seen
        return seen

    def _watch(self, kernel, stream):
        seen = self._here.current
        return nullcontext() if seen is None else self._launches.timed(seen, stream)

    def _stepped(self, *_):
        if self.steps is not None and self.open:
            self.steps -= 1
            if self.steps <= 0:
                self._end()

    def _end(self):
        if threading.current_thread() is threading.main_thread():
            raise Enough

    # ------------------------------------------------------------------------------------------------- what came of it

    def seen(self):
        """All that was seen, of all threads, most expensive first; calls with the same description together."""
        found: dict = {}
        for calls in self._threads:
            for each in list(calls.values()):
                name = json.dumps(describe(each.problem)) if each.problem else (each.op, each.why)
                known = found.setdefault(name, Seen(each.op, each.problem, each.why, each.device))
                known.count += each.count
                known.seconds += each.seconds
        return sorted((each for each in found.values() if each.count), key=lambda each: -each.seconds)


def device_text(seen):
    """The device that took the most time, for people."""
    seconds: dict = {}
    for each in seen:
        seconds[each.device] = seconds.get(each.device, 0.0) + each.seconds
    device = max(seconds, key=seconds.__getitem__)
    return f"{device} ({cuda_info(device.index).name})" if device.is_cuda else str(device)


def _signature(cls, args):
    """What tells a call from others, as far as it matters which kernels it runs and how long; cheap to make."""
    return cls, *[_kind(arg) for at, arg in enumerate(args) if at not in _passing(cls)]


_passing_by_class: dict = {}


def _passing(cls):
    found = _passing_by_class.get(cls)
    if found is None:
        found = _passing_by_class[cls] = frozenset(at for at, name in enumerate(cls.names) if name in PASSING)
    return found


def _kind(arg):
    if isinstance(arg, Variable):
        array = arg.array
        return array.dtype, array.shape, array.strides, arg.device
    kind = type(arg)
    if kind is bool or kind is int:
        return kind, arg
    if kind is float:  # a factor, a rate: another one runs the same code, but for none
        return kind, arg == 0
    if kind is tuple or kind is list:
        return tuple(map(_kind, arg))
    if kind is slice:
        return kind, arg.start, arg.stop, arg.step
    return arg


class _Launches:
    """Times launches by pairs of events; pairs whose launches are done are read and used again."""

    def __init__(self):
        self._free: dict = {}  # by device
        self._pending: deque = deque()
        self._lock = threading.Lock()

    @contextmanager
    def timed(self, seen, stream):
        """Events around a launch, whose time counts for `seen`."""
        with self._lock:
            free = self._free.setdefault(stream.device_index, [])
            first, last = free.pop() if free else (_event(), _event())
        first.record(stream)
        yield
        last.record(stream)
        with self._lock:
            self._pending.append((seen, first, last, stream.device_index))
        if len(self._pending) % _MOST_PENDING == 0:
            self.read(wait=False)

    def read(self, wait):
        """Read the pairs that are done; with `wait`, all."""
        with self._lock:
            while self._pending and (wait or self._pending[0][2].query()):
                seen, first, last, index = self._pending.popleft()
                if wait:
                    last.synchronize()
                seen.seconds += first.elapsed_time(last) / 1e3
                self._free[index].append((first, last))


def _event():
    from tritorch.runtime.cuda.stream import Event

    return Event(enable_timing=True)


# ------------------------------------------------------------------------------------------------------------ the file


@dataclass(frozen=True)
class Trace:
    """A trace as a file has it: problems, most expensive first, and what was left out."""

    problems: list  # of Traced
    left_out: Traced | None  # problems beyond the number that was asked for, as one; its problem is None
    untuned: dict  # name of an op without anything to tune -> (count, seconds)
    count: int
    seconds: float


def trace_of(seen, most):
    """The Trace of what a Tracer saw, with up to `most` problems."""
    total = sum(each.seconds for each in seen)
    problems, more, untuned = [], [], {}
    for each in seen:
        share = each.seconds / total if total else 0.0
        if each.problem is None or not (len(problems) >= most or _asks(each)):
            count, seconds = untuned.get(each.op, (0, 0.0))
            untuned[each.op] = count + each.count, seconds + each.seconds
        else:
            (problems if len(problems) < most else more).append(Traced(each.problem, each.count, each.seconds, share))
    rest = {name: sum(getattr(each, name) for each in more) for name in ("count", "seconds", "share")}
    return Trace(problems, Traced(None, **rest) if more else None, untuned, sum(each.count for each in seen), total)


def _asks(seen):
    """Whether a call asks for a config at all: copies and calls on empty tensors do not."""
    return bool(configs_asked(seen.problem.call(INTERPRETER, values=False)))


def write_shapes(path, trace, script, device):
    """Write a trace to a shapes file, whole or not at all."""
    found = {
        "format": FORMAT,
        "script": script,
        "device": device,
        "calls": trace.count,
        "seconds": _rounded(trace.seconds),
        "problems": [
            {"problem": describe(each.problem), "count": each.count, "seconds": _rounded(each.seconds),
             "share": _rounded(each.share)}
            for each in trace.problems
        ],
    }  # fmt: skip
    lines = json.dumps(found | {"problems": []}, indent=1)[: -len("[]\n}")]
    rows = ",\n  ".join(json.dumps(each) for each in found["problems"])  # one a line, to be read and edited by people
    with whole_file(path) as file:
        file.write(f"{lines}[\n  {rows}\n ]\n}}\n".encode())


def _rounded(number):
    return float(f"{number:.6g}")


def read_shapes(path):
    """The problems of a shapes file, a list of Traced; a ValueError naming the file and the line where it is none.

    Of each problem only `problem` is needed; `count` is 1 and `seconds` 0 by default, and `share` is worked out of the
    seconds, or evenly, where one is not given.
    """
    if os.path.getsize(path) > _LARGEST_FILE:
        raise ValueError(f"{path}: a shapes file of more than {_LARGEST_FILE >> 20} MiB")
    with open(path, "rb") as file:
        try:
            found = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no JSON: {error}") from error
    rows = found.get("problems") if isinstance(found, dict) else None
    if not isinstance(rows, list) or len(rows) > _MOST_PROBLEMS:
        raise ValueError(f"{path}: no list of up to {_MOST_PROBLEMS} 'problems', so it is no shapes file")
    if found.get("format") != FORMAT:
        raise ValueError(f"{path}: format {found.get('format')!r}; this tritorch reads {FORMAT}")
    return _with_shares([_read(row, f"{path}, problem {number}") for number, row in enumerate(rows, 1)])


def _read(row, where):
    if not isinstance(row, dict) or not isinstance(row.get("problem"), dict):
        raise ValueError(f"{where}: it has no 'problem'")
    try:
        problem = problem_from(row["problem"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    count, seconds, share = row.get("count", 1), row.get("seconds", 0), row.get("share")
    for name, value in (("count", count), ("seconds", seconds), ("share", 0 if share is None else share)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e18:
            raise ValueError(f"{where}: {name} is {value!r}; it takes a number that is not negative")
    return Traced(problem, int(count), float(seconds), share)


def _with_shares(rows):
    total = sum(row.seconds for row in rows)
    return [
        row if row.share is not None else replace(row, share=row.seconds / total if total else 1 / len(rows))
        for row in rows
    ]
