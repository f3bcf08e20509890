"""The Beta distribution."""

from __future__ import annotations

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.dirichlet import Dirichlet
from tritorch.distributions.distribution import ExponentialFamily
from tritorch.distributions.utils import broadcast_all
from tritorch.tensor import Size


class Beta(ExponentialFamily):
    """x^(concentration1 - 1) (1 - x)^(concentration0 - 1) / B(concentration1, concentration0) on [0, 1]."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1, concentration0, validate_args=None):
        pair = tritorch.stack(broadcast_all(concentration1, concentration0), -1)
        self._dirichlet = Dirichlet(pair, validate_args=validate_args)
        super().__init__(self._dirichlet._batch_shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """The same distribution with its parameters expanded to `batch_shape`."""
        pair = (each.expand(batch_shape) for each in (self.concentration1, self.concentration0))
        return Beta(*pair, validate_args=self._validate_args)

    @property
    def concentration1(self):
        """The power of x, plus 1."""
        return self._dirichlet.concentration[..., 0]

    @property
    def concentration0(self):
        """The power of 1 - x, plus 1."""
        return self._dirichlet.concentration[..., 1]

    @property
    def mean(self):
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self):
        return self._dirichlet.mode[..., 0]

    @property
    def variance(self):
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape=Size()):
        return self._dirichlet.rsample(sample_shape).select(-1, 0)

    def log_prob(self, value):
        self._check_value(value)
        return self._dirichlet.log_prob(tritorch.stack([value, 1.0 - value], -1))

    def entropy(self):
        return self._dirichlet.entropy()
