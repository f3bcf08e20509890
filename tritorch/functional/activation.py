"""Activations as `nn.functional` has them: with `inplace`, and the ones that are others with fixed numbers."""

from __future__ import annotations

from tritorch.autograd.inplace import apply_inplace
from tritorch.functional.drawing import rand_like
from tritorch.functional.shapes import narrow
from tritorch.ops.autocast import FLOAT32_ON_GPUS, LOWER
from tritorch.ops.base import TABLE, export
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.guard import need_tensors
from tritorch.ops.promotion import KIND_NAMES


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
        raise RuntimeError("approximate argument must be either none or tanh.")
    return TABLE["gelu" if approximate == "none" else "gelu_tanh"].apply(input)


@export("nn.functional.leaky_relu")
def leaky_relu(input, negative_slope=0.01, inplace=False):
    """input above 0, negative_slope * input elsewhere."""
    return _with_numbers("leaky_relu", input, inplace, negative_slope)


@export("nn.functional.leaky_relu_")
def leaky_relu_(input, negative_slope=0.01):
    """input above 0, negative_slope * input elsewhere; written over input."""
    return leaky_relu(input, negative_slope, True)


@export("nn.functional.elu")
def elu(input, alpha=1.0, inplace=False):
    """input above 0, alpha * (exp(input) - 1) elsewhere."""
    return _with_numbers("elu", input, inplace, alpha, 1.0, 1.0)


@export("nn.functional.elu_")
def elu_(input, alpha=1.0):
    """input above 0, alpha * (exp(input) - 1) elsewhere; written over input."""
    return elu(input, alpha, True)


@export("selu", "nn.functional.selu")
def selu(input, inplace=False):
    """elu with the alpha and scale that keep mean and variance [Klambauer et al. 2017]."""
    return _with_numbers("elu", input, inplace, 1.6732632423543772, 1.0507009873554805, 1.0)


@export("selu_", "nn.functional.selu_")
def selu_(input):
    """elu with the alpha and scale that keep mean and variance, written over input."""
    return selu(input, True)


@export("celu", "nn.functional.celu")
def celu(input, alpha=1.0, inplace=False):
    """input above 0, alpha * (exp(input / alpha) - 1) elsewhere."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _with_numbers("elu", input, inplace, alpha, 1.0, 1.0 / alpha)


@export("celu_", "nn.functional.celu_")
def celu_(input, alpha=1.0):
    """input above 0, alpha * (exp(input / alpha) - 1) elsewhere; written over input."""
    return celu(input, alpha, True)


@export("nn.functional.hardtanh")
def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """input between min_val and max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return _with_numbers("hardtanh", input, inplace, min_val, max_val)


@export("nn.functional.hardtanh_")
def hardtanh_(input, min_val=-1.0, max_val=1.0):
    """input between min_val and max_val, written over input."""
    return hardtanh(input, min_val, max_val, True)


@export("nn.functional.relu6")
def relu6(input, inplace=False):
    """input between 0 and 6."""
    return _with_numbers("hardtanh", input, inplace, 0.0, 6.0)


@export("nn.functional.softplus", autocast=FLOAT32_ON_GPUS)
def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta * input)) / beta; input itself where beta * input is above threshold."""
    return TABLE["softplus"].apply(input, beta, threshold)


@export("threshold", "nn.functional.threshold")
def threshold(input, threshold, value, inplace=False):
    """input above threshold, value elsewhere."""
    return _with_numbers("threshold", input, inplace, threshold, value)


@export("threshold_", "nn.functional.threshold_")
def threshold_(input, threshold, value):
    """input above threshold, value elsewhere; written over input."""
    return _with_numbers("threshold", input, True, threshold, value)


@export("nn.functional.softshrink")
def softshrink(input, lambd=0.5):
    """input moved towards 0 by lambd, 0 between -lambd and lambd."""
    need_tensors("softshrink", input=input)
    if not lambd >= 0:
        kind = KIND_NAMES[input.dtype.name]
        raise RuntimeError(f"lambda must be in range [0, 3.40282e+38] for input dtype {kind}, but found {lambd:g}")
    return TABLE["softshrink"].apply(input, lambd)


@export("rrelu", "nn.functional.rrelu")
def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """input above 0, elsewhere input times a random slope of its own; in evaluation, the mean one [Xu et al. 2015]."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return _with_numbers("leaky_relu", input, inplace, (lower + upper) / 2)
    slopes = rand_like(input) * (upper - lower) + lower
    prelu = TABLE["prelu"].apply
    return apply_inplace(prelu, "rrelu_", input, slopes) if inplace else prelu(input, slopes)


@export("rrelu_", "nn.functional.rrelu_")
def rrelu_(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    """rrelu, written over input."""
    return rrelu(input, lower, upper, training, True)


@export("prelu", "Tensor.prelu", "nn.functional.prelu", autocast=LOWER)
def prelu(input, weight):
    """input above 0, weight * input elsewhere; weight is one number, or one for each channel (dimension 1)."""
    need_tensors("prelu", input=input, weight=weight)
    if weight.dtype is not input.dtype:
        kinds = [KIND_NAMES[each.dtype.name] for each in (input, weight)]
        raise RuntimeError(f"prelu: Type promoting not supported. Got {kinds[0]} and {kinds[1]}")
    if weight.array.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.array.ndim}")
    if weight.array.size != 1:
        shape = input.array.shape
        if not shape:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = shape[1] if len(shape) > 1 else 1
        if weight.array.size != channels:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.array.size} "
                f"and channel size = {channels}."
            )
        weight = weight.reshape(-1, *(1,) * (len(shape) - 2))
    elif weight.array.ndim > input.array.ndim:
        weight = weight.reshape(())
    return TABLE["prelu"].apply(input, weight)


@export("nn.functional.glu")
def glu(input, dim=-1):
    """The first half along `dim`, times the sigmoid of the second."""
    need_tensors("glu", input=input)
    if input.array.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    at = wrap_dim(dim, input.array.ndim)
    size = input.array.shape[at]
    if size % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {at} is size {size}")
    return TABLE["gated"].apply(narrow(input, at, 0, size // 2), narrow(input, at, size // 2, size // 2))


@export("nn.functional.gumbel_softmax")
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """softmax((logits + Gumbel noise) / tau); `hard`: one-hot, with the gradient of the soft one [Jang et al. 2017]."""
    # A draw of exactly 0 would be noise of infinity.
    noise = -logits.detach().new_empty(logits.array.shape).exponential_().clamp_min(1e-7).log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    place = soft.argmax(dim, keepdim=True)
    chosen = soft.detach().new_zeros(soft.array.shape).scatter(dim, place, 1.0)
    return chosen - soft.detach() + soft
