"""The steps that divide the gradient by the size it has had: RMSprop, Adagrad and Adadelta."""

from __future__ import annotations

import numpy as np

from tritorch.ops.formula import formula, sqrt
from tritorch.ops.optimizer.family import Plan, Step, Timeless, decayed, tensors_for
from tritorch.runtime import tl


class RmspropStep(Timeless):
    """p - lr g / (sqrt(v) + eps), with v the average of g^2 by alpha.

    If centered, the square of the average of g is taken off v; with momentum, the quotient is added to momentum times
    a buffer, which takes its place. Sources: Hinton, lecture 6 of "Neural networks for machine learning", 2012;
    Graves, "Generating sequences with recurrent neural networks", 2013, for the centered one.
    """

    states = 3

    @staticmethod
    def plan(lr, alpha, eps, weight_decay, momentum, centered, maximize):
        moving = momentum > 0
        return Plan(
            (lr, alpha, 1 - alpha, eps, weight_decay, momentum),
            (weight_decay != 0, moving, centered, maximize),
            (True, moving, centered),
        )

    @staticmethod
    def plain(lr, alpha, eps, weight_decay, momentum, centered, maximize, value, gradient, square, buffer, mean):
        gradient = (-gradient if maximize else gradient) + weight_decay * value
        square = alpha * square + (1 - alpha) * gradient * gradient
        mean = alpha * mean + (1 - alpha) * gradient if centered else None
        change = gradient / (np.sqrt(square - mean * mean if centered else square) + eps)
        buffer = momentum * buffer + change if momentum > 0 else None
        return value - lr * (buffer if momentum > 0 else change), square, buffer, mean

    @formula
    def step(value, gradient, square, buffer, mean, lr, alpha, share, eps, weight_decay, momentum, DECAY: tl.constexpr,
             MOMENTUM: tl.constexpr, CENTERED: tl.constexpr, MAXIMIZE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, weight_decay, DECAY, MAXIMIZE)
        square = alpha * square + share * gradient * gradient
        variance = square
        if CENTERED:
            mean = mean + share * (gradient - mean)
            variance = square - mean * mean
        change = gradient / (sqrt(variance) + eps)
        if MOMENTUM:
            buffer = momentum * buffer + change
            change = buffer
        return value - lr * change, square, buffer, mean

    @staticmethod
    def samples(draw):
        yield 0.1, 0.99, 1e-8, 0, 0, False, False, *tensors_for(draw, 2, 1)
        yield 0.1, 0.9, 1e-3, 0.1, 0.9, False, True, *tensors_for(draw, 2, 2)
        mean = [each * 0.5 for each in tensors_for(draw, 1, 0)]
        above = [each * each + np.abs(draw(*each.shape)) for each in mean]  # a mean square is above the squared mean
        yield 0.1, 0.9, 1e-2, 0, 0, True, False, *tensors_for(draw, 2, 0), *above, *mean
        yield 0.1, 0.9, 1e-2, 0.1, 0.5, True, False, *tensors_for(draw, 2, 0), *above, *tensors_for(draw, 1, 0), *mean


class AdagradStep(Step):
    """p - lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps), with s the sum of all g^2.

    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic optimization", 2011.
    """

    states = 1

    @staticmethod
    def plan(lr, lr_decay, eps, weight_decay, maximize, step):
        return Plan((lr / (1 + (step - 1) * lr_decay), eps, weight_decay), (weight_decay != 0, maximize), (True,))

    @staticmethod
    def rates(lr, lr_decay, eps, weight_decay, maximize, step):
        return lr, lr_decay, eps, weight_decay

    @formula
    def counted(step, lr, lr_decay, eps, weight_decay):
        return step + 1, lr / (1 + step * lr_decay), eps, weight_decay

    @staticmethod
    def plain(lr, lr_decay, eps, weight_decay, maximize, step, value, gradient, total):
        gradient = (-gradient if maximize else gradient) + weight_decay * value
        total = total + gradient * gradient
        return value - lr / (1 + (step - 1) * lr_decay) * gradient / (np.sqrt(total) + eps), total

    @formula
    def step(value, gradient, total, rate, eps, weight_decay, DECAY: tl.constexpr, MAXIMIZE: tl.constexpr):
        gradient = decayed(value, gradient, weight_decay, DECAY, MAXIMIZE)
        total = total + gradient * gradient
        return value - rate * gradient / (sqrt(total) + eps), total

    @staticmethod
    def samples(draw):
        yield 0.1, 0, 1e-10, 0, False, 1, *tensors_for(draw, 2, 1)
        yield 0.1, 0.5, 1e-3, 0.1, True, 4, *tensors_for(draw, 2, 1)


class AdadeltaStep(Timeless):
    """p - lr d, with d = sqrt(u + eps) / sqrt(v + eps) g, where v averages g^2 and u averages d^2, both by rho.

    Source: Zeiler, "Adadelta: an adaptive learning rate method", 2012.
    """

    states = 2

    @staticmethod
    def plan(lr, rho, eps, weight_decay, maximize):
        return Plan((lr, rho, 1 - rho, eps, weight_decay), (weight_decay != 0, maximize), (True, True))

    @staticmethod
    def plain(lr, rho, eps, weight_decay, maximize, value, gradient, square, moved):
        gradient = (-gradient if maximize else gradient) + weight_decay * value
        square = rho * square + (1 - rho) * gradient * gradient
        change = np.sqrt(moved + eps) / np.sqrt(square + eps) * gradient
        return value - lr * change, square, rho * moved + (1 - rho) * change * change

    @formula
    def step(value, gradient, square, moved, lr, rho, share, eps, weight_decay, DECAY: tl.constexpr,
             MAXIMIZE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, weight_decay, DECAY, MAXIMIZE)
        square = rho * square + share * gradient * gradient
        change = sqrt(moved + eps) / sqrt(square + eps) * gradient
        return value - lr * change, square, rho * moved + share * change * change

    @staticmethod
    def samples(draw):
        yield 1.0, 0.9, 1e-6, 0, False, *tensors_for(draw, 2, 2)
        yield 0.1, 0.8, 1e-3, 0.1, True, *tensors_for(draw, 2, 2)
