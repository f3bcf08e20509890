"""Steps that average: gradient descent with the mean of its values, and means of weights."""

from __future__ import annotations

from tritorch.ops.formula import formula
from tritorch.ops.optimizer.family import Plan, Step, decayed, tensors_for
from tritorch.runtime import tl


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
