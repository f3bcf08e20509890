"""Ready parametrizations: weights of learned length, of spectral norm one, and orthogonal ones."""

from __future__ import annotations

from enum import Enum, auto

from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.modules.module import Module
from tritorch.nn.utils.parametrize import register_parametrization
from tritorch.nn.utils.spectral_norm import as_matrix, dim_of_outputs, normalize, random_direction
from tritorch.nn.utils.weight_norm import norm_except_dim, normalized
from tritorch.ops.base import EXPORTS
from tritorch.runtime.limits import finfo
from tritorch.tensor import Tensor

_geqrf, _cat, _allclose = EXPORTS["geqrf"], EXPORTS["cat"], EXPORTS["allclose"]
_householder, _matrix_exp = EXPORTS["linalg.householder_product"], EXPORTS["matrix_exp"]
_solve, _eye = EXPORTS["linalg.solve"], EXPORTS["eye"]


def _tensor_of(module, name):
    tensor = getattr(module, name, None)
    if not isinstance(tensor, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return tensor


# ------------------------------------------------------------------------------------------------- weight norm


class _WeightNorm(Module):
    def __init__(self, dim=0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return normalized(weight_v, weight_g, self.dim)

    def right_inverse(self, weight):
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module, name="weight", dim=0):
    """w = g v / |v|: the length of each slice along `dim`, original0, apart from the direction, original1.

    Source: Salimans, Kingma, "Weight Normalization", 2016.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def take_old_names(state_dict, prefix, *_):
        for old, new in ((f"{name}_g", "original0"), (f"{name}_v", "original1")):
            if prefix + old in state_dict:
                state_dict[f"{prefix}parametrizations.{name}.{new}"] = state_dict.pop(prefix + old)

    module._register_load_state_dict_pre_hook(take_old_names)
    return module


# ------------------------------------------------------------------------------------------------- spectral norm


class _SpectralNorm(Module):
    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps, self.n_power_iterations = dim % ndim, eps, n_power_iterations
        if ndim > 1:
            with no_grad():
                matrix = as_matrix(weight, self.dim)
                self.register_buffer("_u", random_direction(weight, matrix.shape[0], eps))
                self.register_buffer("_v", random_direction(weight, matrix.shape[1], eps))
                self._iterate(matrix, 15)

    @no_grad()
    def _iterate(self, matrix, times):
        for _ in range(times):
            self._u.copy_(normalize(matrix.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(normalize(matrix.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight):
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # the next step writes over them
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value):
        return value


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide a weight by its largest singular value, as a matrix whose rows are its slices along `dim`.

    The value comes from power iteration, 15 steps now and `n_power_iterations` at each use while training. Source:
    Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
    """
    weight = _tensor_of(module, name)
    dim = dim_of_outputs(module) if dim is None else dim
    register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
    return module


# ------------------------------------------------------------------------------------------------- orthogonal


class _OrthMaps(Enum):
    matrix_exp = auto()
    cayley = auto()
    householder = auto()


def _is_orthogonal(matrix):
    rows, columns = matrix.shape[-2:]
    identity = _eye(columns, dtype=matrix.dtype, device=matrix.device)
    return _allclose(matrix.mT @ matrix, identity, atol=10 * rows * finfo(matrix.dtype).eps)


def _made_orthogonal(matrix):
    """The orthogonal factor of a matrix whose other factor has a positive diagonal."""
    reflectors, tau = _geqrf(matrix)
    return _householder(reflectors, tau) * reflectors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    def __init__(self, weight, orthogonal_map, *, use_trivialization=True):
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X):
        wide = X.shape[-2] < X.shape[-1]
        if wide:
            X = X.mT
        reflects = self.orthogonal_map is _OrthMaps.householder
        Q = self._from_reflections(X) if reflects else self._from_skew(X)
        if hasattr(self, "base"):
            Q = self.base @ Q
        return Q.mT if wide else Q

    def _from_reflections(self, X):
        below = X.tril(-1)
        tau = 2.0 / (1.0 + (below * below).sum(-2))
        signs = X.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        return _householder(below, tau) * signs

    def _from_skew(self, X):
        """exp(A), or (1 - A/2)^-1 (1 + A/2), of the skew matrix whose lower triangle X has."""
        rows, columns = X.shape[-2:]
        lower = X.tril()
        if rows != columns:
            lower = _cat([lower, X.new_zeros(*X.shape[:-2], rows, rows - columns)], -1)
        skew = lower - lower.mT
        if self.orthogonal_map is _OrthMaps.matrix_exp:
            Q = _matrix_exp(skew)
        else:
            identity = _eye(rows, dtype=X.dtype, device=X.device)
            Q = _solve(identity - 0.5 * skew, identity + 0.5 * skew)
        return Q[..., :columns] if rows != columns else Q

    @no_grad()
    def right_inverse(self, Q):
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {Q.shape}."
            )
        wide = Q.shape[-2] < Q.shape[-1]
        tall = Q.mT if wide else Q
        if not hasattr(self, "base"):
            if self.orthogonal_map is not _OrthMaps.householder:
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            return self._as_reflections(tall, wide)
        rows, columns = tall.shape[-2:]
        if rows == columns:
            base = tall.clone() if _is_orthogonal(tall) else _made_orthogonal(tall)
        else:
            rest = tall.new_empty(*tall.shape[:-2], rows, rows - columns).normal_()
            base = _made_orthogonal(_cat([tall, rest], -1))
        self.base = base
        start = Q.new_zeros(Q.shape)  # the maps give 1 or -1 for it, whose product with the base is Q
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start

    @staticmethod
    def _as_reflections(tall, wide):
        reflectors, tau = _geqrf(tall)
        diagonal = reflectors.diagonal(dim1=-2, dim2=-1)
        signs = diagonal.sign()
        signs[tau == 0.0] *= -1
        diagonal.copy_(signs)
        return reflectors.mT if wide else reflectors


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Keep a weight orthogonal: rows or columns, whichever are fewer, stay orthonormal.

    orthogonal_map      "matrix_exp", "cayley" or "householder"; by default the first for square weights, else the last
    use_trivialization  start from the present weight: needed to assign one, except for "householder"

    Source: Lezcano Casado, "Trivializations for Gradient-Based Optimization on Manifolds", 2019.
    """
    weight = _tensor_of(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    chosen = _OrthMaps.__members__.get(orthogonal_map)
    if chosen is None:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, chosen, use_trivialization=use_trivialization)
    register_parametrization(module, name, made, unsafe=True)
    return module
