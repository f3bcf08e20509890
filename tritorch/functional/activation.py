"""Activations as `nn.functional` has them: with `inplace`, and the ones that are others with fixed numbers."""

from __future__ import annotations

from tritorch.autograd.inplace import apply_inplace
from tritorch.ops.base import TABLE, export


def _named(op, *names):
    """The function of an activation without numbers, also as `nn.functional.NAME(input, inplace=False)`."""
    apply = TABLE[op].apply

    def activation(input, inplace=False):
        return apply_inplace(apply, f"{op}_", input) if inplace else apply(input)

    activation.__name__ = activation.__qualname__ = op
    activation.__doc__ = TABLE[op].__doc__
    export(f"nn.functional.{op}", *names)(activation)


for _op in ("relu", "silu", "mish", "hardsigmoid", "hardswish"):
    _named(_op)


@export("relu_", "nn.functional.relu_")
def relu_(input):
    """max(input, 0), written over input."""
    return apply_inplace(TABLE["relu"].apply, "relu_", input)


def _with_numbers(op, input, inplace, *numbers):
    apply = TABLE[op].apply
    return apply_inplace(apply, f"{op}_", input, *numbers) if inplace else apply(input, *numbers)


@export("nn.functional.gelu")
def gelu(input, *, approximate="none"):
    """input * Phi(input); with approximate="tanh", by tanh instead of the error function."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu(): approximate argument must be either none or tanh, got {approximate!r}.")
    return TABLE["gelu" if approximate == "none" else "gelu_tanh"].apply(input)


@export("nn.functional.leaky_relu")
def leaky_relu(input, negative_slope=0.01, inplace=False):
    """input above 0, negative_slope * input elsewhere."""
    return _with_numbers("leaky_relu", input, inplace, negative_slope)


@export("nn.functional.elu")
def elu(input, alpha=1.0, inplace=False):
    """input above 0, alpha * (exp(input) - 1) elsewhere."""
    return _with_numbers("elu", input, inplace, alpha, 1.0, 1.0)


@export("selu", "nn.functional.selu")
def selu(input, inplace=False):
    """elu with the alpha and scale that keep mean and variance [Klambauer et al. 2017]."""
    return _with_numbers("elu", input, inplace, 1.6732632423543772, 1.0507009873554805, 1.0)


@export("celu", "nn.functional.celu")
def celu(input, alpha=1.0, inplace=False):
    """input above 0, alpha * (exp(input / alpha) - 1) elsewhere."""
    return _with_numbers("elu", input, inplace, alpha, 1.0, 1.0 / alpha)


@export("nn.functional.hardtanh")
def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """input between min_val and max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _with_numbers("hardtanh", input, inplace, min_val, max_val)


@export("nn.functional.relu6")
def relu6(input, inplace=False):
    """input between 0 and 6."""
    return _with_numbers("hardtanh", input, inplace, 0.0, 6.0)


@export("nn.functional.softplus")
def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta * input)) / beta; input itself where beta * input is above threshold."""
    return TABLE["softplus"].apply(input, beta, threshold)
