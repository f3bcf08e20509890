"""Layers as one op, where nobody stands between who would notice: a layer and its activation, norms of sums.

The layers are called one by one, as ever, where somebody may look at what passes between them: hooks, an interceptor
of ops (a profiler, `vmap`, an exporter), anomaly mode, a subclass, or a `forward` or a function of `nn.functional` in
the place of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

from tritorch.autograd.anomaly_mode import state as anomaly
from tritorch.autograd.grad_mode import state
from tritorch.functional.convolution import convolve
from tritorch.nn import functional as F
from tritorch.nn.modules.activation import GELU, ReLU, Sigmoid, SiLU, Tanh
from tritorch.nn.modules.conv import Conv1d, Conv2d, Conv3d
from tritorch.nn.modules.dropout import Dropout
from tritorch.nn.modules.hooks import everywhere
from tritorch.nn.modules.linear import Linear
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.normalization import LayerNorm
from tritorch.nn.parameter import Parameter
from tritorch.ops.autocast import LOWER
from tritorch.ops.autocast import state as autocast
from tritorch.ops.base import EXPORTS, TABLE, Op
from tritorch.ops.convolution.convolution_activation import CONVOLVED
from tritorch.ops.matrix.linear_activation import FUSED
from tritorch.runtime import dtypes
from tritorch.tensor import Tensor

_KINDS = frozenset(each.numpy for each in (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64))
_TENSORS = frozenset({Tensor, Parameter})
_GELUS = {"none": TABLE["gelu"], "tanh": TABLE["gelu_tanh"]}

# By the class of a layer: the op that it is, or what finds it by its settings.
_OF_LAYERS: dict[type[Module], Callable[[Module], type[Op] | None]] = {
    GELU: lambda layer: _GELUS.get(layer.approximate), ReLU: lambda _: TABLE["relu"], SiLU: lambda _: TABLE["silu"],
    Sigmoid: lambda _: TABLE["sigmoid"], Tanh: lambda _: TABLE["tanh"],
}  # fmt: skip
_OF_FUNCTIONS = {
    EXPORTS[f"{room}{name}"]: TABLE[name]
    for name in ("gelu", "relu", "silu", "sigmoid", "tanh")
    for room in ("", "nn.functional.")
    if f"{room}{name}" in EXPORTS
}
_CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)
LEADING = frozenset({Linear, *_CONVOLUTIONS})  # layers that may be one op with the activation behind them
_LAYERS: tuple[type[Module], ...] = (Linear, LayerNorm, Dropout, *_CONVOLUTIONS, *_OF_LAYERS)
_FORWARDS = {each: each.forward for each in _LAYERS}
_CALL = Module.__call__
_FUNCTIONS = (F.linear, F.dropout, F.gelu, F.relu, F.silu, F.layer_norm)
_CONV_FORWARD = Conv2d._conv_forward


def layer_then(layer, activation, input):
    """activation(layer(input)), of a layer among LEADING, and a layer or a function."""
    found = _op_of(activation)
    if found is not None and type(layer) is not Linear:
        return _convolution_then(layer, activation, CONVOLVED.get(found), input)
    return _linear_then(layer, activation, FUSED.get(found), input)


def _convolution_then(layer, activation, op, input):
    """In one op, which has no gradient, where none is asked for."""
    parameters = None if op is None else _parameters_for(layer, input)
    if (
        parameters is None or layer.padding_mode != "zeros" or type(layer)._conv_forward is not _CONV_FORWARD
        or _is_recorded(input, *parameters)
    ):  # fmt: skip
        return activation(layer(input))
    settings = layer.stride, layer.padding, layer.dilation, layer.groups
    run = convolve if autocast.active is None else LOWER.around(convolve)  # as around the function of the layer
    return run(op, layer.function.__name__, layer.spatial, input, *parameters, *settings)


def _linear_then(linear, activation, found, input):
    parameters = None if found is None else _parameters_for(linear, input)
    if parameters is None:
        return activation(linear(input))
    weight, bias = parameters
    if not _is_recorded(input, weight, bias):
        return found.plain.apply(input, weight, bias)
    result = found.recorded.apply(input, weight, bias)
    return result[-1] if type(result) is tuple else result


def _is_recorded(*tensors):
    """Whether the call of an op on these, where they are there, becomes a node of the graph."""
    return state.recording and any(each is not None and each.wants_gradient() for each in tensors)


def plus_linear(residual, dropout, linear, input):
    """residual + dropout(linear(input)), in one op where the dropout does nothing."""
    parameters = _parameters_for(linear, input)
    if (
        parameters is None or not _is_ours(dropout, Dropout) or (dropout.training and dropout.p)
        or autocast.active is not None or type(residual) not in _TENSORS or residual.device is not input.device
        or residual.array.dtype != input.array.dtype
        or residual.array.shape != (*input.array.shape[:-1], parameters[0].array.shape[0])
    ):  # fmt: skip
        return residual + dropout(linear(input))
    return TABLE["linear_add"].apply(input, *parameters, residual)


def norm_of_sum(norm, input, other):
    """norm(input + other), in one op, and that sum."""
    if _is_ours(norm, LayerNorm) and _is_unwatched(input) and type(other) in _TENSORS:
        return F.add_layer_norm(input, other, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    total = input + other
    return norm(total), total


def _op_of(activation):
    """The op that an activation is, None where it is none or not as we made it."""
    kind = type(activation)
    if kind is FunctionType:
        return _OF_FUNCTIONS.get(activation)
    found = _OF_LAYERS.get(kind)
    if found is None or not _is_ours(activation, kind):
        return None
    return found(activation)


def _is_ours(layer, kind):
    """Whether a layer is of this very class, and does what we wrote when it is called, and nothing else."""
    return type(layer) is kind and kind.forward is _FORWARDS[kind] and "forward" not in layer.__dict__ and not (
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )  # fmt: skip


def _is_unwatched(input):
    """Whether nobody would notice that layers after `input` are one op."""
    if type(input) not in _TENSORS or anomaly.enabled or everywhere.called():
        return False
    if (F.linear, F.dropout, F.gelu, F.relu, F.silu, F.layer_norm) != _FUNCTIONS:
        return False
    if Module.__call__ is not _CALL:
        return False
    return not state.interceptors or all(each.transparent for each in state.interceptors)


def _parameters_for(layer, input):
    """The weight and the bias of `layer` where a fused op may stand for it on `input` and what follows, else None."""
    kind = type(layer)
    if not (kind in LEADING and _is_ours(layer, kind) and _is_unwatched(input)):
        return None
    parameters = layer._parameters
    weight, bias = parameters.get("weight"), parameters.get("bias")
    if (
        "bias" not in parameters or type(weight) not in _TENSORS or (bias is not None and type(bias) not in _TENSORS)
        or input.array.dtype not in _KINDS or weight.array.dtype not in _KINDS
        or not input.array.shape or len(weight.array.shape) != (2 if kind is Linear else kind.spatial + 2)
    ):  # fmt: skip
        return None
    return weight, bias
