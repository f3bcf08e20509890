"""The Gumbel distribution."""

from __future__ import annotations

import math

import tritorch
from tritorch.distributions.shared import LocationScale
from tritorch.tensor import Size

EULER = 0.57721566490153286060


class Gumbel(LocationScale):
    """loc - scale log(-log u) for u uniform on (0, 1)."""

    @property
    def mean(self):
        return self.loc + self.scale * EULER

    @property
    def mode(self):
        return self.loc

    @property
    def stddev(self):
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self):
        return self.stddev.pow(2)

    def rsample(self, sample_shape=Size()):
        limits = tritorch.finfo(self.loc.dtype)
        u = tritorch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.icdf(u.clamp(min=limits.tiny, max=1 - limits.eps))

    def log_prob(self, value):
        self._check_value(value)
        y = (self.loc - value) / self.scale
        return (y - y.exp()) - self.scale.log()

    def cdf(self, value):
        self._check_value(value)
        return (-((self.loc - value) / self.scale).exp()).exp()

    def icdf(self, value):
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self):
        return self.scale.log() + (1 + EULER)
