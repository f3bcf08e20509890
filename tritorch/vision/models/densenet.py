"""DenseNet: layers that see the results of all layers before them. Source: Huang et al., 2016."""

from __future__ import annotations

import re
from collections import OrderedDict

import tritorch
from tritorch import nn
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum

__all__ = [
    "DenseNet", "DenseNet121_Weights", "DenseNet161_Weights", "DenseNet169_Weights", "DenseNet201_Weights",
    "densenet121", "densenet161", "densenet169", "densenet201",
]  # fmt: skip

_OLD_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$")


class _DenseLayer(nn.Module):
    """A norm and a convolution, twice: to `bn_size` times the `growth_rate`, then to the `growth_rate`."""

    def __init__(self, num_input_features, growth_rate, bn_size, drop_rate, memory_efficient=False):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_input_features)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(num_input_features, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)
        self.drop_rate, self.memory_efficient = float(drop_rate), memory_efficient

    def _narrowed(self, *inputs):
        return self.conv1(self.relu1(self.norm1(tritorch.cat(inputs, 1))))

    def forward(self, input):
        inputs = [input] if isinstance(input, tritorch.Tensor) else input
        if self.memory_efficient and any(each.requires_grad for each in inputs):
            from tritorch.utils.checkpoint import checkpoint

            narrow = checkpoint(self._narrowed, *inputs, use_reentrant=False)
        else:
            narrow = self._narrowed(*inputs)
        found = self.conv2(self.relu2(self.norm2(narrow)))
        if self.drop_rate > 0:
            found = nn.functional.dropout(found, p=self.drop_rate, training=self.training)
        return found


class _DenseBlock(nn.ModuleDict):
    """Layers of which each gets the results of all before it; their results side by side."""

    def __init__(self, num_layers, num_input_features, bn_size, growth_rate, drop_rate, memory_efficient=False):
        super().__init__()
        for index in range(num_layers):
            width = num_input_features + index * growth_rate
            self.add_module(
                f"denselayer{index + 1}", _DenseLayer(width, growth_rate, bn_size, drop_rate, memory_efficient)
            )

    def forward(self, init_features):
        features = [init_features]
        for layer in self.values():
            features.append(layer(features))
        return tritorch.cat(features, 1)


class _Transition(nn.Sequential):
    """Half the channels and half the size."""

    def __init__(self, num_input_features, num_output_features):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_input_features)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(num_input_features, num_output_features, 1, bias=False)
        self.pool = nn.AvgPool2d(2, 2)


class DenseNet(nn.Module):
    """Blocks of `block_config` layers, each adding `growth_rate` channels; images (N, 3, H, W) to scores."""

    def __init__(self, growth_rate=32, block_config=(6, 12, 24, 16), num_init_features=64, bn_size=4, drop_rate=0,
                 num_classes=1000, memory_efficient=False):  # fmt: skip
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(3, num_init_features, 7, 2, 3, bias=False),
                norm0=nn.BatchNorm2d(num_init_features),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool2d(3, 2, 1),
            )
        )
        width = num_init_features
        for index, layers in enumerate(block_config, 1):
            block = _DenseBlock(layers, width, bn_size, growth_rate, drop_rate, memory_efficient)
            self.features.add_module(f"denseblock{index}", block)
            width += layers * growth_rate
            if index != len(block_config):
                self.features.add_module(f"transition{index}", _Transition(width, width // 2))
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """As any module's; the files of torchvision name their layers norm.1 where the modules are norm1."""
        renamed = OrderedDict((_OLD_KEY.sub(r"\1\2", key), value) for key, value in state_dict.items())
        renamed._metadata = getattr(state_dict, "_metadata", None)
        return super().load_state_dict(renamed, strict, assign)

    def forward(self, x):
        x = nn.functional.relu(self.features(x), inplace=True)
        return self.classifier(nn.functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


def _weights(name, file):
    return weights_enum(name, __name__, IMAGENET1K_V1=entry(file))


DenseNet121_Weights = _weights("DenseNet121_Weights", "densenet121-a639ec97.pth")
DenseNet161_Weights = _weights("DenseNet161_Weights", "densenet161-8d451a50.pth")
DenseNet169_Weights = _weights("DenseNet169_Weights", "densenet169-b2777c0a.pth")
DenseNet201_Weights = _weights("DenseNet201_Weights", "densenet201-c1103571.pth")


@model(DenseNet121_Weights)
def densenet121(**kwargs):
    """DenseNet of 121 layers."""
    return DenseNet(32, (6, 12, 24, 16), 64, **kwargs)


@model(DenseNet161_Weights)
def densenet161(**kwargs):
    """DenseNet of 161 layers, with wider ones."""
    return DenseNet(48, (6, 12, 36, 24), 96, **kwargs)


@model(DenseNet169_Weights)
def densenet169(**kwargs):
    """DenseNet of 169 layers."""
    return DenseNet(32, (6, 12, 32, 32), 64, **kwargs)


@model(DenseNet201_Weights)
def densenet201(**kwargs):
    """DenseNet of 201 layers."""
    return DenseNet(32, (6, 12, 48, 32), 64, **kwargs)
