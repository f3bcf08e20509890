"""Schedule: what the units of one model do before and after forward and backward, and what is gathered ahead."""

from __future__ import annotations

from tritorch.autograd import engine
from tritorch.autograd.grad_mode import is_grad_enabled
from tritorch.utils.nests import tensors_in, with_tensors

_REDUCTIONS = 2  # under way at once: whole gradients of so many units wait for them


class Schedule:
    """The units of a model in the order in which they are used."""

    def __init__(self, units, forward_prefetch=False, backward_prefetch=True):
        self.units = units
        self.forward_prefetch, self.backward_prefetch = forward_prefetch, backward_prefetch
        self.sync = True  # not within no_sync
        self.began: list = []  # units in the order in which forwards began, and ended
        self.ended: list = []
        self.last: list = []  # `began` of the forward before
        self.pending: list = []  # reductions under way
        self.watched = None
        for each in units:
            each.schedule = self

    # -------------------------------------------------------------------------------------------- forward

    def begin(self):
        """A forward of the whole model begins; what a backward that failed has left is dropped."""
        if engine.current.run is not None:
            return
        self.last, self.began, self.ended, self.watched = self.began, [], [], None
        self.pending.clear()
        for each in self.units:
            each.found.clear()

    def before_forward(self, unit, arguments):
        """Gather the unit, and perhaps the one after it."""
        unit.unshard()
        if engine.current.run is not None:  # a checkpoint runs it again
            return
        self.began.append(unit)
        if self.forward_prefetch and unit in self.last:
            after = self.last.index(unit) + 1
            if after < len(self.last):
                self.last[after].start_gather()
        if unit.has_frozen and is_grad_enabled():
            for each in tensors_in(arguments):
                if each.grad_fn is not None:
                    each.register_hook(lambda gradient: self._left_behind(unit))

    def _left_behind(self, unit):
        """Backward has come to what is before a unit: its frozen parameters are needed no more."""
        if not unit.found:
            unit.reshard()

    def after_forward(self, unit, outputs):
        """Let go of the unit, and gather it again when backward comes to what it gave."""
        if engine.current.run is not None:  # a checkpoint ran it again, and gradients follow
            return
        self.ended.append(unit)
        wanted = [each for each in tensors_in(outputs) if each.grad_fn is not None] if is_grad_enabled() else []
        for each in wanted:
            each.register_hook(lambda gradient: self._before_backward(unit))
        if not (unit.keeps_gathered and wanted):
            unit.reshard()

    # -------------------------------------------------------------------------------------------- backward

    def _before_backward(self, unit):
        self.watch()
        unit.unshard()
        if self.backward_prefetch and engine.current.run.targets is None and unit in self.ended:
            at = len(self.ended) - 1 - self.ended[::-1].index(unit)
            if at:
                self.ended[at - 1].start_gather()

    def watch(self):
        """Be called when the backward pass that the script began ends."""
        run = engine.outermost()
        if self.watched is not run:
            self.watched = run
            run.at_end.append(self.end)

    def add(self, unit, local, flat, work, numbers):
        """A reduction under way; `flat` is what it reads."""
        self.pending.append((unit, local, flat, work, numbers))
        while len(self.pending) > _REDUCTIONS:
            self._take()

    def _take(self):
        unit, local, _, work, numbers = self.pending.pop(0)
        unit.take(local, work, numbers)

    def end(self):
        """A backward pass has ended: gradients of all units are reduced, and nothing stays gathered."""
        self.watched = None
        for each in self.units:
            if each.found:
                each.reduce()
        while self.pending:
            self._take()
        for each in self.units:
            each.reshard()


def cast_in(value, dtype):
    """The same nested value, its floating point tensors in `dtype`."""
    return with_tensors(value, lambda each: each.to(dtype) if each.is_floating_point() else each)
