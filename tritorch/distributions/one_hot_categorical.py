"""The categorical distribution over one-hot vectors."""

from __future__ import annotations

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.categorical import Categorical
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.shared import OverCategorical
from tritorch.nn.functional import one_hot
from tritorch.tensor import Size


class OneHotCategorical(OverCategorical):
    """Vectors with one 1, at the place that a categorical distribution draws."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """The same distribution with its parameter expanded to `batch_shape`."""
        new = self._expanded_instance(_instance)
        new._categorical = self._categorical.expand(batch_shape)
        Distribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        return one_hot(self.probs.argmax(-1), self.event_shape[0]).to(self.probs)

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=Size()):
        return one_hot(self._categorical.sample(sample_shape), self.event_shape[0]).to(self.probs.dtype)

    def log_prob(self, value):
        self._check_value(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self):
        return self._categorical.entropy()

    def enumerate_support(self, expand=True):
        count = self.event_shape[0]
        values = tritorch.eye(count, dtype=self.probs.dtype, device=self.probs.device)
        values = values.view(count, *(1 for _ in self._batch_shape), count)
        return values.expand(count, *self._batch_shape, count) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """As OneHotCategorical, with the gradient of the probabilities for that of a draw (Bengio et al. 2013)."""

    has_rsample = True

    def rsample(self, sample_shape=Size()):
        drawn = self.sample(sample_shape)
        return drawn + (self.probs - self.probs.detach())
