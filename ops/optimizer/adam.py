"""The steps of Adam and its kin, which divide an average of gradients by one of their sizes."""

from __future__ import annotations

import math

import numpy as np

from tritorch.ops.formula import absolute, exp, formula, log, maximum, sqrt, where
from tritorch.ops.optimizer.family import Plan, Step, decayed, tensors_for
from tritorch.runtime import tl


@formula
def power(base, exponent):
    """base^exponent, for a base that is not negative."""
    return exp(exponent * log(base))


@formula
def rectification(beta2, step):
    """The factor of RAdam's step sizes for the variance, 0 while that is unknown."""
    longest = 2 / (1 - beta2) - 1
    decayed_by = power(beta2, step)
    length = longest - 2 * step * decayed_by / (1 - decayed_by)
    shares = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return where(length > 5, sqrt(where(length > 5, shares, 1)), 0)


def _decays(lr, weight_decay, decoupled):
    """The number of weight decay, and whether it is added to the gradient, and whether it shrinks the value."""
    if decoupled:
        return 1 - lr * weight_decay, False, weight_decay != 0
    return weight_decay, weight_decay != 0, False


def _plain_decay(lr, weight_decay, decoupled, maximize, value, gradient):
    gradient = -gradient if maximize else gradient
    if decoupled:
        return value * (1 - lr * weight_decay), gradient
    return value, gradient + weight_decay * value


class AdamStep(Step):
    """p - lr m / (sqrt(v) + eps), with moments m of g and v of g^2 averaged by beta1, beta2 and freed of their bias.

    Weight decay is added to the gradient, or taken off the weight if `decoupled` (AdamW); AMSGrad takes the largest v.
    Sources: Kingma, Ba, 2015; Loshchilov, Hutter, 2019; Reddi, Kale, Kumar, 2018.
    """

    states = 3

    @staticmethod
    def plan(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, step):
        decay, added, shrunk = _decays(lr, weight_decay, decoupled)
        return Plan(
            (lr / (1 - beta1**step), 1 - beta1, beta2, 1 - beta2, eps, decay,
             (1 - beta2**step) ** 0.5),
            (added, shrunk, maximize, amsgrad),
            (True, True, amsgrad),
        )  # fmt: skip

    @staticmethod
    def rates(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, step):
        return lr, beta1, beta2, eps, _decays(lr, weight_decay, decoupled)[0]

    @formula
    def counted(step, lr, beta1, beta2, eps, decay):
        step = step + 1
        return (step, lr / (1 - power(beta1, step)), 1 - beta1, beta2, 1 - beta2, eps, decay,
                sqrt(1 - power(beta2, step)))  # fmt: skip

    @staticmethod
    def plain(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, amsgrad, step, value, gradient, first, second,
              largest):  # fmt: skip
        value, gradient = _plain_decay(lr, weight_decay, decoupled, maximize, value, gradient)
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient * gradient
        largest = np.maximum(largest, second) if amsgrad else None
        root = np.sqrt(largest if amsgrad else second) / math.sqrt(1 - beta2**step)
        return value - lr / (1 - beta1**step) * first / (root + eps), first, second, largest

    @formula
    def step(value, gradient, first, second, largest, step_size, share1, beta2, share2, eps, decay, root,
             ADDED: tl.constexpr, SHRUNK: tl.constexpr, MAXIMIZE: tl.constexpr, AMSGRAD: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, decay, ADDED, MAXIMIZE)
        value = value * decay if SHRUNK else value
        first = first + share1 * (gradient - first)
        second = beta2 * second + share2 * gradient * gradient
        if AMSGRAD:
            largest = maximum(largest, second)
        size = sqrt(largest if AMSGRAD else second) / root
        return value - step_size * first / (size + eps), first, second, largest

    @staticmethod
    def quick(value, gradient, first, second, largest, step_size, share1, beta2, share2, eps, decay, root, added,
              shrunk, maximize, amsgrad):  # fmt: skip
        """The formula in one buffer."""
        gradient = decayed.fn(value, gradient, decay, added, maximize)
        if shrunk:
            value *= decay
        change = gradient - first
        change *= share1
        first += change
        second *= beta2
        np.multiply(gradient, gradient, out=change)
        change *= share2
        second += change
        if amsgrad:
            np.maximum(largest, second, out=largest)
        np.sqrt(largest if amsgrad else second, out=change)
        change /= root
        change += eps
        np.divide(first, change, out=change)
        change *= step_size
        value -= change

    @staticmethod
    def samples(draw):
        yield 0.1, 0.9, 0.999, 1e-8, 0, False, False, False, 3, *tensors_for(draw, 3, 1)
        yield 0.1, 0.9, 0.999, 1e-3, 0.1, False, True, False, 1, *tensors_for(draw, 3, 1)
        yield 0.1, 0.8, 0.99, 1e-3, 0.1, True, False, True, 10, *tensors_for(draw, 3, 2)


class NadamStep(Step):
    """Adam's step with Nesterov momentum: the value moves along the gradient and the average that it will be part of.

    p - lr (1 - mu) / (1 - product) g / r - lr mu' / (1 - product mu') m / r, with r = sqrt(v / (1 - beta2^step)) + eps.
    `product` is that of the momenta mu = beta1 (1 - 0.96^(step momentum_decay) / 2) of all steps so far, and mu' the
    next one. Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    states = 2

    @staticmethod
    def plan(lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, maximize, product, step):
        decay, added, shrunk = _decays(lr, weight_decay, decoupled)
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (at * momentum_decay)) for at in (step, step + 1))
        return Plan(
            (lr * (1 - now) / (1 - product), lr * following / (1 - product * following), 1 - beta1, beta2, 1 - beta2,
             eps, decay, 1 - beta2**step),
            (added, shrunk, maximize),
            (True, True),
        )  # fmt: skip

    @staticmethod
    def rates(lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, maximize, product, step):
        return lr, beta1, beta2, eps, _decays(lr, weight_decay, decoupled)[0], momentum_decay

    @classmethod
    def before(cls, *options):
        """The count of steps and the product of their momenta."""
        return options[-1] - 1, options[-2] / cls._momentum(options)

    @classmethod
    def after(cls, scalars, *options):
        """One step more, whose momentum is multiplied to the others'."""
        step, product = scalars
        options = *options[:-1], int(step) + 1
        product *= cls._momentum(options)
        return (step + 1, product), (*options[:-2], product, options[-1])

    @staticmethod
    def _momentum(options):
        return options[1] * (1 - 0.5 * 0.96 ** (options[-1] * options[5]))

    @formula
    def counted(step, product, lr, beta1, beta2, eps, decay, momentum_decay):
        step = step + 1
        now = beta1 * (1 - 0.5 * exp(-0.040821994520255166 * step * momentum_decay))  # the logarithm of 0.96
        following = beta1 * (1 - 0.5 * exp(-0.040821994520255166 * (step + 1) * momentum_decay))
        product = product * now
        return (step, product, lr * (1 - now) / (1 - product), lr * following / (1 - product * following), 1 - beta1,
                beta2, 1 - beta2, eps, decay, 1 - power(beta2, step))  # fmt: skip

    @staticmethod
    def plain(lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, maximize, product, step, value, gradient,
              first, second):  # fmt: skip
        value, gradient = _plain_decay(lr, weight_decay, decoupled, maximize, value, gradient)
        mu = beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))
        following = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient * gradient
        root = np.sqrt(second / (1 - beta2**step)) + eps
        along = (1 - mu) / (1 - product) * gradient + following / (1 - product * following) * first
        return value - lr * along / root, first, second

    @formula
    def step(value, gradient, first, second, of_gradient, of_moment, share1, beta2, share2, eps, decay, bias,
             ADDED: tl.constexpr, SHRUNK: tl.constexpr, MAXIMIZE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, decay, ADDED, MAXIMIZE)
        value = value * decay if SHRUNK else value
        first = first + share1 * (gradient - first)
        second = beta2 * second + share2 * gradient * gradient
        size = sqrt(second / bias) + eps
        return value - (of_gradient * gradient + of_moment * first) / size, first, second

    @staticmethod
    def samples(draw):
        yield 0.1, 0.9, 0.999, 1e-8, 0, 0.004, False, False, 0.05, 3, *tensors_for(draw, 3, 1)
        yield 0.1, 0.9, 0.999, 1e-3, 0.1, 0.004, False, True, 0.45, 1, *tensors_for(draw, 3, 1)
        yield 0.1, 0.8, 0.99, 1e-3, 0.1, 0.1, True, False, 0.01, 10, *tensors_for(draw, 3, 1)


def _rectified(beta2, step):
    """The factor of RAdam's step sizes, or None while too few steps were taken for the variance to be known."""
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length <= 5:
        return None
    shares = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return math.sqrt(shares)


class RadamStep(Step):
    """Adam's step times the rectification of its variance; p - lr m, without division, while that is unknown.

    With l = 2 / (1 - beta2) - 1 and l_t = l - 2 t beta2^t / (1 - beta2^t), the step is known once l_t > 5 and is
    scaled by sqrt((l_t - 4) (l_t - 2) l / ((l - 4) (l - 2) l_t)).
    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.
    """

    states = 2

    @staticmethod
    def plan(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step):
        decay, added, shrunk = _decays(lr, weight_decay, decoupled)
        known = _rectified(beta2, step)
        factor = 1.0 if known is None else known * (1 - beta2**step) ** 0.5
        return Plan(
            (lr / (1 - beta1**step) * factor, 1 - beta1, beta2, 1 - beta2, eps, decay, 1.0),
            (added, shrunk, maximize, known is not None, False),
            (True, True),
        )

    @classmethod
    def counted_plan(cls, *options):
        """The formula looks at a number that says whether the variance is known."""
        plan = cls.plan(*options)
        return plan._replace(flags=(*plan.flags[:3], True, True))

    @staticmethod
    def rates(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step):
        return lr, beta1, beta2, eps, _decays(lr, weight_decay, decoupled)[0]

    @formula
    def counted(step, lr, beta1, beta2, eps, decay):
        step = step + 1
        known = rectification(beta2, step)
        factor = where(known > 0, known * sqrt(1 - power(beta2, step)), 1)
        return (step, lr / (1 - power(beta1, step)) * factor, 1 - beta1, beta2, 1 - beta2, eps, decay,
                where(known > 0, 1.0, 0.0))  # fmt: skip

    @staticmethod
    def plain(lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step, value, gradient, first, second):
        value, gradient = _plain_decay(lr, weight_decay, decoupled, maximize, value, gradient)
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient * gradient
        change = first / (1 - beta1**step)
        known = _rectified(beta2, step)
        if known is not None:
            change = change * known * math.sqrt(1 - beta2**step) / (np.sqrt(second) + eps)
        return value - lr * change, first, second

    @formula
    def step(value, gradient, first, second, step_size, share1, beta2, share2, eps, decay, known, ADDED: tl.constexpr,
             SHRUNK: tl.constexpr, MAXIMIZE: tl.constexpr, RECTIFIED: tl.constexpr, UNSURE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, decay, ADDED, MAXIMIZE)
        value = value * decay if SHRUNK else value
        first = first + share1 * (gradient - first)
        second = beta2 * second + share2 * gradient * gradient
        change = step_size * first
        if RECTIFIED:
            size = sqrt(second) + eps
            change = change / (where(known > 0, size, 1) if UNSURE else size)
        return value - change, first, second

    @staticmethod
    def samples(draw):
        yield 0.1, 0.9, 0.999, 1e-8, 0, False, False, 3, *tensors_for(draw, 3, 1)
        yield 0.1, 0.9, 0.999, 1e-3, 0.1, False, True, 8, *tensors_for(draw, 3, 1)
        yield 0.1, 0.8, 0.99, 1e-3, 0.1, True, False, 10, *tensors_for(draw, 3, 1)


class AdamaxStep(Step):
    """p - lr / (1 - beta1^step) m / u, with m the average of g by beta1 and u = max(beta2 u, |g| + eps).

    Source: Kingma, Ba, "Adam: a method for stochastic optimization", 2015, section 7.
    """

    states = 2

    @staticmethod
    def plan(lr, beta1, beta2, eps, weight_decay, maximize, step):
        return Plan(
            (lr / (1 - beta1**step), 1 - beta1, beta2, eps, weight_decay), (weight_decay != 0, maximize), (True, True)
        )

    @staticmethod
    def rates(lr, beta1, beta2, eps, weight_decay, maximize, step):
        return lr, beta1, beta2, eps, weight_decay

    @formula
    def counted(step, lr, beta1, beta2, eps, weight_decay):
        step = step + 1
        return step, lr / (1 - power(beta1, step)), 1 - beta1, beta2, eps, weight_decay

    @staticmethod
    def plain(lr, beta1, beta2, eps, weight_decay, maximize, step, value, gradient, first, largest):
        gradient = (-gradient if maximize else gradient) + weight_decay * value
        first = beta1 * first + (1 - beta1) * gradient
        largest = np.maximum(beta2 * largest, np.abs(gradient) + eps)
        return value - lr / (1 - beta1**step) * first / largest, first, largest

    @formula
    def step(value, gradient, first, largest, step_size, share1, beta2, eps, weight_decay, DECAY: tl.constexpr,
             MAXIMIZE: tl.constexpr):  # fmt: skip
        gradient = decayed(value, gradient, weight_decay, DECAY, MAXIMIZE)
        first = first + share1 * (gradient - first)
        largest = maximum(beta2 * largest, absolute(gradient) + eps)
        return value - step_size * first / largest, first, largest

    @staticmethod
    def samples(draw):
        yield 0.1, 0.9, 0.999, 1e-8, 0, False, 3, *tensors_for(draw, 3, 1)
        yield 0.1, 0.8, 0.9, 1e-3, 0.1, True, 1, *tensors_for(draw, 3, 1)
