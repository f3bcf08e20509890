"""Student's t distribution."""

from __future__ import annotations

import math

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.chi2 import Chi2
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.utils import broadcast_all
from tritorch.tensor import Size


class StudentT(Distribution):
    """loc + scale x / sqrt(y / df), x normal and y chi-squared with `df` degrees of freedom."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.size(), validate_args=validate_args)

    @property
    def mean(self):
        return self.loc.masked_fill(self.df <= 1, tritorch.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        found = self.scale.pow(2) * self.df / (self.df - 2)
        return found.masked_fill(self.df <= 2, tritorch.inf).masked_fill(self.df <= 1, tritorch.nan)

    def rsample(self, sample_shape=Size()):
        shape = self._extended_shape(sample_shape)
        noise = tritorch.randn(shape, dtype=self.df.dtype, device=self.df.device)
        squares = Chi2(self.df).rsample(sample_shape)
        return self.loc + self.scale * noise * (squares / self.df).rsqrt()

    def log_prob(self, value):
        self._check_value(value)
        y = (value - self.loc) / self.scale
        return -0.5 * (self.df + 1) * (y.pow(2) / self.df).log1p() - self._normaliser()

    def _normaliser(self):
        half = 0.5 * self.df
        return self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + half.lgamma() - (half + 0.5).lgamma()

    def entropy(self):
        half = 0.5 * self.df
        log_beta = half.lgamma() + math.lgamma(0.5) - (half + 0.5).lgamma()
        spread = (half + 0.5) * ((half + 0.5).digamma() - half.digamma())
        return self.scale.log() + spread + 0.5 * self.df.log() + log_beta
