"""The Kullback-Leibler divergence of pairs of distributions that there is a formula for."""

from __future__ import annotations

import math

import tritorch
from tritorch.distributions.bernoulli import Bernoulli
from tritorch.distributions.beta import Beta
from tritorch.distributions.binomial import Binomial
from tritorch.distributions.categorical import Categorical
from tritorch.distributions.cauchy import Cauchy
from tritorch.distributions.dirichlet import Dirichlet
from tritorch.distributions.distribution import Distribution
from tritorch.distributions.exponential import Exponential
from tritorch.distributions.gamma import Gamma
from tritorch.distributions.geometric import Geometric
from tritorch.distributions.gumbel import EULER, Gumbel
from tritorch.distributions.independent import Independent
from tritorch.distributions.laplace import Laplace
from tritorch.distributions.multivariate_normal import MultivariateNormal
from tritorch.distributions.normal import Normal
from tritorch.distributions.one_hot_categorical import OneHotCategorical
from tritorch.distributions.poisson import Poisson
from tritorch.distributions.transformed_distribution import TransformedDistribution
from tritorch.distributions.uniform import Uniform
from tritorch.distributions.utils import sum_rightmost

_REGISTERED: dict = {}
_nn = tritorch.nn.functional


def register_kl(type_p, type_q):
    """Register the decorated function for pairs of these classes, and of classes derived from them."""
    for kind, name in ((type_p, "type_p"), (type_q, "type_q")):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def keep(function):
        _REGISTERED[type_p, type_q] = function
        return function

    return keep


def _formula(type_p, type_q):
    """The function registered for the nearest classes, the first of a pair counting more."""
    found = [
        (type_p.__mro__.index(p), type_q.__mro__.index(q), function)
        for (p, q), function in _REGISTERED.items()
        if issubclass(type_p, p) and issubclass(type_q, q)
    ]
    return min(found, key=lambda each: each[:2])[2] if found else None


def kl_divergence(p, q):
    """The mean under p of log p(x) - log q(x), for each of the batch."""
    function = _formula(type(p), type(q))
    if function is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return function(p, q)


@register_kl(Normal, Normal)
def _normal(p, q):
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(Laplace, Laplace)
def _laplace(p, q):
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p, q):
    """Source: Chyzak and Nielsen, "A closed-form formula for the KL divergence between Cauchy distributions", 2019."""
    return ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log() - (4 * p.scale * q.scale).log()


@register_kl(Gumbel, Gumbel)
def _gumbel(p, q):
    ratio, shift = p.scale / q.scale, (q.loc - p.loc) / q.scale
    return ratio * EULER - ratio.log() - shift + (shift + (1 + ratio).lgamma()).exp() - (1 + EULER)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p, q):
    first = p.probs * (_nn.softplus(-q.logits) - _nn.softplus(-p.logits))
    first = first.masked_fill(q.probs == 0, tritorch.inf).masked_fill(p.probs == 0, 0)
    second = (1 - p.probs) * (_nn.softplus(q.logits) - _nn.softplus(p.logits))
    return first + second.masked_fill(q.probs == 1, tritorch.inf).masked_fill(p.probs == 1, 0)


@register_kl(Binomial, Binomial)
def _binomial(p, q):
    if bool((p.total_count < q.total_count).any()):
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    found = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return found.masked_fill(p.total_count > q.total_count, tritorch.inf)


@register_kl(Categorical, Categorical)
def _categorical(p, q):
    found = p.probs * (p.logits - q.logits)
    found = found.masked_fill((q.probs == 0).expand_as(found), tritorch.inf)
    return found.masked_fill((p.probs == 0).expand_as(found), 0).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p, q):
    return _categorical(p._categorical, q._categorical)


@register_kl(Poisson, Poisson)
def _poisson(p, q):
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Geometric, Geometric)
def _geometric(p, q):
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Exponential, Exponential)
def _exponential(p, q):
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Gamma, Gamma)
def _gamma(p, q):
    return (
        q.concentration * (p.rate / q.rate).log()
        + q.concentration.lgamma()
        - p.concentration.lgamma()
        + (p.concentration - q.concentration) * p.concentration.digamma()
        + (q.rate - p.rate) * (p.concentration / p.rate)
    )


@register_kl(Beta, Beta)
def _beta(p, q):
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p, q):
    total = p.concentration.sum(-1)
    normalisers = total.lgamma() - q.concentration.sum(-1).lgamma()
    normalisers = normalisers - (p.concentration.lgamma() - q.concentration.lgamma()).sum(-1)
    shift = p.concentration.digamma() - total.digamma().unsqueeze(-1)
    return normalisers + ((p.concentration - q.concentration) * shift).sum(-1)


@register_kl(Uniform, Uniform)
def _uniform(p, q):
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return found.masked_fill((q.low > p.low) | (q.high < p.high), tritorch.inf)


@register_kl(Uniform, Normal)
def _uniform_normal(p, q):
    width, middle = p.high - p.low, (p.high + p.low - 2 * q.loc) / 2
    spread = (width.pow(2) / 12 + middle.pow(2)) / (2 * q.scale.pow(2))
    return (math.sqrt(2 * math.pi) * q.scale / width).log() + spread


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    size = p.event_shape[0]
    batch = tritorch.broadcast_shapes(p.batch_shape, q.batch_shape)
    mine, other = (each.scale_tril.expand(*batch, size, size) for each in (p, q))
    shift = (q.loc - p.loc).expand(*batch, size).unsqueeze(-1)
    solve = tritorch.linalg.solve_triangular
    squares = solve(other, mine, upper=False).pow(2).sum((-2, -1)) + solve(other, shift, upper=False).pow(2).sum(
        (-2, -1)
    )
    return q._half_log_determinant() - p._half_log_determinant() + 0.5 * (squares - size)


@register_kl(Independent, Independent)
def _independent(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p, q):
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)
