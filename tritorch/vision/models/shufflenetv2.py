"""ShuffleNet of the second version: half of the channels pass by, then all are shuffled. Source: Ma et al., 2018."""

from __future__ import annotations

import tritorch
from tritorch import nn
from tritorch.nn import functional as F
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum

__all__ = [
    "ShuffleNetV2", "ShuffleNet_V2_X0_5_Weights", "ShuffleNet_V2_X1_0_Weights", "ShuffleNet_V2_X1_5_Weights",
    "ShuffleNet_V2_X2_0_Weights", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
]  # fmt: skip


def _pixels(channels, out_channels):
    """A convolution of each pixel by itself, a norm, and what is above zero."""
    return nn.Conv2d(channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


def _filters(channels, stride):
    """A convolution of each channel by itself, and a norm."""
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False), nn.BatchNorm2d(channels)


class InvertedResidual(nn.Module):
    """Half of the channels changed and the other half kept, or all changed twice over with half the size; shuffled."""

    def __init__(self, inp, oup, stride):
        super().__init__()
        if not 1 <= stride <= 3:
            raise ValueError("illegal stride value")
        half = oup // 2
        if stride == 1 and inp != half << 1:
            raise ValueError(
                f"Invalid combination of stride {stride}, inp {inp} and oup {oup} values. If stride == 1 then inp "
                "should be equal to oup // 2 << 1."
            )
        self.stride = stride
        self.branch1 = nn.Sequential(*_filters(inp, stride), *_pixels(inp, half)) if stride > 1 else nn.Sequential()
        self.branch2 = nn.Sequential(
            *_pixels(inp if stride > 1 else half, half), *_filters(half, stride), *_pixels(half, half)
        )

    def forward(self, x):
        first, second = x.chunk(2, dim=1) if self.stride == 1 else (self.branch1(x), x)
        return F.channel_shuffle(tritorch.cat((first, self.branch2(second)), dim=1), 2)


class ShuffleNetV2(nn.Module):
    """Images (N, 3, H, W) to scores (N, num_classes)."""

    def __init__(self, stages_repeats, stages_out_channels, num_classes=1000, inverted_residual=InvertedResidual):
        super().__init__()
        if len(stages_repeats) != 3:
            raise ValueError("expected stages_repeats as list of 3 positive ints")
        if len(stages_out_channels) != 5:
            raise ValueError("expected stages_out_channels as list of 5 positive ints")
        first, *widths, last = stages_out_channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True)
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = first
        for index, (repeats, width) in enumerate(zip(stages_repeats, widths, strict=True), 2):
            blocks = [inverted_residual(channels, width, 2)]
            blocks += [inverted_residual(width, width, 1) for _ in range(repeats - 1)]
            setattr(self, f"stage{index}", nn.Sequential(*blocks))
            channels = width
        self.conv5 = nn.Sequential(*_pixels(channels, last))
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x):
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.conv5(x).mean([2, 3]))


def _weights(size, file, resize=256):
    return weights_enum(f"ShuffleNet_V2_X{size}_Weights", __name__, IMAGENET1K_V1=entry(file, resize=resize))


ShuffleNet_V2_X0_5_Weights = _weights("0_5", "shufflenetv2_x0.5-f707e7126e.pth")
ShuffleNet_V2_X1_0_Weights = _weights("1_0", "shufflenetv2_x1-5666bf0f80.pth")
ShuffleNet_V2_X1_5_Weights = _weights("1_5", "shufflenetv2_x1_5-3c479a10.pth", 232)
ShuffleNet_V2_X2_0_Weights = _weights("2_0", "shufflenetv2_x2_0-8be3c8ee.pth", 232)


@model(ShuffleNet_V2_X0_5_Weights)
def shufflenet_v2_x0_5(**kwargs):
    """ShuffleNet of the second version, half as wide."""
    return ShuffleNetV2([4, 8, 4], [24, 48, 96, 192, 1024], **kwargs)


@model(ShuffleNet_V2_X1_0_Weights)
def shufflenet_v2_x1_0(**kwargs):
    """ShuffleNet of the second version."""
    return ShuffleNetV2([4, 8, 4], [24, 116, 232, 464, 1024], **kwargs)


@model(ShuffleNet_V2_X1_5_Weights)
def shufflenet_v2_x1_5(**kwargs):
    """ShuffleNet of the second version, half as wide again."""
    return ShuffleNetV2([4, 8, 4], [24, 176, 352, 704, 1024], **kwargs)


@model(ShuffleNet_V2_X2_0_Weights)
def shufflenet_v2_x2_0(**kwargs):
    """ShuffleNet of the second version, twice as wide."""
    return ShuffleNetV2([4, 8, 4], [24, 244, 488, 976, 2048], **kwargs)
