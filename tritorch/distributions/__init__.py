"""Probability distributions: draws, densities and their gradients, by PyTorch's names."""

from __future__ import annotations

from tritorch.distributions import constraints as constraints
from tritorch.distributions import transforms as transforms
from tritorch.distributions.bernoulli import Bernoulli as Bernoulli
from tritorch.distributions.beta import Beta as Beta
from tritorch.distributions.binomial import Binomial as Binomial
from tritorch.distributions.categorical import Categorical as Categorical
from tritorch.distributions.cauchy import Cauchy as Cauchy
from tritorch.distributions.chi2 import Chi2 as Chi2
from tritorch.distributions.dirichlet import Dirichlet as Dirichlet
from tritorch.distributions.distribution import Distribution as Distribution
from tritorch.distributions.distribution import ExponentialFamily as ExponentialFamily
from tritorch.distributions.exponential import Exponential as Exponential
from tritorch.distributions.gamma import Gamma as Gamma
from tritorch.distributions.geometric import Geometric as Geometric
from tritorch.distributions.gumbel import Gumbel as Gumbel
from tritorch.distributions.half_normal import HalfNormal as HalfNormal
from tritorch.distributions.independent import Independent as Independent
from tritorch.distributions.kl import kl_divergence as kl_divergence
from tritorch.distributions.kl import register_kl as register_kl
from tritorch.distributions.laplace import Laplace as Laplace
from tritorch.distributions.log_normal import LogNormal as LogNormal
from tritorch.distributions.multinomial import Multinomial as Multinomial
from tritorch.distributions.multivariate_normal import MultivariateNormal as MultivariateNormal
from tritorch.distributions.normal import Normal as Normal
from tritorch.distributions.one_hot_categorical import OneHotCategorical as OneHotCategorical
from tritorch.distributions.one_hot_categorical import (
    OneHotCategoricalStraightThrough as OneHotCategoricalStraightThrough,
)
from tritorch.distributions.poisson import Poisson as Poisson
from tritorch.distributions.studentT import StudentT as StudentT
from tritorch.distributions.transformed_distribution import TransformedDistribution as TransformedDistribution
from tritorch.distributions.transforms import AbsTransform as AbsTransform
from tritorch.distributions.transforms import AffineTransform as AffineTransform
from tritorch.distributions.transforms import ComposeTransform as ComposeTransform
from tritorch.distributions.transforms import ExpTransform as ExpTransform
from tritorch.distributions.transforms import PowerTransform as PowerTransform
from tritorch.distributions.transforms import SigmoidTransform as SigmoidTransform
from tritorch.distributions.transforms import SoftmaxTransform as SoftmaxTransform
from tritorch.distributions.transforms import SoftplusTransform as SoftplusTransform
from tritorch.distributions.transforms import TanhTransform as TanhTransform
from tritorch.distributions.transforms import Transform as Transform
from tritorch.distributions.transforms import identity_transform as identity_transform
from tritorch.distributions.uniform import Uniform as Uniform
