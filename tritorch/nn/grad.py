"""The gradients of convolutions as functions of their own."""

from __future__ import annotations

from tritorch import autograd
from tritorch.autograd.grad_mode import enable_grad, is_grad_enabled
from tritorch.nn import functional as F


def _gradient(convolve, wanted, given, grad_output, settings):
    """The gradient with respect to `wanted` of a convolution that is linear in it, wherever it is taken."""
    keep = is_grad_enabled()
    with enable_grad():
        wanted.requires_grad_()
        found = convolve(*given(wanted), None, *settings)
        return autograd.grad(found, wanted, grad_output, create_graph=keep)[0]


def _of_input(convolve, name):
    def gradient(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
        start = weight.new_zeros(tuple(input_size))
        settings = (stride, padding, dilation, groups)
        return _gradient(convolve, start, lambda input: (input, weight), grad_output, settings)

    return _named(gradient, f"{name}_input", f"The gradient of {name} with respect to its input of `input_size`.")


def _of_weight(convolve, name):
    def gradient(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
        start = input.new_zeros(tuple(weight_size))
        settings = (stride, padding, dilation, groups)
        return _gradient(convolve, start, lambda weight: (input, weight), grad_output, settings)

    return _named(gradient, f"{name}_weight", f"The gradient of {name} with respect to its weight of `weight_size`.")


def _named(function, name, doc):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


conv1d_input, conv1d_weight = _of_input(F.conv1d, "conv1d"), _of_weight(F.conv1d, "conv1d")
conv2d_input, conv2d_weight = _of_input(F.conv2d, "conv2d"), _of_weight(F.conv2d, "conv2d")
conv3d_input, conv3d_weight = _of_input(F.conv3d, "conv3d"), _of_weight(F.conv3d, "conv3d")
