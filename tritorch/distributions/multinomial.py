"""The multinomial distribution."""

from __future__ import annotations

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.binomial import Binomial
from tritorch.distributions.categorical import Categorical
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.shared import OverCategorical
from tritorch.nn.functional import one_hot
from tritorch.tensor import Size


class Multinomial(OverCategorical):
    """How often each of K numbers comes in `total_count` categorical draws."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count, self._categorical = total_count, Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """The same distribution with its parameter expanded to `batch_shape`."""
        new = self._expanded_instance(_instance)
        new.total_count, new._categorical = self.total_count, self._categorical.expand(batch_shape)
        Distribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):
        return constraints.multinomial(self.total_count)

    @property
    def mean(self):
        return self.probs * self.total_count

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=Size()):
        drawn = self._categorical.sample((self.total_count, *sample_shape))
        return one_hot(drawn, self.event_shape[0]).sum(0).type_as(self.probs)

    def log_prob(self, value):
        self._check_value(value)
        logits, value = tritorch.broadcast_tensors(self.logits, value)
        ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        logits = logits.masked_fill((value == 0) & (logits == -tritorch.inf), 0)
        return ways + (logits * value).sum(-1)

    def entropy(self):
        count = tritorch.tensor(self.total_count, device=self.probs.device)
        support = Binomial(self.total_count, probs=self.probs).enumerate_support(expand=False)[1:]
        weights = Binomial(self.total_count, probs=self.probs).log_prob(support).exp()
        total = self.total_count * self._categorical.entropy() - (count + 1).lgamma()
        return total + (weights * (support + 1).lgamma()).sum((0, -1))
