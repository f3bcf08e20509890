"""The row of a case: both sides on the same numbers, compared, then timed turn by turn."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import asdict, dataclass, field

import numpy as np

import tritorch
from tritorch import creation
from tritorch.autotune import roofline
from tritorch.autotune.comparing import Truth, compare_all
from tritorch.bench.case import Side, short
from tritorch.bench.precision import check_results, multiplying
from tritorch.bench.stopwatch import stopwatch_for
from tritorch.runtime import transfer
from tritorch.validation import tolerance


@dataclass(frozen=True)
class Row:
    """What was measured: medians in `unit`, shares of one for the rest; None for what there is not.

    ratio     the speed of ours over theirs: above 1 ours is faster
    roofline  how much ours reached of what the device attains
    spread    how far measurements lie apart over their median, of the side where that is more
    agree     whether the results of both sides are the same within what their dtype allows
    more      what only some cases have, by name
    """

    case: str
    dtype: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    roofline: float | None
    spread: float
    agree: bool | None
    more: dict = field(default_factory=dict)

    def to_json(self):
        """JSON's own types, by name in order; what only some have comes last."""
        found = asdict(self)
        return found | found.pop("more")


def measure(case, device, peer=None, compiled=False):
    """(the Row of a case on a Device, against a Peer if there is one; where the results differ, else "").

    With `compiled` a case that can be is timed as the other library's compiler makes it, too.
    """
    peer = None if case.alone else peer
    with multiplying(case, device, peer), contextlib.ExitStack() as stack:
        tensors = drawn(case, device)
        others = []
        if peer is not None:
            stack.enter_context(peer.running(device))
            others = peer.tensors(tensors)  # before gradients are asked for: they are not handed over
            _require(case, others)
        _require(case, tensors)
        ours = case.step(tritorch, *tensors)
        theirs = ways(case, peer, others) if peer is not None else []
        worst, where = _compared(case, ours, peer, theirs[0]) if theirs else (None, "")
        agree = None if worst is None else bool(worst <= allowed(case))
        compiled = compiled and peer is not None and case.compiles
        fused = [case.step(peer.lib, *others, wrap=peer.compiled)] if compiled else []
        beside = case.beside(device)
        steps = [ours, *theirs, *fused]
        timings = stopwatch_for(device, case.on_host, case.is_whole).turns([*steps, *beside])
        sides = _sides(peer, steps, timings, len(theirs))
        more = _compiler(case, sides)
        more |= case.facts(device, sides, [each.p50 for each in timings[len(steps) :]])
        best = min(timings[1 : 1 + len(theirs)], key=lambda timing: timing.p50, default=None)
        return _row(case, device, timings[0], best, agree, more), where


def _sides(peer, steps, timings, ways):
    """The Sides by name; of several ways of the other library the fastest."""
    timed = list(zip(steps, (each.p50 for each in timings[: len(steps)]), strict=True))
    sides = {"ours": Side(tritorch, *timed[0])}
    if ways:
        sides["theirs"] = Side(peer.lib, *min(timed[1 : 1 + ways], key=lambda each: each[1]), peer)
    for each in timed[1 + ways :]:
        sides["compiled"] = Side(peer.lib, *each, peer)
    return sides


def _compiler(case, sides):
    """What the other library's compiler reached, and the speed of ours over that."""
    if "compiled" not in sides:
        return {}
    seconds = sides["compiled"].seconds
    return {"compiled": short(case.figure(seconds)), "over_compiled": short(seconds / sides["ours"].seconds)}


def allowed(case):
    """How far two sides may lie apart, in units of what one may be from the truth: twice, since either may be.

    For gradients that is as much more as the tolerances say.
    """
    return 2 * tolerance("float32", gradient=case.gives_gradients)[0] / tolerance("float32")[0]


def drawn(case, device):
    """The inputs as tensors, the same numbers at every call."""
    hosts = case.drawn(np.random.default_rng(0))
    return [creation.wrap(transfer.mirror(host, device), device) for host in hosts]


def _require(case, tensors):
    for each, tensor in zip(case.inputs, tensors, strict=True):
        if each.requires_grad:
            tensor.requires_grad_()


def ways(case, peer, tensors):
    """The other side's step by each choice that it can do it with, each as a function; a RuntimeError if by none."""
    if case.choices is None:
        return [case.step(peer.lib, *tensors)]
    found, refused = [], []
    for name, context in case.choices(peer.lib).items():
        try:
            with warnings.catch_warnings(), context():
                warnings.simplefilter("ignore")  # why it refuses stands in the error
                step = case.step(peer.lib, *tensors)
                step()
        except RuntimeError as error:
            refused.append(f"{name}: {error}")
        else:
            found.append(_within(context, step))
    if not found:
        raise RuntimeError(f"{peer.name} can do this by no choice of its own: {'; '.join(refused)}")
    return found


def _within(context, step):
    def function():
        with context():
            return step()

    return function


def _compared(case, ours, peer, theirs):
    """(the largest difference in units of what is allowed, where it is)."""
    mine = [each.array for each in _as_tuple(case.results(ours))]
    others = peer.arrays(_as_tuple(case.results(theirs)))
    check_results(case, mine, others, peer)
    truths = [Truth(_exact(transfer.to_host(each))) for each in others]
    return compare_all(truths, mine, case.length, case.tf32)


def _exact(array):
    """Half precision as float32, in which it can be looked at."""
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def _as_tuple(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _row(case, device, ours, theirs, agree, more):
    reached = None
    if case.work is not None and device.is_cuda and not case.on_host:
        reached = short(roofline.fraction(case.work, ours.p50, device))
    return Row(
        case=case.name,
        dtype=case.dtype,
        ours=short(case.figure(ours.p50)),
        theirs=None if theirs is None else short(case.figure(theirs.p50)),
        unit=case.unit,
        ratio=None if theirs is None else short(theirs.p50 / ours.p50),
        roofline=reached,
        spread=short(max(each.spread for each in (ours, theirs) if each is not None)),
        agree=agree,
        more=more,
    )
