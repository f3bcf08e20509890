"""What several distributions share: a place and a scale, a probability, or a categorical distribution inside."""

from __future__ import annotations

from tritorch.distributions import constraints
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits


class LocationScale(Distribution):
    """A distribution of loc + scale times what one of its kind draws for 0 and 1."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.size(), validate_args=validate_args)


class ByProbability(Distribution):
    """A distribution whose parameter is a probability, `probs`, or its logarithmic odds, `logits`."""

    @lazy_property
    def logits(self):
        """log(p / (1 - p))."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self):
        """The probability."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self):
        """The shape of the parameter."""
        return self._batch_shape


class OverCategorical(Distribution):
    """A distribution of what a categorical one, `_categorical`, draws, and of its parameters."""

    @property
    def probs(self):
        """The probabilities."""
        return self._categorical.probs

    @property
    def logits(self):
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def param_shape(self):
        """The shape of the parameter."""
        return self._categorical.param_shape
