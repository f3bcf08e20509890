"""A batch norm that is not trained any more, taken into the layer before it."""

from __future__ import annotations

import copy

from tritorch.nn.parameter import Parameter


def _fused(weight, bias, mean, var, eps, scale, shift, dim):
    """Weight and bias of y = (x' - mean) / sqrt(var + eps) scale + shift, x' the layer's output along `dim`."""
    bias = mean.new_zeros(mean.shape) if bias is None else bias
    scale = mean.new_ones(mean.shape) if scale is None else scale
    shift = mean.new_zeros(mean.shape) if shift is None else shift
    factor = scale * (var + eps).rsqrt()
    sizes = [1] * weight.ndim
    sizes[dim] = -1
    made = (weight * factor.reshape(sizes)).to(weight.dtype), ((bias - mean) * factor + shift).to(bias.dtype)
    return tuple(Parameter(each.detach(), weight.requires_grad) for each in made)


def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose=False):
    """Weight and bias of a convolution and a batch norm in one; `transpose` for transposed convolutions."""
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """Weight and bias of a linear layer and a batch norm in one."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _fuse(layer, bn, dim):
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Fusion requires the running mean and variance of the batch norm")
    fused = copy.deepcopy(layer)
    fused.weight, fused.bias = _fused(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, dim
    )
    return fused


def fuse_conv_bn_eval(conv, bn, transpose=False):
    """A convolution that does what `conv` and then the batch norm `bn` do, both in evaluation."""
    return _fuse(conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear, bn):
    """A linear layer that does what `linear` and then the batch norm `bn` do, both in evaluation."""
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError("To fuse, linear.out_features == bn.num_features or bn.num_features == 1")
    return _fuse(linear, bn, 0)
