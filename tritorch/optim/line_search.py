"""A line search that ends where the strong Wolfe conditions hold."""

from __future__ import annotations

from typing import NamedTuple


class Point(NamedTuple):
    """What is known of the function at one step size."""

    step: float
    value: float
    gradient: object
    slope: float  # the gradient along the direction


class StrongWolfe:
    """Looks for a step t with f(t) <= f(0) + c1 t f'(0) and |f'(t)| <= c2 |f'(0)|, c1 = 1e-4 and c2 = 0.9.

    evaluate   gives the Point of a step size
    start      the Point of step size 0
    size       the largest element of the direction
    tolerance  how far, times `size`, the ends of a bracket may lie apart without being searched between
    most       how many step sizes are tried after the first
    Source: Nocedal, Wright, "Numerical optimization", 2006, algorithms 3.5 and 3.6, with cubic interpolation.
    """

    def __init__(self, evaluate, start, size, tolerance, most):
        self.evaluate, self.start, self.size, self.tolerance, self.most = evaluate, start, size, tolerance, most
        self.tries = 0

    def search(self, step):
        """The Point that was found, beginning with `step`, and the count of evaluations."""
        ends, found = self._bracket(step)
        return found or self._zoom(ends), self.tries + 1

    def _decreases(self, point):
        return point.value <= self.start.value + 1e-4 * point.step * self.start.slope

    def _is_flat(self, point):
        return abs(point.slope) <= -0.9 * self.start.slope

    def _bracket(self, step):
        """The ends of a stretch with such a step in it, and the step itself if it was found."""
        before, point = self.start, self.evaluate(step)
        while self.tries < self.most:
            if not self._decreases(point) or (self.tries > 1 and point.value >= before.value):
                return [before, point], None
            if self._is_flat(point):
                return [point], point
            if point.slope >= 0:
                return [before, point], None
            further = point.step + 0.01 * (point.step - before.step), point.step * 10
            step = _lowest_of_cubic(before, point, further)
            before, point = point, self.evaluate(step)
            self.tries += 1
        return [self.start, point], None

    def _zoom(self, ends):
        """Narrow the stretch until its better end fulfils the conditions, it is short enough, or the tries are over."""
        low, stuck = _better(ends), False
        while self.tries < self.most and abs(ends[1].step - ends[0].step) * self.size >= self.tolerance:
            step, stuck = self._between(ends, stuck)
            point = self.evaluate(step)
            self.tries += 1
            if not self._decreases(point) or point.value >= ends[low].value:
                ends[1 - low] = point
                low = _better(ends)
                continue
            if self._is_flat(point):
                return point
            if point.slope * (ends[1 - low].step - ends[low].step) >= 0:
                ends[1 - low] = ends[low]
            ends[low] = point
        return ends[low]

    @staticmethod
    def _between(ends, stuck):
        """The step to try next, moved off an end that it is too near to twice in a row."""
        least, most = sorted(each.step for each in ends)
        step = _lowest_of_cubic(*ends, (least, most))
        margin = 0.1 * (most - least)
        if min(most - step, step - least) >= margin:
            return step, False
        if not stuck and least < step < most:
            return step, True
        return (most - margin if most - step < step - least else least + margin), False


def _better(ends):
    return 0 if ends[0].value <= ends[1].value else 1


def _lowest_of_cubic(one, other, bounds):
    """Where the cubic with the values and slopes of two points is lowest within the bounds."""
    low, high = bounds
    first, last = (one, other) if one.step <= other.step else (other, one)
    middle = one.slope + other.slope - 3 * (one.value - other.value) / (one.step - other.step)
    square = middle**2 - one.slope * other.slope
    if not square >= 0:
        return (low + high) / 2
    root = square**0.5
    share = (last.slope + root - middle) / (last.slope - first.slope + 2 * root)
    return min(max(last.step - (last.step - first.step) * share, low), high)
