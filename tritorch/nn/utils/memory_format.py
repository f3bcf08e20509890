"""The memory layout of the weights of convolutions."""

from __future__ import annotations

from tritorch.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d


def _convert(module, kinds, memory_format):
    for each in module.modules():
        if isinstance(each, kinds):
            each.weight.data = each.weight.detach().clone(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module, memory_format):
    """Give the weights of all 2-D convolutions in a module another memory layout; returns the module."""
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module, memory_format):
    """Give the weights of all 3-D convolutions in a module another memory layout; returns the module."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)
