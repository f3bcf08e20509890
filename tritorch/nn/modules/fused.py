"""A linear layer with the activation or the sum behind it, as one op: where nobody stands between who would notice.

The layers are called one by one, as ever, where somebody may look at what passes between them: hooks, an interceptor
of ops (a profiler, `vmap`, an exporter), anomaly mode, a subclass, or a `forward` or a function of `nn.functional` in
the place of ours.
"""

from __future__ import annotations

from types import FunctionType

from tritorch.autograd.anomaly_mode import state as anomaly
from tritorch.autograd.grad_mode import state
from tritorch.nn import functional as F
from tritorch.nn.modules.activation import GELU, Mish, ReLU, Sigmoid, SiLU, Tanh
from tritorch.nn.modules.dropout import Dropout
from tritorch.nn.modules.hooks import everywhere
from tritorch.nn.modules.linear import Linear
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter
from tritorch.ops.autocast import state as autocast
from tritorch.ops.base import EXPORTS, TABLE
from tritorch.ops.matrix.linear_activation import FUSED, Fused
from tritorch.runtime import dtypes
from tritorch.tensor import Tensor

_KINDS = frozenset(each.numpy for each in (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64))
_TENSORS = frozenset({Tensor, Parameter})
_GELUS = {"none": FUSED[TABLE["gelu"]], "tanh": FUSED[TABLE["gelu_tanh"]]}

# By the class of a layer: its fused functions, or what finds them by its settings.
_OF_LAYERS = {
    GELU: lambda layer: _GELUS.get(layer.approximate), Mish: FUSED[TABLE["mish"]], ReLU: FUSED[TABLE["relu"]],
    SiLU: FUSED[TABLE["silu"]], Sigmoid: FUSED[TABLE["sigmoid"]], Tanh: FUSED[TABLE["tanh"]],
}  # fmt: skip
_OF_FUNCTIONS = {
    EXPORTS[f"{room}{name}"]: FUSED[TABLE[name]]
    for name in ("gelu", "mish", "relu", "silu", "sigmoid", "tanh")
    for room in ("", "nn.functional.")
    if f"{room}{name}" in EXPORTS
}
_FORWARDS = {each: each.forward for each in (Linear, Dropout, *_OF_LAYERS)}
_CALL = Module.__call__
_FUNCTIONS = (F.linear, F.dropout, F.gelu, F.mish, F.relu, F.silu)


def linear_then(linear, activation, input):
    """activation(linear(input)), of a layer, and a layer or a function."""
    found = _fused(activation)
    if found is None or not _can_take(linear, input):
        return activation(linear(input))
    weight, bias = linear.weight, linear.bias
    if not (state.recording and any(each is not None and each.wants_gradient() for each in (input, weight, bias))):
        return found.plain(input, weight, bias)
    result = found.recorded(input, weight, bias)
    return result[-1] if type(result) is tuple else result


def plus_linear(residual, dropout, linear, input):
    """residual + dropout(linear(input)), in one op where the dropout does nothing."""
    if (
        _is_ours(dropout, Dropout) and not (dropout.training and dropout.p) and _can_take(linear, input)
        and autocast.active is None and type(residual) in _TENSORS and residual.device is input.device
        and residual.array.dtype == input.array.dtype
        and residual.array.shape == (*input.array.shape[:-1], linear.weight.array.shape[0])
    ):  # fmt: skip
        return TABLE["linear_add"].apply(input, linear.weight, linear.bias, residual)
    return residual + dropout(linear(input))


def _fused(activation):
    """The fused functions of an activation, None where there are none or it is not as we made it."""
    kind = type(activation)
    if kind is FunctionType:
        return _OF_FUNCTIONS.get(activation)
    found = _OF_LAYERS.get(kind)
    if found is None or not _is_ours(activation, kind):
        return None
    return found if type(found) is Fused else found(activation)


def _is_ours(layer, kind):
    """Whether a layer is of this very class, and does what we wrote when it is called, and nothing else."""
    return type(layer) is kind and kind.forward is _FORWARDS[kind] and "forward" not in layer.__dict__ and not (
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )  # fmt: skip


def _can_take(linear, input):
    """Whether a fused op may stand for `linear` on `input` and what follows."""
    if not _is_ours(linear, Linear) or type(input) not in _TENSORS or anomaly.enabled or everywhere.called():
        return False
    if (F.linear, F.dropout, F.gelu, F.mish, F.relu, F.silu) != _FUNCTIONS or Module.__call__ is not _CALL:
        return False
    if state.interceptors and not all(each.transparent for each in state.interceptors):
        return False
    weight, bias = linear.weight, linear.bias
    return (
        type(weight) in _TENSORS and (bias is None or type(bias) in _TENSORS)
        and input.array.dtype in _KINDS and weight.array.dtype in _KINDS
        and len(input.array.shape) > 0 and len(weight.array.shape) == 2
    )  # fmt: skip
