"""What a number becomes when it is stored as a small integer: the forward pass of quantisation-aware training."""

from __future__ import annotations

import numpy as np

from tritorch.ops.autocast import FLOAT32_ON_CPUS
from tritorch.ops.formula import formula, nearest, where
from tritorch.ops.pointwise.family import Unary, straddling
from tritorch.ops.promotion import floating_only


class FakeQuantizePerTensorAffine(Unary):
    """(clamp(round(input / scale) + zero_point, quant_min, quant_max) - zero_point) * scale.

    The gradient passes unchanged where nothing is clamped and is zero elsewhere, as if nothing had been rounded: the
    straight-through estimator [Jacob et al. 2018]. NaN becomes quant_min.
    """

    exports = ("fake_quantize_per_tensor_affine",)
    autocast = FLOAT32_ON_CPUS
    arguments = ("input", "scale", "zero_point", "quant_min", "quant_max")
    types = staticmethod(floating_only("fake_quantize_tensor_cachemask_kernel_type_handling"))
    differentiable_at = staticmethod(lambda *sample: False)  # a step function, whose gradient is an estimator

    @classmethod
    def call(cls, input, scale, zero_point, quant_min, quant_max):
        if quant_min > quant_max:
            raise RuntimeError("`quant_min` should be less than or equal to `quant_max`.")
        if not quant_min <= zero_point <= quant_max:
            raise RuntimeError("`zero_point` must be between `quant_min` and `quant_max`.")
        return cls.apply(input, scale, zero_point, quant_min, quant_max)

    @staticmethod
    def reference(x, scale, zero_point, low, high):
        q = np.rint(x * (1 / scale)) + zero_point
        return (np.where(q > low, np.where(q < high, q, high), low) - zero_point) * scale

    @formula
    def value(x, scale, zero_point, low, high):
        q = nearest(x * (1 / scale)) + zero_point
        return (where(q > low, where(q < high, q, high), low) - zero_point) * scale

    @formula
    def gradient(grad, input, scale, zero_point, quant_min, quant_max):
        q = nearest(input * (1 / scale)) + zero_point
        return where((q >= quant_min) & (q <= quant_max), grad, 0)

    @staticmethod
    def samples(draw):
        for shape in straddling():  # away from the halves, where rounding turns
            steps = draw.integers(-9, 9, *shape) + draw.uniform(-0.3, 0.3, *shape)
            yield (steps * 0.5).astype(draw.dtype), 0.5, 3, 0, 7
        yield (draw.integers(-200, 200, 4, 6).astype(draw.dtype) * 0.25).T, 0.25, 0, -128, 127

    @staticmethod
    def errors(draw):
        yield (draw(3), 0.5, 3, 8, 7), {}, RuntimeError, "`quant_min` should be less than or equal to `quant_max`."
        yield (draw(3), 0.5, 9, 0, 7), {}, RuntimeError, "`zero_point` must be between `quant_min` and `quant_max`."
        yield (draw.integers(0, 3, 3), 0.5, 3, 0, 7), {}, NotImplementedError, "not implemented for 'Long'"
