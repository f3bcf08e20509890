"""The half-normal distribution."""

from __future__ import annotations

import math

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.normal import Normal
from tritorch.distributions.transformed_distribution import TransformedDistribution
from tritorch.distributions.transforms import AbsTransform
from tritorch.tensor import Size


class HalfNormal(TransformedDistribution):
    """|x| of a normal variable of mean 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True

    def __init__(self, scale, validate_args=None):
        super().__init__(Normal(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """The same distribution with its parameter expanded to `batch_shape`."""
        return HalfNormal(self.scale.expand(Size(batch_shape)), validate_args=self._validate_args)

    @property
    def scale(self):
        """The deviation of the normal variable."""
        return self.base_dist.scale

    @property
    def mean(self):
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self):
        return tritorch.zeros_like(self.scale)

    @property
    def variance(self):
        return self.scale.pow(2) * (1 - 2 / math.pi)

    def log_prob(self, value):
        self._check_value(value)
        found = self.base_dist.log_prob(value) + math.log(2)
        return tritorch.where(value >= 0, found, -tritorch.inf)

    def cdf(self, value):
        self._check_value(value)
        return 2 * self.base_dist.cdf(value) - 1

    def icdf(self, value):
        return self.base_dist.icdf((value + 1) / 2)

    def entropy(self):
        return self.base_dist.entropy() - math.log(2)
