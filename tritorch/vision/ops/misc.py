"""Blocks that many networks for images are made of."""

from __future__ import annotations

import tritorch
from tritorch import nn

__all__ = [
    "MLP", "Conv2dNormActivation", "Conv3dNormActivation", "FrozenBatchNorm2d", "Permute", "SqueezeExcitation",
]  # fmt: skip


class FrozenBatchNorm2d(nn.Module):
    """A batch norm whose statistics and parameters never change: (x - mean) weight / sqrt(var + eps) + bias."""

    def __init__(self, num_features, eps=1e-5):
        super().__init__()
        self.eps = eps
        for name, make in (("weight", "ones"), ("bias", "zeros"), ("running_mean", "zeros"), ("running_var", "ones")):
            self.register_buffer(name, getattr(tritorch, make)(num_features))

    def _load_from_state_dict(self, state_dict, prefix, *args):
        state_dict.pop(f"{prefix}num_batches_tracked", None)  # which a batch norm that learned has
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x):
        weight, bias, mean, variance = (
            each.reshape(1, -1, 1, 1) for each in (self.weight, self.bias, self.running_mean, self.running_var)
        )
        scale = weight * (variance + self.eps).rsqrt()
        return x * scale + (bias - mean * scale)

    def __repr__(self):
        return f"{type(self).__name__}({self.weight.shape[0]}, eps={self.eps})"


def _inplace(inplace):
    return {} if inplace is None else {"inplace": inplace}


def _padding(kernel_size, dilation, dimensions):
    """The margins that keep an image's size."""
    kernel_size = kernel_size if isinstance(kernel_size, (list, tuple)) else (kernel_size,) * dimensions
    dilation = dilation if isinstance(dilation, (list, tuple)) else (dilation,) * dimensions
    return tuple((size - 1) // 2 * step for size, step in zip(kernel_size, dilation, strict=True))


class _ConvNormActivation(nn.Sequential):
    """A convolution, then a norm, then an activation; without a norm the convolution has a bias."""

    conv_layer: type
    dimensions: int

    def __init__(self, in_channels, out_channels, kernel_size=3, stride=1, padding=None, groups=1, norm_layer=None,
                 activation_layer=nn.ReLU, dilation=1, inplace=True, bias=None):  # fmt: skip
        if padding is None and isinstance(kernel_size, int) and isinstance(dilation, int):
            padding = (kernel_size - 1) // 2 * dilation
        elif padding is None:
            padding = _padding(kernel_size, dilation, self.dimensions)
        bias = norm_layer is None if bias is None else bias
        layers = [
            self.conv_layer(
                in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=bias
            )
        ]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer(**_inplace(inplace)))
        super().__init__(*layers)
        self.out_channels = out_channels


class Conv2dNormActivation(_ConvNormActivation):
    """A convolution of images, then a norm, then an activation; without a norm the convolution has a bias."""

    conv_layer, dimensions = nn.Conv2d, 2

    def __init__(self, in_channels, out_channels, kernel_size=3, stride=1, padding=None, groups=1,
                 norm_layer=nn.BatchNorm2d, activation_layer=nn.ReLU, dilation=1, inplace=True,
                 bias=None):  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups, norm_layer, activation_layer,
                         dilation, inplace, bias)  # fmt: skip


class Conv3dNormActivation(_ConvNormActivation):
    """A convolution of volumes, then a norm, then an activation; without a norm the convolution has a bias."""

    conv_layer, dimensions = nn.Conv3d, 3

    def __init__(self, in_channels, out_channels, kernel_size=3, stride=1, padding=None, groups=1,
                 norm_layer=nn.BatchNorm3d, activation_layer=nn.ReLU, dilation=1, inplace=True,
                 bias=None):  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, groups, norm_layer, activation_layer,
                         dilation, inplace, bias)  # fmt: skip


class SqueezeExcitation(nn.Module):
    """Channels weighed by what the whole image says of them. Source: Hu, Shen, Sun, 2017, as two convolutions."""

    def __init__(self, input_channels, squeeze_channels, activation=nn.ReLU, scale_activation=nn.Sigmoid):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input):
        squeezed = self.activation(self.fc1(self.avgpool(input)))
        return self.scale_activation(self.fc2(squeezed)) * input


class MLP(nn.Sequential):
    """Linear layers of these sizes, each but the last followed by a norm, an activation and a dropout."""

    def __init__(self, in_channels, hidden_channels, norm_layer=None, activation_layer=nn.ReLU, inplace=None, bias=True,
                 dropout=0.0):  # fmt: skip
        layers = []
        for channels in hidden_channels[:-1]:
            layers.append(nn.Linear(in_channels, channels, bias=bias))
            if norm_layer is not None:
                layers.append(norm_layer(channels))
            layers.append(activation_layer(**_inplace(inplace)))
            layers.append(nn.Dropout(dropout, **_inplace(inplace)))
            in_channels = channels
        layers.append(nn.Linear(in_channels, hidden_channels[-1], bias=bias))
        layers.append(nn.Dropout(dropout, **_inplace(inplace)))
        super().__init__(*layers)


class Permute(nn.Module):
    """The dimensions in another order."""

    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        return x.permute(self.dims)
