"""Steps that average: gradient descent with the mean of its values, and means of weights."""

from __future__ import annotations

from tritorch.ops.formula import formula, maximum, where
from tritorch.ops.optimizer.adam import power
from tritorch.ops.optimizer.family import Plan, Step, decayed, tensors_for
from tritorch.runtime import tl


class AsgdStep(Step):
    """p (1 - lambd eta) - eta g, and the average a + mu (p - a) of the values so far, which is p where mu is 1.

    The rate eta and the share mu are those of this step; `counted` works out the next ones, of `lr`, `alpha` and `t0`.
    Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    states = 1

    @staticmethod
    def plan(lr, lambd, alpha, t0, weight_decay, maximize, eta, mu):
        return Plan((1 - lambd * eta, eta, mu, weight_decay), (mu != 1, weight_decay != 0, maximize, False), (True,))

    @classmethod
    def counted_plan(cls, *options):
        """The formula looks at the share."""
        plan = cls.plan(*options)
        return plan._replace(flags=(True, *plan.flags[1:3], True))

    @staticmethod
    def rates(lr, lambd, alpha, t0, weight_decay, maximize, eta, mu):
        return lr, lambd, alpha, t0, weight_decay

    @classmethod
    def before(cls, *options):
        """A count of steps, which this one does not depend on, and its rate and share."""
        return (4.0, *options[-2:])

    @classmethod
    def after(cls, scalars, *options):
        """One step more, by the rate and share so far; behind it come the next ones."""
        step, eta, mu = scalars
        return (step + 1, *cls.following(step + 1, *options[:4])), (*options[:-2], eta, mu)

    @staticmethod
    def following(step, lr, lambd, alpha, t0):
        """The rate and the share of the step after this one."""
        return lr / (1 + lambd * lr * step) ** alpha, 1 / max(1, step - t0)

    @formula
    def counted(step, eta, mu, lr, lambd, alpha, t0, weight_decay):
        step = step + 1
        following = lr / power(1 + lambd * lr * step, alpha)
        return step, following, 1 / maximum(1, step - t0), 1 - lambd * eta, eta, mu, weight_decay

    @staticmethod
    def plain(lr, lambd, alpha, t0, weight_decay, maximize, eta, mu, value, gradient, average):
        gradient = (-gradient if maximize else gradient) + weight_decay * value
        value = value * (1 - lambd * eta) - eta * gradient
        return value, average + mu * (value - average)

    @formula
    def step(value, gradient, average, kept, eta, mu, weight_decay, AVERAGING: tl.constexpr, DECAY: tl.constexpr,
             MAXIMIZE: tl.constexpr, UNSURE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, weight_decay, DECAY, MAXIMIZE)
        value = value * kept - eta * gradient
        if AVERAGING:
            average = average + mu * (value - average)
            if UNSURE:
                average = where(mu == 1, value, average)
        else:
            average = value
        return value, average

    @staticmethod
    def samples(draw):
        yield 0.01, 1e-4, 0.75, 1e6, 0, False, 0.01, 1, *tensors_for(draw, 3, 0)
        yield 0.2, 0.1, 0.75, 2, 0.1, True, 0.1, 0.25, *tensors_for(draw, 3, 0)


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
