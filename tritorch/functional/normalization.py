"""Normalisations under PyTorch's names: over the last dimensions, groups of channels, a batch, neighbours, a norm."""

from __future__ import annotations

import math

import ml_dtypes

from tritorch.autograd.inplace import bump
from tritorch.ops.autocast import FLOAT32_ON_GPUS, Policy, untouched
from tritorch.ops.autocast import state as autocast
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.dimensions import wrap_dim
from tritorch.ops.guard import need_tensors
from tritorch.ops.normalization.layout import over_batch, over_groups, over_last
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes


def _check_types(op, input, *parameters):
    """Parameters have the input's dtype, or are float32 beside a half type; integers are refused."""
    kind = input.dtype
    if not kind.is_floating_point:
        if any(each is not None for each in parameters):
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
        raise NotImplementedError(f"\"{op}\" not implemented for '{KIND_NAMES[kind.name]}'")
    for each in parameters:
        if each is None or each.dtype is kind:
            continue
        if kind is dtypes.float64:
            raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")
        if each.dtype is not dtypes.float32:
            raise RuntimeError("mixed dtype (CPU): expect parameter to have scalar type of Float")


def _normalized_dims(op, input, normalized_shape, separator, **parameters):
    """How many dimensions `normalized_shape` is about; PyTorch's errors where it does not fit."""
    if not isinstance(normalized_shape, (tuple, list)):
        raise TypeError(
            f"{op}(): argument 'normalized_shape' (position 2) must be tuple of ints, "
            f"not {type(normalized_shape).__name__}"
        )
    wanted, shape = tuple(map(int, normalized_shape)), input.array.shape
    if not wanted:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    for name, each in parameters.items():
        if each is not None and each.array.shape != wanted:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(each.array.shape)} and normalized_shape = {list(wanted)}"
            )
    if shape[max(len(shape) - len(wanted), 0) :] != wanted:
        sizes = separator.join(["*", ", ".join(map(str, wanted))])
        raise RuntimeError(
            f"Given normalized_shape={list(wanted)}, expected input with shape [{sizes}], but got input of "
            f"size{list(shape)}"
        )
    return len(wanted)


def _layer_norm(input, normalized_shape, weight, bias, eps):
    need_tensors("layer_norm", input=input)
    dims = _normalized_dims("layer_norm", input, normalized_shape, ", ", weight=weight, bias=bias)
    _check_types("LayerNormKernelImpl", input, weight, bias)
    return TABLE["layer_norm"].apply(input, weight, bias, over_last(tuple(input.array.shape), dims), eps)


@export("nn.functional.layer_norm", autocast=FLOAT32_ON_GPUS)
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions, which are `normalized_shape`."""
    return _layer_norm(input, normalized_shape, weight, bias, eps)[0]


@export("layer_norm", autocast=FLOAT32_ON_GPUS)
def layer_norm_of_root(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions, which are `normalized_shape`."""
    return _layer_norm(input, normalized_shape, weight, bias, eps)[0]


@export("native_layer_norm", autocast=FLOAT32_ON_GPUS)
def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """layer_norm, the means, and the inverses of the standard deviations."""
    out, mean, variance = _layer_norm(input, normalized_shape, weight, bias, eps)
    shape = over_last(tuple(input.array.shape), len(normalized_shape)).statistics
    mean, scale = mean.detach().to(input.dtype), _inverse(variance.detach(), eps, input.dtype)
    return out, mean.reshape(shape), scale.reshape(shape)


def _inverse(variance, eps, dtype):
    return (variance + eps).rsqrt().to(dtype)


@export("rms_norm", "nn.functional.rms_norm", autocast=FLOAT32_ON_GPUS)
def rms_norm(input, normalized_shape, weight=None, eps=None):
    """x / sqrt(mean x^2 + eps) * weight over the last dimensions; eps is what the dtype resolves unless given."""
    need_tensors("rms_norm", input=input)
    dims = _normalized_dims("rms_norm", input, normalized_shape, "", weight=weight)
    if not input.is_floating_point():
        raise NotImplementedError(f"\"rms_norm\" not implemented for '{KIND_NAMES[input.dtype.name]}'")
    eps = float(ml_dtypes.finfo(input.array.dtype).eps) if eps is None else eps
    return TABLE["rms_norm"].apply(input, weight, None, over_last(tuple(input.array.shape), dims), eps)[0]


@export("nn.functional.add_layer_norm")
def add_layer_norm(input, residual, normalized_shape, weight=None, bias=None, eps=1e-05):
    """layer_norm of input + residual, and that sum: `x, y = add_layer_norm(...)[::-1]` before a block that works on y.

    One launch, where PyTorch, which has no function for it, takes two. So are the gradients of both results.
    """
    need_tensors("add_layer_norm", input=input, residual=residual)
    if not _can_add(input, residual, weight, bias):
        total = input + residual
        return EXPORTS["nn.functional.layer_norm"](total, normalized_shape, weight, bias, eps), total
    dims = _normalized_dims("layer_norm", input, normalized_shape, ", ", weight=weight, bias=bias)
    layout = over_last(tuple(input.array.shape), dims)
    return TABLE["add_layer_norm"].apply(input, residual, weight, bias, layout, eps)[:2]


@export("nn.functional.add_rms_norm")
def add_rms_norm(input, residual, normalized_shape, weight=None, eps=None):
    """rms_norm of input + residual, and that sum, as `add_layer_norm` does it."""
    need_tensors("add_rms_norm", input=input, residual=residual)
    if not _can_add(input, residual, weight):
        total = input + residual
        return EXPORTS["nn.functional.rms_norm"](total, normalized_shape, weight, eps), total
    dims = _normalized_dims("rms_norm", input, normalized_shape, "", weight=weight)
    kind = dtypes.result_type(input.array, residual.array)
    eps = float(ml_dtypes.finfo(kind.numpy).eps) if eps is None else eps
    layout = over_last(tuple(input.array.shape), dims)
    return TABLE["add_rms_norm"].apply(input, residual, weight, None, layout, eps)[:2]


def _can_add(input, residual, *parameters):
    """Whether a sum and its norm are one op: tensors of one shape whose sum has the dtype that the norm computes in."""
    kind = dtypes.result_type(input.array, residual.array)
    if not kind.is_floating_point or input.array.shape != residual.array.shape or not input.array.ndim:
        return False
    active = autocast.active
    if active is not None and input.device.type in active and kind not in (dtypes.float32, dtypes.float64):
        return False
    return all(each is None or each.dtype in (kind, dtypes.float32) for each in parameters) and (
        kind is not dtypes.float64 or all(each is None or each.dtype is kind for each in parameters)
    )


def _group_norm(input, num_groups, weight, bias, eps):
    shape = tuple(input.array.shape)
    if len(shape) < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {len(shape)}")
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if shape[1] % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(shape)} "
            f"and num_groups={num_groups}"
        )
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and each.array.shape != shape[1:2]:
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                f"shape {list(each.array.shape)} and input of shape {list(shape)}"
            )
    _check_types("GroupNormKernelImpl", input, weight, bias)
    return TABLE["group_norm"].apply(input, weight, bias, over_groups(shape, num_groups), eps)


@export("group_norm", autocast=FLOAT32_ON_GPUS)
def group_norm_of_root(input, num_groups, weight=None, bias=None, eps=1e-05, cudnn_enabled=True):
    """(x - mean) / sqrt(variance + eps) * weight + bias over each of `num_groups` groups of channels."""
    need_tensors("group_norm", input=input)
    return _group_norm(input, num_groups, weight, bias, eps)[0]


@export("nn.functional.group_norm", autocast=FLOAT32_ON_GPUS)
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-05):
    """(x - mean) / sqrt(variance + eps) * weight + bias over each of `num_groups` groups of channels."""
    need_tensors("group_norm", input=input)
    shape = input.array.shape
    if len(shape) >= 2:
        batch, channels, *rest = shape
        _check_count((batch * channels // num_groups, num_groups, *rest))
    return _group_norm(input, num_groups, weight, bias, eps)[0]


def _check_count(shape, shown=None):
    """Refuse to take statistics of one element."""
    if shape[0] * math.prod(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {shown or list(shape)}")


@export("native_group_norm", autocast=FLOAT32_ON_GPUS)
def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """group_norm of N times C channels of HxW elements, the means, and the inverses of the standard deviations."""
    need_tensors("native_group_norm", input=input)
    if input.array.size != N * C * HxW:
        raise RuntimeError(f"Expected X.numel() == N * C * HxW to be true, but got {input.array.size} elements")
    out, mean, variance = _group_norm(input.reshape(N, C, HxW), group, weight, bias, eps)
    mean, scale = mean.to(input.dtype), _inverse(variance, eps, input.dtype)
    return out.reshape(input.shape), mean.reshape(N, group), scale.reshape(N, group)


# ------------------------------------------------------------------------------------------------ over a batch


def check_channels(input, training, running_mean, running_var, weight, bias, eps):
    """Refuse what does not fit (N, C, *), in PyTorch's words."""
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")
    parameters = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    shape = input.array.shape
    if not training:
        for name in ("running_mean", "running_var"):
            if parameters[name] is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
    channels = shape[1] if len(shape) > 1 else shape[0] if shape and not shape[0] else None
    if channels is None:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-max(len(shape), 1)}, {max(len(shape), 1) - 1}], "
            "but got 1)"
        )
    for name, each in parameters.items():
        if each is not None and each.array.size != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {each.array.size}")
    _check_types("batch_norm", input)
    _check_types("batch_norm", input, *parameters.values())


def _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps):
    """The result, and the mean and variance of a batch that it was trained on, else None."""
    check_channels(input, training, running_mean, running_var, weight, bias, eps)
    shape = tuple(input.array.shape)
    if len(shape) < 2:  # nothing
        return input.clone(), None, None
    layout = over_batch(shape)
    if not training:
        found = TABLE["batch_norm_inference"].apply(input, weight, bias, running_mean, running_var, layout, eps)
        return found, None, None
    out, mean, variance = TABLE["batch_norm"].apply(input, weight, bias, layout, eps)
    if running_mean is not None and input.array.size:
        _update_running(running_mean, running_var, mean.detach(), variance.detach(), momentum, layout.count)
    return out, mean, variance


def _update_running(running_mean, running_var, mean, variance, momentum, count):
    """Move the running statistics towards new ones; the variance is that of all there is, from a sample of `count`."""
    factor = count / (count - 1) if count > 1 else float("inf")
    TABLE["update_running"].apply(running_mean.detach(), running_var.detach(), mean, variance, momentum, factor)
    bump(running_mean)
    bump(running_var)


@export("batch_norm")
def batch_norm_of_root(
    input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled
):  # fmt: skip
    """Each channel of (N, C, *) normalised by the mean and variance of the batch or, unless `training`, given ones."""
    need_tensors("batch_norm", input=input)
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)[0]


@export("nn.functional.batch_norm")
def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-05
):  # fmt: skip
    """Each channel of (N, C, *) normalised by the mean and variance of the batch or, unless `training`, given ones.

    In training the running ones, where given, move towards those of the batch by `momentum`, the variance being that
    of all there is, estimated from the batch.
    """
    need_tensors("batch_norm", input=input)
    if training:
        _check_count(input.array.shape, input.shape)
    if eps < 0 or (training and eps == 0):
        kind = "positive during training" if training else "non-negative"
        raise ValueError(f"batch_norm eps must be {kind}, but got {eps}")
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)[0]


@export("native_batch_norm")
def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """batch_norm and, in training, the means and the inverses of the standard deviations."""
    need_tensors("native_batch_norm", input=input)
    out, mean, variance = _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if mean is None:
        nothing = input.detach().new_empty((0,))
        return out, nothing, nothing.clone()
    return out, mean.detach().to(input.dtype), _inverse(variance.detach(), eps, input.dtype)


@export("instance_norm", autocast=Policy(gpu=untouched))
def instance_norm_of_root(
    input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled
):  # fmt: skip
    """Each channel of each item of (N, C, *) normalised by its own mean and variance, or by given ones."""
    need_tensors("instance_norm", input=input)
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    shape = tuple(input.array.shape)
    batch, channels = shape[0], shape[1] if len(shape) > 1 else 1
    parameters = (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias))
    for name, each in parameters:
        if each is not None and each.array.size != channels:
            raise RuntimeError(f"{name} should contain {batch * channels} elements not {batch * each.array.size}")
    if not use_input_stats:
        return _batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)[0]
    _check_types("batch_norm", input, *(each for _, each in parameters))
    out, mean, variance = TABLE["group_norm"].apply(input, weight, bias, over_groups(shape, channels), eps)
    if running_mean is not None and input.array.size:
        means = [each.detach().reshape(batch, channels).mean(0) for each in (mean, variance)]
        _update_running(running_mean, running_var, *means, momentum, math.prod(shape[2:]))
    return out


@export("nn.functional.instance_norm", autocast=Policy(gpu=untouched))
def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-05
):  # fmt: skip
    """Each channel of each item of (N, C, *) normalised by its own mean and variance, or by given ones.

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance normalization", 2016.
    """
    need_tensors("instance_norm", input=input)
    if use_input_stats and math.prod(input.array.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    return instance_norm_of_root(
        input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, True
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ by a norm


@export("nn.functional.local_response_norm")
def local_response_norm(input, size, alpha=0.0001, beta=0.75, k=1.0):
    """x / (k + alpha mean)^beta, where the mean is of the squares of `size` neighbouring channels, zeros outside.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012.
    """
    need_tensors("local_response_norm", input=input)
    shape = input.array.shape
    if len(shape) < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {len(shape)} dimensions)")
    if not input.array.size:
        return input
    planes = (input * input).reshape(shape[0], 1, shape[1], -1)
    padded = EXPORTS["nn.functional.pad"](planes, (0, 0, size // 2, (size - 1) // 2))
    mean = EXPORTS["nn.functional.avg_pool2d"](padded, (size, 1), 1).reshape(shape)
    return input / (mean * alpha + k).pow(beta)


@export("nn.functional.normalize")
def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """input / max(its p-norm along `dim`, eps)."""
    need_tensors("normalize", input=input)
    found = input / input.norm(p, dim, True).clamp_min(eps)
    return found if out is None else out.resize_(found.shape).copy_(found)


@export("renorm", "Tensor.renorm", autocast=FLOAT32_ON_GPUS, out=True)
def renorm(input, p, dim, maxnorm):
    """Each slice along `dim` whose p-norm is above `maxnorm` scaled down to that norm."""
    need_tensors("renorm", input=input)
    ndim = input.array.ndim
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {ndim} dimensions")
    others = tuple(each for each in range(ndim) if each != wrap_dim(dim, ndim))
    norms = input.norm(p, others, True, dtype=dtypes.of(dtypes.COMPUTE[input.array.dtype]))
    factor = TABLE["where"].apply(norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)
    return input * factor.to(input.dtype)
