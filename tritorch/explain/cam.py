"""Grad-CAM: where in an image a convolutional layer saw what speaks for a class."""

from __future__ import annotations

from tritorch.autograd import enable_grad, grad
from tritorch.explain.scores import evaluating, score
from tritorch.nn import functional as F
from tritorch.tensor import Tensor


def grad_cam(model, layer, inputs, target=None, *, size=None, relu=True, arguments=()):
    """ReLU(sum over channels of (mean of d score / d activation) * activation) of `layer`'s output.

    inputs (N, C, H, W), or with one or three spatial dimensions; the result is (N, 1, H, W), resized to the inputs'
    spatial size, or to `size`; size="layer" leaves it as the layer is. `relu=False` keeps what speaks against.
    Raises RuntimeError if the model does not call `layer`.
    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017.
    """
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        with evaluating(model), enable_grad():
            total = score(model(inputs.detach().requires_grad_(), *arguments), target).sum()
    finally:
        handle.remove()
    if not seen:
        raise RuntimeError(f"grad_cam(): the model did not call the layer {type(layer).__name__}")
    activation = seen[-1]
    if not isinstance(activation, Tensor) or activation.dim() < 3:
        raise RuntimeError("grad_cam(): the layer's output must be a Tensor of at least 3 dimensions (N, C, ...)")
    (slope,) = grad(total, activation)
    activation = activation.detach()
    weights = slope.flatten(2).mean(2).reshape(*slope.shape[:2], *[1] * (slope.dim() - 2))
    found = (weights * activation).sum(1, keepdim=True)
    found = found.relu() if relu else found
    if size == "layer":
        return found
    size = tuple(inputs.shape[2:]) if size is None else size
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[found.dim()]
    return F.interpolate(found, size=size, mode=mode, align_corners=False)
