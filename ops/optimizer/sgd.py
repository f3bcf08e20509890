"""The step of stochastic gradient descent."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import formula, where
from tritorch.ops.optimizer.family import Plan, Step, decayed, tensors_for
from tritorch.runtime import tl


class SgdStep(Step):
    """p - lr d, where d = g + weight_decay p, or with momentum d = v = momentum v + (1 - dampening) d.

    With Nesterov momentum d + momentum v in the place of v. `first` says that v, which is zero, becomes d, as in the
    first step; where the device counts, it is the scalar, 1 until a step is taken.
    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    states = 1

    @staticmethod
    def plan(lr, momentum, dampening, weight_decay, nesterov, maximize, first):
        share = 1.0 if first else 1 - dampening
        return Plan(
            (lr, momentum, share, weight_decay),
            (momentum != 0, nesterov, share != 1, weight_decay != 0, maximize),
            (momentum != 0,),
        )

    @classmethod
    def counted_plan(cls, *options):
        """Dampening is a number, which may be none."""
        plan = cls.plan(*options)
        return plan._replace(flags=(*plan.flags[:2], True, *plan.flags[3:]))

    @staticmethod
    def rates(lr, momentum, dampening, weight_decay, nesterov, maximize, first):
        return lr, momentum, dampening, weight_decay

    @classmethod
    def before(cls, *options):
        """Whether velocities are new, the last option."""
        return (float(options[-1]),)

    @classmethod
    def after(cls, scalars, *options):
        """Velocities are new no more."""
        return (0.0,), (*options[:-1], scalars[0] != 0)

    @formula
    def counted(first, lr, momentum, dampening, weight_decay):
        return first * 0, lr, momentum, where(first != 0, 1.0, 1 - dampening), weight_decay

    @staticmethod
    def plain(lr, momentum, dampening, weight_decay, nesterov, maximize, first, value, gradient, velocity):
        step = (-gradient if maximize else gradient) + weight_decay * value
        if momentum:
            velocity = step if first else momentum * velocity + (1 - dampening) * step
            step = step + momentum * velocity if nesterov else velocity
        return value - lr * step, velocity

    @formula
    def step(value, gradient, velocity, lr, momentum, share, weight_decay, MOMENTUM: tl.constexpr,
             NESTEROV: tl.constexpr, DAMPENED: tl.constexpr, DECAY: tl.constexpr, MAXIMIZE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, weight_decay, DECAY, MAXIMIZE)
        if MOMENTUM:
            added = share * gradient if DAMPENED else gradient
            velocity = momentum * velocity + added
            gradient = gradient + momentum * velocity if NESTEROV else velocity
        return value - lr * gradient, velocity

    @staticmethod
    def quick(value, gradient, velocity, lr, momentum, share, weight_decay, has_momentum, nesterov, dampened, decay,
              maximize):  # fmt: skip
        """The formula without its temporaries."""
        gradient = decayed.fn(value, gradient, weight_decay, decay, maximize)
        if has_momentum:
            velocity *= momentum
            velocity += share * gradient if dampened else gradient
            gradient = gradient + momentum * velocity if nesterov else velocity
        value -= lr * gradient

    @classmethod
    def fitted(cls, *arguments):
        """Velocities that are zero at the first step."""
        *settings, first = arguments[: len(cls.names)]
        lists = cls.lists(arguments, cls.plan(*settings, first).present)
        if first and len(lists) > 2:
            lists[2] = tuple(np.zeros_like(each) for each in lists[2])
        return *settings, first, *[each for group in lists for each in group]

    @staticmethod
    def samples(draw):
        yield 0.1, 0, 0, 0, False, False, False, *tensors_for(draw, 2, 0)
        yield 0.1, 0, 0, 0.1, False, True, False, *tensors_for(draw, 2, 0)
        still = [each * 0 for each in tensors_for(draw, 1, 0)]
        yield 0.1, 0.9, 0.5, 0, False, False, True, *tensors_for(draw, 2, 0), *still
        yield 0.1, 0.9, 0.5, 0.1, False, False, False, *tensors_for(draw, 3, 0)
        yield 0.1, 0.9, 0, 0.1, True, False, False, *tensors_for(draw, 3, 0)
        yield 1, 0.9, 0, 0, False, False, False, *[draw(3) for _ in range(3 * 65)]
