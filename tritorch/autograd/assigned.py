"""What is said of a `.grad` that is read where there will be none, or set to what is no gradient."""

from __future__ import annotations

import warnings

from tritorch.autograd.variable import Variable
from tritorch.ops.promotion import C_NAMES, KIND_NAMES


def warn_of_no_leaf(stacklevel):
    """Warn of reading the gradient of a tensor that was computed, and keeps none."""
    warnings.warn(
        "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
        "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf "
        "Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure "
        "you access the leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531 for more information.",
        stacklevel=stacklevel + 1,
    )


def check_gradient(tensor, value):
    """Refuse what is no tensor, or has another size, dtype or device than `tensor`."""
    if not isinstance(value, Variable):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
    if value.array.shape != tensor.array.shape:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(value.array.shape)}' to a tensor of size "
            f"'{list(tensor.array.shape)}'. Please ensure that the gradient and the tensor are the same size"
        )
    if value.array.dtype != tensor.array.dtype:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{C_NAMES[value.dtype.name]}' to a tensor with grad_dtype "
            f"'{KIND_NAMES[tensor.dtype.name]}'. The gradient must match the tensor's dtype."
        )
    if value.device is not tensor.device:
        raise RuntimeError(
            f"attempting to assign a gradient with device type '{value.device}' to a tensor with device type "
            f"'{tensor.device}'. Please ensure that the gradient and the tensor are on the same device"
        )
