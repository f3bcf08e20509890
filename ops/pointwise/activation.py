"""Activations: the functions between the layers of a network, element by element. Slopes at kinks are PyTorch's."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_GPUS
from tritorch.ops.formula import (
    ZEROS,
    erf,
    erf_on_host,
    exp,
    expm1,
    formula,
    log1p,
    maximum,
    minimum,
    sigmoid,
    tanh,
    where,
)
from tritorch.ops.pointwise.direct import in_tiles
from tritorch.ops.pointwise.family import Unary, straddling
from tritorch.ops.promotion import floating_only, like_tensors, refusing_bool


class Kinked(Unary, abstract=True):
    """A function with kinks, from which its samples keep away: none lies nearer to a half of an odd number than 0.1."""

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw.integers(-4, 4, *shape).astype(draw.dtype) + draw.uniform(0.1, 0.4, *shape),)
        yield (draw.uniform(0.1, 0.4, 6, 4).T,)


class Parametrised(Unary, abstract=True):
    """A function of one tensor and of numbers."""

    parameters: tuple = ()  # numbers for the samples

    @classmethod
    def samples(cls, draw):
        for (sample,) in Kinked.samples(draw):
            yield (sample, *cls.parameters)


class Relu(Kinked):
    """max(input, 0); the slope at 0 is 0."""

    exports = ("relu", "Tensor.relu")
    types = staticmethod(refusing_bool("Boolean inputs not supported for relu"))
    reference = staticmethod(lambda x: np.maximum(x, 0))

    quick = staticmethod(lambda x: np.maximum(x, ZEROS.get(x.dtype, 0)))

    @formula
    def value(x):
        return maximum(x, 0)

    @formula
    def gradient(grad, output):
        return where(output <= 0, 0, grad)


class Hardtanh(Parametrised):
    """input between min_val and max_val; the slope at both is 0."""

    arguments = ("input", "min_val", "max_val")
    parameters = (-0.5, 1.5)
    types = staticmethod(refusing_bool("Bool inputs not supported for hardtanh", like_tensors))
    reference = staticmethod(lambda x, low, high: np.minimum(np.maximum(x, low), high))

    @formula
    def value(x, low, high):
        return minimum(maximum(x, low), high)

    @formula
    def gradient(grad, input, min_val, max_val):
        return where((input <= min_val) | (input >= max_val), 0, grad)


class LeakyRelu(Parametrised):
    """input above 0, negative_slope * input elsewhere."""

    arguments = ("input", "negative_slope")
    parameters = (0.1,)
    types = staticmethod(floating_only("leaky_relu_cpu"))
    reference = staticmethod(lambda x, slope: np.where(x > 0, x, x * slope))

    @formula
    def value(x, negative_slope):
        return where(x > 0, x, x * negative_slope)

    @formula
    def gradient(grad, input, negative_slope):
        return where(input > 0, grad, grad * negative_slope)


class Elu(Parametrised):
    """scale * input above 0, scale * alpha * (exp(input * input_scale) - 1) elsewhere [Clevert et al. 2015]."""

    arguments = ("input", "alpha", "scale", "input_scale")
    parameters = (1.3, 1.1, 0.7)
    types = staticmethod(floating_only("elu_cpu"))

    @staticmethod
    def reference(x, alpha, scale, input_scale):
        return np.where(x > 0, scale * x, scale * alpha * np.expm1(np.minimum(x, 0) * input_scale))

    @formula
    def value(x, alpha, scale, input_scale):
        return where(x > 0, scale * x, scale * alpha * expm1(minimum(x, 0) * input_scale))

    @formula
    def gradient(grad, input, alpha, scale, input_scale):
        low = grad * (scale * alpha * input_scale) * exp(minimum(input, 0) * input_scale)
        return where(input <= 0, low, grad * scale)


class Gelu(Unary):
    """input * Phi(input), Phi the normal distribution function [Hendrycks, Gimpel 2016]."""

    types = staticmethod(floating_only("GeluKernelImpl"))
    reference = staticmethod(lambda x: x * 0.5 * (1 + erf_on_host(x * 0.7071067811865476)))
    quick = staticmethod(in_tiles(lambda x: x * 0.5 * (1 + erf.host(x * 0.7071067811865476))))

    @formula
    def value(x):
        return x * 0.5 * (1 + erf(x * 0.7071067811865476))

    @formula
    def slope(input):
        below = 0.5 * (1 + erf(input * 0.7071067811865476))
        return below + input * 0.3989422804014327 * exp(-0.5 * input * input)


class GeluTanh(Unary):
    """0.5 * input * (1 + tanh(sqrt(2 / pi) * (input + 0.044715 * input^3))): gelu, approximately."""

    types = staticmethod(floating_only("GeluKernelImpl"))
    reference = staticmethod(lambda x: 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))))

    @formula
    def value(x):
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))

    @formula
    def slope(input):
        square = input * input
        bent = tanh(0.7978845608028654 * (input + 0.044715 * input * square))
        inner = 0.7978845608028654 * (1 + 0.134145 * square)
        return 0.5 * (1 + bent) + 0.5 * input * (1 - bent * bent) * inner


class Silu(Unary):
    """input * sigmoid(input) [Elfwing et al. 2018]."""

    types = staticmethod(floating_only("silu_cpu"))
    reference = staticmethod(lambda x: x / (1 + np.exp(-x)))

    @formula
    def value(x):
        return x * sigmoid(x)

    @formula
    def slope(input):
        s = sigmoid(input)
        return s * (1 + input * (1 - s))


class Softplus(Parametrised):
    """log(1 + exp(beta * input)) / beta; input itself where beta * input is above threshold."""

    autocast = FLOAT32_ON_GPUS
    arguments = ("input", "beta", "threshold")
    parameters = (1.3, 4.5)
    types = staticmethod(floating_only("softplus_cpu"))

    @staticmethod
    def reference(x, beta, threshold):
        scaled = x * beta
        return np.where(scaled > threshold, x, np.log1p(np.exp(np.minimum(scaled, threshold))) / beta)

    @formula
    def value(x, beta, threshold):
        scaled = x * beta
        return where(scaled > threshold, x, log1p(exp(minimum(scaled, threshold))) / beta)

    @formula
    def gradient(grad, input, beta, threshold):
        scaled = input * beta
        return where(scaled > threshold, grad, grad * sigmoid(scaled))


class LogSigmoid(Unary):
    """log(sigmoid(input)), without overflow: min(input, 0) - log(1 + exp(-|input|))."""

    exports = ("nn.functional.logsigmoid",)
    types = staticmethod(floating_only("log_sigmoid_forward_cpu"))
    reference = staticmethod(lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))

    @formula
    def value(x):
        return minimum(x, 0) - log1p(exp(minimum(x, -x)))

    @formula
    def slope(input):
        return sigmoid(-input)


class Mish(Unary):
    """input * tanh(log(1 + exp(input))) [Misra 2019]."""

    types = staticmethod(floating_only("mish_cpu"))
    reference = staticmethod(lambda x: x * np.tanh(np.logaddexp(x, 0)))

    @formula
    def value(x):
        return x * tanh(maximum(x, 0) + log1p(exp(minimum(x, -x))))

    @formula
    def slope(input):
        bent = tanh(maximum(input, 0) + log1p(exp(minimum(input, -input))))
        return bent + input * sigmoid(input) * (1 - bent * bent)


class Hardsigmoid(Kinked):
    """input / 6 + 1 / 2 between 0 and 1; the slope at both ends is 0."""

    types = staticmethod(floating_only("hardsigmoid_cpu"))
    reference = staticmethod(lambda x: np.minimum(np.maximum(x + 3, 0), 6) / 6)

    @formula
    def value(x):
        return minimum(maximum(x + 3, 0), 6) * 0.16666666666666666

    @formula
    def gradient(grad, input):
        return where((input > -3) & (input < 3), grad * 0.16666666666666666, 0)


class Hardswish(Kinked):
    """input * hardsigmoid(input)."""

    types = staticmethod(floating_only("hardswish_cpu"))
    reference = staticmethod(lambda x: x * (np.minimum(np.maximum(x + 3, 0), 6) / 6))

    @formula
    def value(x):
        return x * minimum(maximum(x + 3, 0), 6) * 0.16666666666666666

    @formula
    def gradient(grad, input):
        return where(input <= -3, 0, where(input < 3, grad * (input / 3 + 0.5), grad))
