"""The Cauchy distribution."""

from __future__ import annotations

import math

import tritorch
from tritorch.distributions.shared import LocationScale
from tritorch.tensor import Size


class Cauchy(LocationScale):
    """1 / (pi scale (1 + ((x - loc) / scale)^2))."""

    @property
    def mean(self):
        return tritorch.full_like(self.loc, tritorch.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        return tritorch.full_like(self.loc, tritorch.inf)

    def rsample(self, sample_shape=Size()):
        shape = self._extended_shape(sample_shape)
        return self.loc + tritorch.empty(shape, dtype=self.loc.dtype, device=self.loc.device).cauchy_() * self.scale

    def log_prob(self, value):
        self._check_value(value)
        return -math.log(math.pi) - self.scale.log() - ((value - self.loc) / self.scale).pow(2).log1p()

    def cdf(self, value):
        self._check_value(value)
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value):
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self):
        return math.log(4 * math.pi) + self.scale.log()
