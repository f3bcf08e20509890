"""The normal distribution of vectors."""

from __future__ import annotations

import math

import tritorch
from tritorch.distributions import constraints
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.utils import lazy_property
from tritorch.tensor import Size


class MultivariateNormal(Distribution):
    """The density proportional to exp(-(x - loc)^T precision_matrix (x - loc) / 2).

    One of `covariance_matrix`, `precision_matrix` (its inverse) and `scale_tril` (its Cholesky factor) is given; all
    is computed with the factor.
    """

    arg_constraints = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        batch = Size(tritorch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1]))
        setattr(self, name, matrix.expand((*batch, -1, -1)))
        self.loc = loc.expand((*batch, -1))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        if name == "precision_matrix":  # the factor of an inverse, from the factor of the matrix turned about
            turned = tritorch.linalg.cholesky(matrix.flip((-2, -1))).flip((-2, -1)).mT
            unit = tritorch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
            self._unbroadcasted_scale_tril = tritorch.linalg.solve_triangular(turned, unit, upper=False)
        else:
            self._unbroadcasted_scale_tril = matrix if name == "scale_tril" else tritorch.linalg.cholesky(matrix)

    def expand(self, batch_shape, _instance=None):
        """The same distribution with its parameters expanded to `batch_shape`."""
        new = super().expand(batch_shape, _instance)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        return new

    def _expanded(self, matrix):
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @lazy_property
    def scale_tril(self):
        """The lower triangular factor L of the covariance, L L^T."""
        return self._expanded(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self):
        """The covariance."""
        factor = self._unbroadcasted_scale_tril
        return self._expanded(factor @ factor.mT)

    @lazy_property
    def precision_matrix(self):
        """The inverse of the covariance."""
        return self._expanded(tritorch.cholesky_inverse(self._unbroadcasted_scale_tril))

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape=Size()):
        shape = self._extended_shape(sample_shape)
        noise = tritorch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self._unbroadcasted_scale_tril @ noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value):
        self._check_value(value)
        factor, difference = self._unbroadcasted_scale_tril, (value - self.loc).unsqueeze(-1)
        shape = tritorch.broadcast_shapes(factor.shape[:-2], difference.shape[:-2])
        factor = factor.expand(*shape, *factor.shape[-2:])
        solved = tritorch.linalg.solve_triangular(factor, difference.expand(*shape, -1, 1), upper=False)
        distance = solved.squeeze(-1).pow(2).sum(-1)
        half_log_det = self._half_log_determinant()
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - half_log_det

    def _half_log_determinant(self):
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def entropy(self):
        value = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._half_log_determinant()
        return value.expand(self._batch_shape)
