"""MobileNet of the second version: blocks that widen, filter each channel, and narrow. Source: Sandler et al., 2018."""

from __future__ import annotations

from tritorch import nn
from tritorch.vision.models.initialise import kaiming_fan_out, make_divisible
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum
from tritorch.vision.ops.misc import Conv2dNormActivation

__all__ = ["MobileNetV2", "MobileNet_V2_Weights", "mobilenet_v2"]


class InvertedResidual(nn.Module):
    """Pixels widened by `expand_ratio`, each channel filtered, pixels narrowed; added to the input where that fits."""

    def __init__(self, inp, oup, stride, expand_ratio, norm_layer=None):
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride should be 1 or 2 instead of {stride}")
        norm_layer = norm_layer or nn.BatchNorm2d
        self.stride = stride
        hidden = round(inp * expand_ratio)
        self.use_res_connect = stride == 1 and inp == oup
        shared = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        layers = [] if expand_ratio == 1 else [Conv2dNormActivation(inp, hidden, 1, **shared)]
        layers += [
            Conv2dNormActivation(hidden, hidden, stride=stride, groups=hidden, **shared),
            nn.Conv2d(hidden, oup, 1, 1, 0, bias=False),
            norm_layer(oup),
        ]
        self.conv = nn.Sequential(*layers)
        self.out_channels = oup
        self._is_cn = stride > 1

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


_SETTING = (  # widening, channels, blocks, stride of the first
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class MobileNetV2(nn.Module):
    """Images (N, 3, H, W) to scores (N, num_classes); `width_mult` scales all channels."""

    def __init__(self, num_classes=1000, width_mult=1.0, inverted_residual_setting=None, round_nearest=8, block=None,
                 norm_layer=None, dropout=0.2):  # fmt: skip
        super().__init__()
        block, norm_layer = block or InvertedResidual, norm_layer or nn.BatchNorm2d
        setting = _SETTING if inverted_residual_setting is None else inverted_residual_setting
        if len(setting) == 0 or len(setting[0]) != 4:
            raise ValueError(
                f"inverted_residual_setting should be non-empty or a 4-element list, got {inverted_residual_setting}"
            )
        channels = make_divisible(32 * width_mult, round_nearest)
        self.last_channel = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        shared = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        features = [Conv2dNormActivation(3, channels, stride=2, **shared)]
        for widening, width, blocks, first_stride in setting:
            width = make_divisible(width * width_mult, round_nearest)
            for index in range(blocks):
                stride = first_stride if index == 0 else 1
                features.append(block(channels, width, stride, expand_ratio=widening, norm_layer=norm_layer))
                channels = width
        features.append(Conv2dNormActivation(channels, self.last_channel, 1, **shared))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), nn.Linear(self.last_channel, num_classes))
        kaiming_fan_out(self)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(x.flatten(1))


MobileNet_V2_Weights = weights_enum(
    "MobileNet_V2_Weights",
    __name__,
    IMAGENET1K_V1=entry("mobilenet_v2-b0353104.pth"),
    IMAGENET1K_V2=entry("mobilenet_v2-7ebf99e0.pth", resize=232),
)


@model(MobileNet_V2_Weights)
def mobilenet_v2(**kwargs):
    """MobileNet of the second version."""
    return MobileNetV2(**kwargs)
