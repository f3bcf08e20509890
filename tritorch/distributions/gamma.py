"""The Gamma distribution."""

from __future__ import annotations

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.distribution import ExponentialFamily
from tritorch.distributions.utils import broadcast_all
from tritorch.functional.counting_draws import standard_gamma
from tritorch.tensor import Size


class Gamma(ExponentialFamily):
    """rate^concentration x^(concentration - 1) exp(-rate x) / Gamma(concentration) for x above 0."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, concentration, rate, validate_args=None):
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.size(), validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape=Size()):
        shape = self._extended_shape(sample_shape)
        drawn = standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        return drawn.clamp(min=tritorch.finfo(drawn.dtype).tiny)

    def log_prob(self, value):
        value = tritorch.as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        self._check_value(value)
        return (
            tritorch.xlogy(self.concentration, self.rate)
            + tritorch.xlogy(self.concentration - 1, value)
            - self.rate * value
            - self.concentration.lgamma()
        )

    def cdf(self, value):
        self._check_value(value)
        return tritorch.special.gammainc(self.concentration, self.rate * value)

    def entropy(self):
        shape = self.concentration
        return shape - self.rate.log() + shape.lgamma() + (1.0 - shape) * shape.digamma()
