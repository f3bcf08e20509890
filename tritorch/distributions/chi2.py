"""The chi-squared distribution."""

from __future__ import annotations

from tritorch.distributions import constraints
from tritorch.distributions.gamma import Gamma


class Chi2(Gamma):
    """The sum of `df` squared normal variables: Gamma(df / 2, 1 / 2)."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df, validate_args=None):
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        """The same distribution with its parameter expanded to `batch_shape`."""
        return Chi2(self.df.expand(batch_shape), validate_args=self._validate_args)

    @property
    def df(self):
        """The degrees of freedom."""
        return self.concentration * 2
