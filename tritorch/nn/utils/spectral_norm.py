"""Spectral normalisation: a weight divided by its largest singular value; the form with hooks."""

from __future__ import annotations

from tritorch.autograd.grad_mode import no_grad
from tritorch.nn.modules.conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from tritorch.nn.parameter import Parameter
from tritorch.nn.utils.weight_norm import hook_of
from tritorch.ops.base import EXPORTS

normalize = EXPORTS["nn.functional.normalize"]


def as_matrix(weight, dim):
    """The weight as a matrix whose rows are its slices along `dim`."""
    if dim:
        weight = weight.movedim(dim, 0)
    return weight.reshape(weight.shape[0], -1)


def dim_of_outputs(module):
    """The dimension of a layer's weight that belongs to its outputs."""
    return 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0


def random_direction(weight, size, eps):
    """A random vector of length one."""
    return normalize(weight.new_empty(size).normal_(0, 1), dim=0, eps=eps)


class SpectralNorm:
    """A forward pre-hook that computes the weight `name` from `name`_orig, by steps of power iteration on _u and _v.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
    """

    def __init__(self, name="weight", n_power_iterations=1, dim=0, eps=1e-12):
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.dim, self.n_power_iterations, self.eps = name, dim, n_power_iterations, eps

    def compute_weight(self, module, do_power_iteration):
        """The weight, with its history; u and v are written."""
        weight, u, v = (getattr(module, f"{self.name}_{part}") for part in ("orig", "u", "v"))
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(normalize(matrix.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(normalize(matrix.mv(v), dim=0, eps=self.eps))
            u, v = u.clone(), v.clone()  # what is saved for the gradient is not what the next step writes
        return weight / u.dot(matrix.mv(v))

    def __call__(self, module, inputs):
        setattr(module, self.name, self.compute_weight(module, module.training))

    def note_version(self, module, state_dict, prefix, local_metadata):
        """Say in a state dict which form it has, as PyTorch does."""
        local_metadata.setdefault("spectral_norm", {})[f"{self.name}.version"] = 1

    def remove(self, module):
        """Make the weight a parameter again."""
        with no_grad():
            weight = self.compute_weight(module, False)
        for part in ("", "_u", "_v", "_orig"):
            delattr(module, self.name + part)
        module.register_parameter(self.name, Parameter(weight.detach()))


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide a parameter by its largest singular value, as a matrix whose rows are its slices along `dim`."""
    if hook_of(module, SpectralNorm, name) is not None:
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    hook = SpectralNorm(name, n_power_iterations, dim_of_outputs(module) if dim is None else dim, eps)
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    with no_grad():
        rows, columns = as_matrix(weight, hook.dim).shape
        u, v = (random_direction(weight, size, eps) for size in (rows, columns))
    del module._parameters[name]
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.data)  # a plain attribute until the first forward
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    module.register_forward_pre_hook(hook)
    hook.noted = module._register_state_dict_hook(hook.note_version).id
    return module


def remove_spectral_norm(module, name="weight"):
    """Undo `spectral_norm`: the parameter is the quotient again."""
    key = hook_of(module, SpectralNorm, name)
    if key is None:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    hook = module._forward_pre_hooks.pop(key)
    del module._state_dict_hooks[hook.noted]
    hook.remove(module)
    return module
