"""Distributions: densities integrate to what their formulas say, draws follow them, errors are PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import distributions as D

F64 = torch.float64


@pytest.fixture(autouse=True)
def seeded():
    with torch.device("cpu"):
        torch.manual_seed(1)
        yield


def t(*values, grad=False):
    return torch.tensor(values, dtype=F64, requires_grad=grad)


CONTINUOUS = {  # and where nearly all of the mass is, with no singular ends
    "normal": (lambda: D.Normal(t(0.5, -1.0), t(2.0, 0.7)), -25, 25),
    "uniform": (lambda: D.Uniform(t(-1.0, 0.0), t(2.0, 0.5)), -1, 2),
    "laplace": (lambda: D.Laplace(t(0.5, -1.0), t(0.5, 1.0)), -45, 45),
    "exponential": (lambda: D.Exponential(t(0.7, 2.0)), 0, 60),
    "gamma": (lambda: D.Gamma(t(3.5, 5.0), t(0.7, 2.0)), 0, 90),
    "beta": (lambda: D.Beta(t(3.5, 3.0), t(3.0, 4.5)), 0, 1),
    "chi2": (lambda: D.Chi2(t(7.0, 9.0)), 0, 140),
    "log_normal": (lambda: D.LogNormal(t(0.5, -1.0), t(0.3, 0.2)), 0, 15),
    "half_normal": (lambda: D.HalfNormal(t(1.5, 0.5)), 0, 20),
    "gumbel": (lambda: D.Gumbel(t(0.5, -1.0), t(0.5, 1.0)), -10, 40),
    "tanh": (lambda: D.TransformedDistribution(D.Normal(t(0.2, -0.3), t(0.4, 0.5)), D.TanhTransform()), -1, 1),
    "affine": (lambda: D.TransformedDistribution(D.Gumbel(t(0.0), t(0.5)), D.AffineTransform(1.0, -2.0)), -40, 14),
}
NO_FORMULAS = ("tanh", "affine")


def integral(function, low, high, points=100000):
    """The sum of a function over the middles of many intervals: good to single precision, so that is what it is in."""
    width = (high - low) / points
    middles = low + width * (torch.arange(points, dtype=F64) + 0.5)
    return (function(middles.unsqueeze(-1)).sum(0) * width).float()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_densities_integrate_to_one_and_moments_are_theirs(name):
    make, low, high = CONTINUOUS[name]
    found = make()
    found._validate_args = False  # points outside a uniform distribution count 0
    mass = integral(lambda x: found.log_prob(x).exp(), low, high)
    close(mass, np.ones(mass.shape))
    if name in NO_FORMULAS:
        return
    mean = integral(lambda x: x * found.log_prob(x).exp(), low, high)
    variance = integral(lambda x: (x - found.mean) ** 2 * found.log_prob(x).exp(), low, high)
    surprise = integral(lambda x: torch.special.entr(found.log_prob(x).exp()), low, high)
    for integrated, formula in ((mean, found.mean), (variance, found.variance), (surprise, found.entropy())):
        close(integrated, formula.numpy())
    close(found.stddev**2, found.variance)


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if name not in ("beta", "chi2")])
def test_chances_up_to_a_value(name):
    make, low, _ = CONTINUOUS[name]
    found = make()
    x = found.mean if name not in NO_FORMULAS else t(0.1)
    found._validate_args = False
    for place in range(found.batch_shape.numel()):
        upper = float(x.expand(found.batch_shape)[place])
        mass = integral(lambda points: found.log_prob(points).exp(), low, upper)[place]
        close(mass, found.cdf(x.expand(found.batch_shape))[place].numpy())
    if name not in ("gamma",):
        chance = t(0.3).expand(found.batch_shape)
        close(found.cdf(found.icdf(chance)), chance)


DISCRETE = {
    "bernoulli": lambda: D.Bernoulli(t(0.3, 0.8)),
    "bernoulli_logits": lambda: D.Bernoulli(logits=t(0.3, -2.0)),
    "binomial": lambda: D.Binomial(5, probs=t(0.3, 0.8)),
    "one_hot": lambda: D.OneHotCategorical(torch.stack([t(0.2, 0.3, 0.5), t(0.1, 0.1, 0.8)])),
    "categorical": lambda: D.Categorical(logits=torch.stack([t(0.2, 0.3, 0.5), t(1.0, -1.0, 0.0)])),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_chances_of_all_values(name):
    found = DISCRETE[name]()
    values = found.enumerate_support()
    log_prob = found.log_prob(values)
    close(log_prob.exp().sum(0), np.ones(2))
    close(found.entropy(), -(log_prob.exp() * log_prob).sum(0).numpy())
    if name != "categorical":
        chance = log_prob.exp().reshape(*log_prob.shape, *(1 for _ in found.event_shape))
        close(found.mean, (chance * values).sum(0).numpy())
        close(found.variance, (chance * (values - found.mean) ** 2).sum(0).numpy())


@pytest.mark.parametrize("make", [lambda: D.Poisson(t(2.5)), lambda: D.Geometric(t(0.4))])
def test_chances_of_counts(make):
    found, counts = make(), torch.arange(80.0, dtype=F64).unsqueeze(-1)
    chance = found.log_prob(counts).exp()
    close(chance.sum(0), [1.0])
    close((chance * counts).sum(0), found.mean.numpy())
    close((chance * (counts - found.mean) ** 2).sum(0), found.variance.numpy())


def test_multinomial_counts_categorical_draws():
    found = D.Multinomial(4, probs=t(0.2, 0.3, 0.5))
    counts = [(i, j, 4 - i - j) for i in range(5) for j in range(5 - i)]
    chances = torch.stack([found.log_prob(t(*each)).exp() for each in counts])
    assert chances.sum().item() == pytest.approx(1)
    assert found.log_prob(t(1.0, 1.0, 2.0)).exp().item() == pytest.approx(12 * 0.2 * 0.3 * 0.25)
    assert found.entropy().item() == pytest.approx(-(chances * chances.log()).sum().item())
    assert found.sample((7,)).sum(-1).tolist() == [4.0] * 7


@pytest.mark.parametrize("name", [*CONTINUOUS, *DISCRETE])
def test_draws_have_the_mean_and_spread(name):
    if name in NO_FORMULAS or name == "categorical":
        return
    found = CONTINUOUS[name][0]() if name in CONTINUOUS else DISCRETE[name]()
    drawn = found.sample((8000,))
    assert drawn.shape == (8000, *found.batch_shape, *found.event_shape)
    off = (drawn.mean(0) - found.mean).abs() / (found.variance / 8000).sqrt()
    assert off.max() < 5 and ((drawn.var(0) / found.variance).log().abs() < 0.3).all()


def test_categorical_draws_follow_their_chances():
    found = D.Categorical(torch.stack([t(0.2, 0.3, 0.5), t(0.1, 0.0, 0.9)]))
    drawn = found.sample((2, 4000)).reshape(8000, 2)
    for value in range(3):
        assert ((drawn == value).double().mean(0) - found.probs[:, value]).abs().max() < 0.03


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (D.Normal, (0.5, 2.0)), (D.Uniform, (-1.0, 2.0)), (D.Laplace, (0.5, 2.0)), (D.Exponential, (0.7,)),
        (D.Gamma, (3.5, 0.7)), (D.Beta, (2.0, 3.0)), (D.LogNormal, (0.1, 0.4)), (D.Gumbel, (0.5, 2.0)),
    ],
)  # fmt: skip
def test_the_mean_of_draws_moves_as_the_mean_does(make, parameters):
    leaves = [torch.tensor(each, dtype=F64, requires_grad=True) for each in parameters]
    through_draws = torch.autograd.grad(make(*leaves).rsample((40000,)).mean(), leaves)
    exact = torch.autograd.grad(make(*leaves).mean, leaves, allow_unused=True)
    for found, wanted in zip(through_draws, exact, strict=True):
        assert abs(found.item() - (0.0 if wanted is None else wanted.item())) < 0.05


def test_log_prob_has_gradients_and_draws_without_them_have_none():
    logits = torch.zeros(3, requires_grad=True)
    found = D.Categorical(logits=logits)
    (-found.log_prob(torch.tensor(1))).backward()
    close(logits.grad, np.array([1 / 3, -2 / 3, 1 / 3], np.float32))
    assert not D.Normal(t(0.0, grad=True), t(1.0)).sample().requires_grad
    straight = D.OneHotCategoricalStraightThrough(logits=logits)
    assert straight.rsample().requires_grad and straight.rsample().detach().sum().item() == pytest.approx(1)


# ---------------------------------------------------------------- several dimensions


def test_multivariate_normal_by_any_of_three_matrices():
    factor = torch.tensor([[2.0, 0.0], [0.6, 0.5]], dtype=F64)
    covariance, loc = factor @ factor.T, t(0.3, -0.2)
    ways = [D.MultivariateNormal(loc, covariance), D.MultivariateNormal(loc, scale_tril=factor),
            D.MultivariateNormal(loc, precision_matrix=torch.linalg.inv(covariance))]  # fmt: skip
    x = t(1.0, 2.0)
    distance = (x - loc) @ torch.linalg.inv(covariance) @ (x - loc)
    wanted = -0.5 * (distance + 2 * math.log(2 * math.pi) + torch.logdet(covariance))
    for way in ways:
        assert way.log_prob(x).item() == pytest.approx(wanted.item())
        close(way.covariance_matrix, covariance.numpy())
        close(way.precision_matrix, torch.linalg.inv(covariance).numpy())
        close(way.variance, covariance.diagonal().numpy())
        assert way.entropy().item() == pytest.approx(1 + math.log(2 * math.pi) + 0.5 * torch.logdet(covariance).item())
    drawn = ways[0].sample((20000,))
    np.testing.assert_allclose(torch.cov(drawn.T), covariance, rtol=0.06, atol=0.06)


def test_dirichlet_and_independent():
    found = D.Dirichlet(t(2.0, 3.0, 4.0))
    drawn = found.rsample((5000,))
    np.testing.assert_allclose(drawn.sum(-1), 1)
    np.testing.assert_allclose(drawn.mean(0), found.mean, rtol=0.05)
    assert found.log_prob(t(0.2, 0.3, 0.5)).exp().item() == pytest.approx(3360 * 0.2 * 0.09 * 0.125)
    base = D.Normal(torch.zeros(3, 2), torch.ones(2))
    together = D.Independent(base, 1)
    assert together.batch_shape == (3,) and together.event_shape == (2,)
    close(together.log_prob(torch.ones(3, 2)), base.log_prob(torch.ones(3, 2)).sum(-1).numpy())
    assert repr(together) == "Independent(Normal(loc: torch.Size([3, 2]), scale: torch.Size([3, 2])), 1)"
    with pytest.raises(ValueError, match="actual 3 vs 2"):
        D.Independent(base, 3)


def test_expanding_repeats_the_parameters():
    for found in (D.Normal(t(0.0, 1.0), t(1.0)), D.Categorical(torch.ones(2, 3)), D.Beta(t(1.0, 2.0), t(1.0)),
                  D.Multinomial(3, torch.ones(2, 3)), D.LogNormal(t(0.0, 1.0), t(1.0)), D.Bernoulli(logits=t(0.0, 1.0)),
                  D.MultivariateNormal(torch.zeros(2, 2), torch.eye(2)), D.Independent(D.Poisson(torch.ones(2, 3)), 1),
                  D.TransformedDistribution(D.Normal(t(0.0, 1.0), t(1.0)), [D.TanhTransform()])):  # fmt: skip
        wide = found.expand((5, 2))
        assert type(wide) is type(found) and wide.batch_shape == (5, 2) and wide.event_shape == found.event_shape
        value = found.sample()
        close(wide.log_prob(value), found.log_prob(value).expand(5, 2).numpy())


# ---------------------------------------------------------------- divergences and transforms


@pytest.mark.parametrize(
    ("pair", "low", "high"),
    [
        (lambda: (D.Normal(t(0.5), t(1.0)), D.Normal(t(0.0), t(2.0))), -12, 12),
        (lambda: (D.Laplace(t(0.5), t(1.0)), D.Laplace(t(0.0), t(2.0))), -40, 40),
        (lambda: (D.Exponential(t(0.5)), D.Exponential(t(2.0))), 0, 80),
        (lambda: (D.Gamma(t(3.5), t(1.0)), D.Gamma(t(2.0), t(0.7))), 0, 60),
        (lambda: (D.Beta(t(3.0), t(2.5)), D.Beta(t(2.0), t(2.0))), 0, 1),
        (lambda: (D.Gumbel(t(0.5), t(1.0)), D.Gumbel(t(0.0), t(2.0))), -8, 60),
        (lambda: (D.Uniform(t(0.0), t(1.0)), D.Uniform(t(-1.0), t(3.0))), 0, 1),
        (lambda: (D.Uniform(t(0.0), t(1.0)), D.Normal(t(-1.0), t(3.0))), 0, 1),
        (lambda: (D.LogNormal(t(0.0), t(0.3)), D.LogNormal(t(0.1), t(0.5))), 0, 12),
    ],
)
def test_divergences_of_densities(pair, low, high):
    p, q = pair()
    found = integral(lambda x: p.log_prob(x).exp() * (p.log_prob(x) - q.log_prob(x)), low, high)
    close(found, D.kl_divergence(p, q).numpy())


def test_divergences_of_chances():
    for make in (
        lambda *p: D.Bernoulli(t(p[0])),
        lambda *p: D.Binomial(4, t(p[0])),
        lambda *p: D.Categorical(t(*p)),
        lambda *p: D.OneHotCategorical(t(*p)),
    ):
        p, q = make(0.2, 0.8), make(0.5, 0.5)
        values = p.enumerate_support()
        chance = p.log_prob(values)
        assert D.kl_divergence(p, q).item() == pytest.approx(
            (chance.exp() * (chance - q.log_prob(values))).sum().item()
        )
    certain = D.Bernoulli(t(0.0))
    assert D.kl_divergence(D.Bernoulli(t(0.5)), certain).item() == math.inf
    assert D.kl_divergence(certain, D.Bernoulli(t(0.5))).item() == pytest.approx(math.log(2))
    with pytest.raises(NotImplementedError, match="for p type Normal and q type Poisson"):
        D.kl_divergence(D.Normal(0.0, 1.0), D.Poisson(1.0))


def test_divergence_of_multivariate_normals_is_their_formula():
    p = D.MultivariateNormal(t(0.0, 1.0), torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=F64))
    q = D.MultivariateNormal(t(1.0, 1.0), torch.tensor([[1.0, 0.2], [0.2, 3.0]], dtype=F64))
    inverse, shift = torch.linalg.inv(q.covariance_matrix), q.loc - p.loc
    trace = (inverse @ p.covariance_matrix).trace() + shift @ inverse @ shift - 2
    wanted = 0.5 * (trace + torch.logdet(q.covariance_matrix) - torch.logdet(p.covariance_matrix))
    assert D.kl_divergence(p, q).item() == pytest.approx(wanted.item())


def test_a_pair_can_be_registered():
    class Mine(D.Normal):
        pass

    @D.register_kl(Mine, D.Normal)
    def formula(p, q):
        return "mine"

    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(0.0, 1.0)) == "mine"
    with pytest.raises(TypeError, match="Expected type_p to be a Distribution subclass"):
        D.register_kl(int, D.Normal)


@pytest.mark.parametrize(
    "transform",
    [D.ExpTransform(), D.SigmoidTransform(), D.TanhTransform(), D.SoftplusTransform(), D.AffineTransform(1.0, -2.0),
     D.ComposeTransform([D.AffineTransform(0.0, 0.5), D.TanhTransform()]), D.PowerTransform(2.0)],
)  # fmt: skip
def test_transforms_know_their_slope_and_inverse(transform):
    x = t(0.3, 0.7, 1.1, grad=True)
    y = transform(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    close(transform.log_abs_det_jacobian(x, y).expand(3), slope.abs().log().numpy())
    close(transform.inv(y), x.detach().numpy())
    close(transform.inv.log_abs_det_jacobian(y, x).expand(3), -slope.abs().log().numpy())
    assert transform.inv.inv == transform


def test_a_cache_keeps_what_went_in():
    cached, x = D.TanhTransform(cache_size=1), t(30.0)
    assert cached.inv(cached(x)) is x
    assert D.TanhTransform().inv(D.TanhTransform()(x)).item() == math.inf


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: D.Normal(0.0, -1.0), r"Expected parameter scale \(Tensor of shape \(\)\) of distribution Normal\(loc: "
         r"0.0, scale: -1.0\) to satisfy the constraint GreaterThan\(lower_bound=0.0\), but found invalid values"),
        (lambda: D.Categorical(), "Either `probs` or `logits` must be specified, but not both."),
        (lambda: D.Categorical(torch.tensor(1.0)), "`probs` parameter must be at least one-dimensional"),
        (lambda: D.Categorical(torch.ones(3)).log_prob(torch.tensor(3)),
         r"to be within the support \(IntegerInterval\(lower_bound=0, upper_bound=2\)\)"),
        (lambda: D.Normal(0.0, 1.0).log_prob(1.0), "The value argument to log_prob must be a Tensor"),
        (lambda: D.Dirichlet(torch.ones(3)).log_prob(torch.ones(2)), "right-most size of value must match event_shape"),
        (lambda: D.Normal(torch.zeros(2), 1.0).log_prob(torch.ones(3)), "Value is not broadcastable"),
        (lambda: D.MultivariateNormal(torch.zeros(2)), "Exactly one of covariance_matrix or precision_matrix"),
        (lambda: D.MultivariateNormal(torch.zeros(2), torch.ones(2, 2)), r"constraint PositiveDefinite\(\)"),
        (lambda: D.Uniform(1.0, 0.0), r"constraint LessThan\(upper_bound=0.0\)"),
        (lambda: D.Normal("a", 1.0), "Input arguments must all be instances of Number"),
    ],
)  # fmt: skip
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_checks_can_be_left_out():
    assert D.Normal(0.0, 1.0, validate_args=False).log_prob(torch.tensor(torch.nan)).isnan()
    D.Distribution.set_default_validate_args(False)
    try:
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(True)
