"""EfficientNet: depth, width and size grown together. Source: Tan, Le, 2019; of the second version, 2021."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from tritorch import nn
from tritorch.vision.models.initialise import kaiming_fan_out, make_divisible
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum
from tritorch.vision.ops.misc import Conv2dNormActivation, SqueezeExcitation
from tritorch.vision.ops.stochastic_depth import StochasticDepth

__all__ = [
    "EfficientNet", "EfficientNet_B0_Weights", "EfficientNet_B1_Weights", "EfficientNet_B2_Weights",
    "EfficientNet_B3_Weights", "EfficientNet_B4_Weights", "EfficientNet_B5_Weights", "EfficientNet_B6_Weights",
    "EfficientNet_B7_Weights", "EfficientNet_V2_L_Weights", "EfficientNet_V2_M_Weights", "EfficientNet_V2_S_Weights",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5",
    "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s",
]  # fmt: skip


@dataclass
class MBConvConfig:
    """The sizes of a stage of blocks; `fused` ones have one convolution in place of two."""

    expand_ratio: float
    kernel: int
    stride: int
    input_channels: int
    out_channels: int
    num_layers: int
    fused: bool = False

    def scaled(self, width_mult, depth_mult):
        """The stage of a network that is wider and deeper."""
        return MBConvConfig(
            self.expand_ratio, self.kernel, self.stride, make_divisible(self.input_channels * width_mult, 8),
            make_divisible(self.out_channels * width_mult, 8), math.ceil(self.num_layers * depth_mult),
        )  # fmt: skip


class _Block(nn.Module):
    """Base of the blocks: `layers` between an input and a stochastic depth, after which it is added."""

    def __init__(self, channels, out_channels, stride, depth_prob, norm_layer, layers):
        super().__init__()
        if not 1 <= stride <= 2:
            raise ValueError("illegal stride value")
        self.use_res_connect = stride == 1 and channels == out_channels
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(depth_prob, "row")
        self.out_channels = out_channels

    def forward(self, input):
        found = self.block(input)
        if self.use_res_connect:
            found = self.stochastic_depth(found)
            found += input
        return found


class MBConv(_Block):
    """Pixels widened, each channel filtered and weighed, pixels narrowed; added to the input where that fits."""

    def __init__(self, cnf, channels, stride, stochastic_depth_prob, norm_layer, se_layer=SqueezeExcitation):
        wide = make_divisible(channels * cnf.expand_ratio, 8)
        shared = {"norm_layer": norm_layer, "activation_layer": nn.SiLU}
        layers = [] if wide == channels else [Conv2dNormActivation(channels, wide, 1, **shared)]
        layers += [
            Conv2dNormActivation(wide, wide, cnf.kernel, stride, groups=wide, **shared),
            se_layer(wide, max(1, channels // 4), activation=partial(nn.SiLU, inplace=True)),
            Conv2dNormActivation(wide, cnf.out_channels, 1, norm_layer=norm_layer, activation_layer=None),
        ]
        super().__init__(channels, cnf.out_channels, stride, stochastic_depth_prob, norm_layer, layers)


class FusedMBConv(_Block):
    """Pixels widened and filtered by one convolution, then narrowed; added to the input where that fits."""

    def __init__(self, cnf, channels, stride, stochastic_depth_prob, norm_layer):
        wide = make_divisible(channels * cnf.expand_ratio, 8)
        shared = {"norm_layer": norm_layer, "activation_layer": nn.SiLU}
        if wide == channels:
            layers = [Conv2dNormActivation(channels, cnf.out_channels, cnf.kernel, stride, **shared)]
        else:
            layers = [
                Conv2dNormActivation(channels, wide, cnf.kernel, stride, **shared),
                Conv2dNormActivation(wide, cnf.out_channels, 1, norm_layer=norm_layer, activation_layer=None),
            ]
        super().__init__(channels, cnf.out_channels, stride, stochastic_depth_prob, norm_layer, layers)


class EfficientNet(nn.Module):
    """Images (N, 3, H, W) to scores (N, num_classes)."""

    def __init__(self, inverted_residual_setting, dropout, stochastic_depth_prob=0.2, num_classes=1000, norm_layer=None,
                 last_channel=None):  # fmt: skip
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("The inverted_residual_setting should not be empty")
        if not all(isinstance(each, MBConvConfig) for each in inverted_residual_setting):
            raise TypeError("The inverted_residual_setting should be List[MBConvConfig]")
        norm_layer = norm_layer or nn.BatchNorm2d
        shared = {"norm_layer": norm_layer, "activation_layer": nn.SiLU}
        layers = [Conv2dNormActivation(3, inverted_residual_setting[0].input_channels, 3, 2, **shared)]
        total, done = sum(each.num_layers for each in inverted_residual_setting), 0
        for stage in inverted_residual_setting:
            block, blocks = (FusedMBConv if stage.fused else MBConv), []
            for index in range(stage.num_layers):
                channels, stride = (stage.out_channels, 1) if index else (stage.input_channels, stage.stride)
                blocks.append(block(stage, channels, stride, stochastic_depth_prob * float(done) / total, norm_layer))
                done += 1
            layers.append(nn.Sequential(*blocks))
        before_last = inverted_residual_setting[-1].out_channels
        last_channel = 4 * before_last if last_channel is None else last_channel
        layers.append(Conv2dNormActivation(before_last, last_channel, 1, **shared))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout, inplace=True), nn.Linear(last_channel, num_classes))
        kaiming_fan_out(self, linear=None)
        bound = 1.0 / math.sqrt(num_classes)
        nn.init.uniform_(self.classifier[1].weight, -bound, bound)
        nn.init.zeros_(self.classifier[1].bias)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


# Widening, kernel, stride, channels, result, blocks, whether fused.
_FIRST = (
    (1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 3), (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4), (6, 3, 1, 192, 320, 1),
)  # fmt: skip
_SECOND = {
    "s": (
        (1, 3, 1, 24, 24, 2, True), (4, 3, 2, 24, 48, 4, True), (4, 3, 2, 48, 64, 4, True), (4, 3, 2, 64, 128, 6),
        (6, 3, 1, 128, 160, 9), (6, 3, 2, 160, 256, 15),
    ),
    "m": (
        (1, 3, 1, 24, 24, 3, True), (4, 3, 2, 24, 48, 5, True), (4, 3, 2, 48, 80, 5, True), (4, 3, 2, 80, 160, 7),
        (6, 3, 1, 160, 176, 14), (6, 3, 2, 176, 304, 18), (6, 3, 1, 304, 512, 5),
    ),
    "l": (
        (1, 3, 1, 32, 32, 4, True), (4, 3, 2, 32, 64, 7, True), (4, 3, 2, 64, 96, 7, True), (4, 3, 2, 96, 192, 10),
        (6, 3, 1, 192, 224, 19), (6, 3, 2, 224, 384, 25), (6, 3, 1, 384, 640, 7),
    ),
}  # fmt: skip

_SLOW_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)  # the norm of the largest


def _first(width, depth, dropout, norm_layer=None, /, **kwargs):
    setting = [MBConvConfig(*row).scaled(width, depth) for row in _FIRST]
    return EfficientNet(setting, **{"dropout": dropout, "norm_layer": norm_layer, **kwargs})


def _second(size, dropout, /, **kwargs):
    settings = {"dropout": dropout, "norm_layer": partial(nn.BatchNorm2d, eps=1e-3), "last_channel": 1280}
    return EfficientNet([MBConvConfig(*row) for row in _SECOND[size]], **{**settings, **kwargs})


def _weights(size, *file, **others):
    return weights_enum(f"EfficientNet_{size}_Weights", __name__, IMAGENET1K_V1=entry(*file), **others)


EfficientNet_B0_Weights = _weights("B0", "efficientnet_b0_rwightman-7f5810bc.pth", 224, 256, "bicubic")
EfficientNet_B1_Weights = _weights(
    "B1", "efficientnet_b1_rwightman-bac287d4.pth", 240, 256, "bicubic",
    IMAGENET1K_V2=entry("efficientnet_b1-c27df63c.pth", 240, 255),
)  # fmt: skip
EfficientNet_B2_Weights = _weights("B2", "efficientnet_b2_rwightman-c35c1473.pth", 288, 288, "bicubic")
EfficientNet_B3_Weights = _weights("B3", "efficientnet_b3_rwightman-b3899882.pth", 300, 320, "bicubic")
EfficientNet_B4_Weights = _weights("B4", "efficientnet_b4_rwightman-23ab8bcd.pth", 380, 384, "bicubic")
EfficientNet_B5_Weights = _weights("B5", "efficientnet_b5_lukemelas-1a07897c.pth", 456, 456, "bicubic")
EfficientNet_B6_Weights = _weights("B6", "efficientnet_b6_lukemelas-24a108a5.pth", 528, 528, "bicubic")
EfficientNet_B7_Weights = _weights("B7", "efficientnet_b7_lukemelas-c5b4e57e.pth", 600, 600, "bicubic")
EfficientNet_V2_S_Weights = _weights("V2_S", "efficientnet_v2_s-dd5fe13b.pth", 384, 384)
EfficientNet_V2_M_Weights = _weights("V2_M", "efficientnet_v2_m-dc08266a.pth", 480, 480)
EfficientNet_V2_L_Weights = _weights(
    "V2_L", "efficientnet_v2_l-59c71312.pth", 480, 480, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
)


@model(EfficientNet_B0_Weights)
def efficientnet_b0(**kwargs):
    """EfficientNet B0."""
    return _first(1.0, 1.0, 0.2, **kwargs)


@model(EfficientNet_B1_Weights)
def efficientnet_b1(**kwargs):
    """EfficientNet B1."""
    return _first(1.0, 1.1, 0.2, **kwargs)


@model(EfficientNet_B2_Weights)
def efficientnet_b2(**kwargs):
    """EfficientNet B2."""
    return _first(1.1, 1.2, 0.3, **kwargs)


@model(EfficientNet_B3_Weights)
def efficientnet_b3(**kwargs):
    """EfficientNet B3."""
    return _first(1.2, 1.4, 0.3, **kwargs)


@model(EfficientNet_B4_Weights)
def efficientnet_b4(**kwargs):
    """EfficientNet B4."""
    return _first(1.4, 1.8, 0.4, **kwargs)


@model(EfficientNet_B5_Weights)
def efficientnet_b5(**kwargs):
    """EfficientNet B5."""
    return _first(1.6, 2.2, 0.4, _SLOW_NORM, **kwargs)


@model(EfficientNet_B6_Weights)
def efficientnet_b6(**kwargs):
    """EfficientNet B6."""
    return _first(1.8, 2.6, 0.5, _SLOW_NORM, **kwargs)


@model(EfficientNet_B7_Weights)
def efficientnet_b7(**kwargs):
    """EfficientNet B7."""
    return _first(2.0, 3.1, 0.5, _SLOW_NORM, **kwargs)


@model(EfficientNet_V2_S_Weights)
def efficientnet_v2_s(**kwargs):
    """EfficientNet of the second version, size S."""
    return _second("s", 0.2, **kwargs)


@model(EfficientNet_V2_M_Weights)
def efficientnet_v2_m(**kwargs):
    """EfficientNet of the second version, size M."""
    return _second("m", 0.3, **kwargs)


@model(EfficientNet_V2_L_Weights)
def efficientnet_v2_l(**kwargs):
    """EfficientNet of the second version, size L."""
    return _second("l", 0.4, **kwargs)
