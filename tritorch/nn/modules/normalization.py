"""Norms over a sample's own elements, and responses normalised by neighbouring channels."""

from __future__ import annotations

from numbers import Integral

from tritorch import creation
from tritorch.nn import functional as F
from tritorch.nn import init
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.utils import listed
from tritorch.nn.parameter import Parameter
from tritorch.ops.base import TABLE

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LocalResponseNorm(Module):
    """x / (k + alpha mean of x^2 over `size` neighbouring channels)^beta. Source: Krizhevsky et al., 2012."""

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input):
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, {listed(self, ('alpha', 'beta', 'k'))}"


class CrossMapLRN2d(Module):
    """LocalResponseNorm over (N, C, H, W) with PyTorch's older window.

    Channel c sees the channels within (size - 1) // 2 of it and, from the first window that would leave it, always
    channel 0 too.
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input):
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        reach = (self.size - 1) // 2
        squares = input * input
        near = F.pad(squares, (0, 0, 0, 0, reach, reach)).unfold(1, 2 * reach + 1, 1).sum(-1)
        if input.shape[1] > reach + 1:
            near = TABLE["cat"].call((near[:, : reach + 1], near[:, reach + 1 :] + squares[:, :1]), 1)
        return input * (self.k + self.alpha / self.size * near) ** -self.beta

    def extra_repr(self):
        return f"{self.size}, {listed(self, ('alpha', 'beta', 'k'))}"


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) weight + bias over the last dimensions. Source: Ba, Kiros, Hinton, 2016."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine

        def made(wanted):
            return Parameter(creation.empty(self.normalized_shape, device=device, dtype=dtype)) if wanted else None

        self.register_parameter("weight", made(elementwise_affine))
        self.register_parameter("bias", made(elementwise_affine and bias))
        self.reset_parameters()

    def reset_parameters(self):
        """Scale 1, shift 0."""
        if self.elementwise_affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        shown = listed(self, ("eps", "elementwise_affine"))
        return f"{self.normalized_shape}, {shown}, bias={self.bias is not None}"


def _shape(sizes):
    return (sizes,) if isinstance(sizes, Integral) else tuple(sizes)


class GroupNorm(Module):
    """(x - mean) / sqrt(variance + eps) weight + bias over groups of channels. Source: Wu, He, 2018."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None, *, bias=True):
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine

        def made(wanted):
            return Parameter(creation.empty(num_channels, device=device, dtype=dtype)) if wanted else None

        self.register_parameter("weight", made(affine))
        self.register_parameter("bias", made(affine and bias))
        self.reset_parameters()

    def reset_parameters(self):
        """Scale 1, shift 0."""
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input):
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        shown = listed(self, ("eps", "affine"))
        return f"{self.num_groups}, {self.num_channels}, {shown}, bias={self.bias is not None}"


class RMSNorm(Module):
    """x / sqrt(mean of x^2 + eps) weight over the last dimensions. Source: Zhang, Sennrich, 2019."""

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        made = None
        if elementwise_affine:
            made = Parameter(creation.empty(self.normalized_shape, device=device, dtype=dtype))
        self.register_parameter("weight", made)
        self.reset_parameters()

    def reset_parameters(self):
        """Scale 1."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, {listed(self, ('eps', 'elementwise_affine'))}"
