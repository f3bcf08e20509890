"""The geometric distribution."""

from __future__ import annotations

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_or_logits, probs_to_logits
from tritorch.nn.functional import binary_cross_entropy_with_logits
from tritorch.tensor import Size


class Geometric(Distribution):
    """How many trials of probability `probs` = sigmoid(logits) fail before the first succeeds."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs=None, logits=None, validate_args=None):
        probs_or_logits(self, probs, logits)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        super().__init__((self.logits if probs is None else self.probs).size(), validate_args=validate_args)

    @lazy_property
    def logits(self):
        """log(p / (1 - p))."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self):
        """The probability of success."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self):
        """The shape of the parameter."""
        return self._batch_shape

    @property
    def mean(self):
        return 1.0 / self.probs - 1.0

    @property
    def mode(self):
        return tritorch.zeros_like(self.probs)

    @property
    def variance(self):
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape=Size()):
        shape = self._extended_shape(sample_shape)
        with tritorch.no_grad():
            u = 1 - tritorch.rand(shape, dtype=self.probs.dtype, device=self.probs.device)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value):
        self._check_value(value)
        value, probs = broadcast_all(value, self.probs)
        probs = probs.masked_fill((probs == 1) & (value == 0), 0)
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self):
        return binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none") / self.probs
