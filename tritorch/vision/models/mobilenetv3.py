"""MobileNet of the third version, whose layers were searched for. Source: Howard et al., 2019."""

from __future__ import annotations

from functools import partial

from tritorch import nn
from tritorch.vision.models.initialise import kaiming_fan_out, make_divisible
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum
from tritorch.vision.ops.misc import Conv2dNormActivation, SqueezeExcitation

__all__ = [
    "MobileNetV3", "MobileNet_V3_Large_Weights", "MobileNet_V3_Small_Weights", "mobilenet_v3_large",
    "mobilenet_v3_small",
]  # fmt: skip


class InvertedResidualConfig:
    """The sizes of a block; `activation` is "HS" (hard swish) or "RE" (ReLU)."""

    def __init__(self, input_channels, kernel, expanded_channels, out_channels, use_se, activation, stride, dilation,
                 width_mult):  # fmt: skip
        self.input_channels = self.adjust_channels(input_channels, width_mult)
        self.kernel = kernel
        self.expanded_channels = self.adjust_channels(expanded_channels, width_mult)
        self.out_channels = self.adjust_channels(out_channels, width_mult)
        self.use_se, self.use_hs = use_se, activation == "HS"
        self.stride, self.dilation = stride, dilation

    @staticmethod
    def adjust_channels(channels, width_mult):
        """The number of channels of a network `width_mult` times as wide."""
        return make_divisible(channels * width_mult, 8)


_Squeeze = partial(SqueezeExcitation, scale_activation=nn.Hardsigmoid)


class InvertedResidual(nn.Module):
    """Pixels widened, each channel filtered and weighed, pixels narrowed; added to the input where that fits."""

    def __init__(self, cnf, norm_layer, se_layer=_Squeeze):
        super().__init__()
        if not 1 <= cnf.stride <= 2:
            raise ValueError("illegal stride value")
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        wide = cnf.expanded_channels
        shared = {"norm_layer": norm_layer, "activation_layer": nn.Hardswish if cnf.use_hs else nn.ReLU}
        layers = []
        if wide != cnf.input_channels:
            layers.append(Conv2dNormActivation(cnf.input_channels, wide, 1, **shared))
        stride = 1 if cnf.dilation > 1 else cnf.stride
        layers.append(
            Conv2dNormActivation(wide, wide, cnf.kernel, stride, dilation=cnf.dilation, groups=wide, **shared)
        )
        if cnf.use_se:
            layers.append(se_layer(wide, make_divisible(wide // 4, 8)))
        shared["activation_layer"] = None
        layers.append(Conv2dNormActivation(wide, cnf.out_channels, 1, **shared))
        self.block = nn.Sequential(*layers)
        self.out_channels = cnf.out_channels
        self._is_cn = cnf.stride > 1

    def forward(self, input):
        found = self.block(input)
        if self.use_res_connect:
            found += input
        return found


class MobileNetV3(nn.Module):
    """Images (N, 3, H, W) to scores (N, num_classes)."""

    def __init__(self, inverted_residual_setting, last_channel, num_classes=1000, block=None, norm_layer=None,
                 dropout=0.2):  # fmt: skip
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("The inverted_residual_setting should not be empty")
        if not all(isinstance(each, InvertedResidualConfig) for each in inverted_residual_setting):
            raise TypeError("The inverted_residual_setting should be List[InvertedResidualConfig]")
        block = block or InvertedResidual
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        shared = {"norm_layer": norm_layer, "activation_layer": nn.Hardswish}
        first, before_last = inverted_residual_setting[0].input_channels, inverted_residual_setting[-1].out_channels
        self.features = nn.Sequential(
            Conv2dNormActivation(3, first, 3, 2, **shared),
            *(block(each, norm_layer) for each in inverted_residual_setting),
            Conv2dNormActivation(before_last, 6 * before_last, 1, **shared),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * before_last, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(p=dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
        )
        kaiming_fan_out(self)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


# Channels, kernel, widened channels, result, squeeze, activation, stride; the last three may be dilated instead.
_LARGE = (
    (16, 3, 16, 16, False, "RE", 1), (16, 3, 64, 24, False, "RE", 2), (24, 3, 72, 24, False, "RE", 1),
    (24, 5, 72, 40, True, "RE", 2), (40, 5, 120, 40, True, "RE", 1), (40, 5, 120, 40, True, "RE", 1),
    (40, 3, 240, 80, False, "HS", 2), (80, 3, 200, 80, False, "HS", 1), (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1), (80, 3, 480, 112, True, "HS", 1), (112, 3, 672, 112, True, "HS", 1),
    (112, 5, 672, 160, True, "HS", 2), (160, 5, 960, 160, True, "HS", 1), (160, 5, 960, 160, True, "HS", 1),
)  # fmt: skip
_SMALL = (
    (16, 3, 16, 16, True, "RE", 2), (16, 3, 72, 24, False, "RE", 2), (24, 3, 88, 24, False, "RE", 1),
    (24, 5, 96, 40, True, "HS", 2), (40, 5, 240, 40, True, "HS", 1), (40, 5, 240, 40, True, "HS", 1),
    (40, 5, 120, 48, True, "HS", 1), (48, 5, 144, 48, True, "HS", 1), (48, 5, 288, 96, True, "HS", 2),
    (96, 5, 576, 96, True, "HS", 1), (96, 5, 576, 96, True, "HS", 1),
)  # fmt: skip


def _mobilenet_v3(rows, last_channel, width_mult=1.0, reduced_tail=False, dilated=False, **kwargs):
    shrink, dilation = (2 if reduced_tail else 1), (2 if dilated else 1)
    setting = []
    for index, (channels, kernel, wide, result, *others) in enumerate(rows):
        tail = len(rows) - 3
        if index >= tail:
            result //= shrink
        if index > tail:
            channels, wide = channels // shrink, wide // shrink
        step = dilation if index >= tail else 1
        setting.append(InvertedResidualConfig(channels, kernel, wide, result, *others, step, width_mult))
    last = InvertedResidualConfig.adjust_channels(last_channel // shrink, width_mult)
    return MobileNetV3(setting, last, **kwargs)


MobileNet_V3_Large_Weights = weights_enum(
    "MobileNet_V3_Large_Weights",
    __name__,
    IMAGENET1K_V1=entry("mobilenet_v3_large-8738ca79.pth"),
    IMAGENET1K_V2=entry("mobilenet_v3_large-5c1a4163.pth", resize=232),
)
MobileNet_V3_Small_Weights = weights_enum(
    "MobileNet_V3_Small_Weights", __name__, IMAGENET1K_V1=entry("mobilenet_v3_small-047dcff4.pth")
)


@model(MobileNet_V3_Large_Weights)
def mobilenet_v3_large(**kwargs):
    """The larger MobileNet of the third version."""
    return _mobilenet_v3(_LARGE, 1280, **kwargs)


@model(MobileNet_V3_Small_Weights)
def mobilenet_v3_small(**kwargs):
    """The smaller MobileNet of the third version."""
    return _mobilenet_v3(_SMALL, 1024, **kwargs)
