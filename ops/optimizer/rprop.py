"""The step of Rprop, which looks at the signs of gradients alone."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import formula, sign, where
from tritorch.ops.optimizer.family import Plan, Timeless, tensors_for
from tritorch.runtime import tl


class RpropStep(Timeless):
    """p - sign(g) s, with a step size s for each element, which grows while the gradient keeps its sign.

    s is multiplied by etaplus where g and the gradient before have the same sign, by etaminus where they have not, and
    kept between step_min and step_max; where the sign changed, g counts as zero, now and in the next step.
    Source: Riedmiller, Braun, "A direct adaptive method for faster backpropagation learning", 1993.
    """

    states = 2

    @staticmethod
    def plan(etaminus, etaplus, step_min, step_max, maximize):
        return Plan((etaminus, etaplus, step_min, step_max), (maximize,), (True, True))

    @staticmethod
    def plain(etaminus, etaplus, step_min, step_max, maximize, value, gradient, before, size):
        gradient = -gradient if maximize else gradient
        same = gradient * before
        size = np.clip(size * np.where(same > 0, etaplus, np.where(same < 0, etaminus, 1)), step_min, step_max)
        gradient = np.where(same < 0, 0, gradient)
        return value - np.sign(gradient) * size, gradient, size

    @formula
    def step(value, gradient, before, size, etaminus, etaplus, step_min, step_max, MAXIMIZE: tl.constexpr):
        if MAXIMIZE:
            gradient = -gradient
        same = gradient * before
        size = where(same > 0, size * etaplus, where(same < 0, size * etaminus, size))
        size = where(size < step_min, step_min, where(size > step_max, step_max, size))
        gradient = where(same < 0, gradient * 0, gradient)
        return value - sign(gradient) * size, gradient, size

    @staticmethod
    def samples(draw):
        yield 0.5, 1.2, 1e-6, 50, False, *tensors_for(draw, 3, 1)
        yield 0.5, 1.2, 0.1, 0.5, True, *tensors_for(draw, 3, 1)
