"""The steps of Rprop, which looks at signs alone, and of averages: of gradient descent, and of weights."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import formula, sign, where
from tritorch.ops.optimizer.family import Plan, Step, decayed, tensors_for
from tritorch.runtime import tl


class RpropStep(Step):
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


class AsgdStep(Step):
    """p (1 - lambd eta) - eta g, and the average a + mu (p - a) of the values so far, which is p where mu is 1.

    Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    states = 1

    @staticmethod
    def plan(lambd, eta, mu, weight_decay, maximize):
        return Plan((1 - lambd * eta, eta, mu, weight_decay), (mu != 1, weight_decay != 0, maximize), (True,))

    @staticmethod
    def plain(lambd, eta, mu, weight_decay, maximize, value, gradient, average):
        gradient = (-gradient if maximize else gradient) + weight_decay * value
        value = value * (1 - lambd * eta) - eta * gradient
        return value, average + mu * (value - average)

    @formula
    def step(value, gradient, average, kept, eta, mu, weight_decay, AVERAGING: tl.constexpr, DECAY: tl.constexpr,
             MAXIMIZE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, weight_decay, DECAY, MAXIMIZE)
        value = value * kept - eta * gradient
        return value, average + mu * (value - average) if AVERAGING else value

    @staticmethod
    def samples(draw):
        yield 1e-4, 0.01, 1, 0, False, *tensors_for(draw, 3, 0)
        yield 0.1, 0.1, 0.25, 0.1, True, *tensors_for(draw, 3, 0)


class AverageStep(Step):
    """a + share (p - a): the average a of weights, which is what is updated, moves towards the weights p.

    They stand in the place of the gradients. A share of 1 / (n + 1) weights all alike, a fixed one exponentially.
    """

    @staticmethod
    def plan(share):
        return Plan((share,))

    @staticmethod
    def plain(share, value, gradient):
        return ((1 - share) * value + share * gradient,)

    @formula
    def step(value, gradient, share):
        return (value + share * (gradient - value),)

    @staticmethod
    def samples(draw):
        yield 0.25, *tensors_for(draw, 2, 0)
        yield 0.001, *tensors_for(draw, 2, 0)
