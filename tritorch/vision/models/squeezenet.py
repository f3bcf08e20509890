"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters. Source: Iandola et al., 2016."""

from __future__ import annotations

import tritorch
from tritorch import nn
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum

__all__ = ["SqueezeNet", "SqueezeNet1_0_Weights", "SqueezeNet1_1_Weights", "squeezenet1_0", "squeezenet1_1"]


class Fire(nn.Module):
    """Channels squeezed by one convolution, and expanded by two whose results stand side by side."""

    def __init__(self, inplanes, squeeze_planes, expand1x1_planes, expand3x3_planes):
        super().__init__()
        self.inplanes = inplanes
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.squeeze_activation(self.squeeze(x))
        wide = (self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x)))
        return tritorch.cat(wide, 1)


def _pool():
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _features(version):
    fires = [
        (64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128), (256, 48, 192), (384, 48, 192), (384, 64, 256),
        (512, 64, 256),
    ]  # fmt: skip
    blocks = [Fire(channels, squeezed, wide, wide) for channels, squeezed, wide in fires]
    if version == "1_0":
        blocks[0] = Fire(96, 16, 64, 64)
        start, pools = nn.Conv2d(3, 96, 7, stride=2), (3, 7)
    elif version == "1_1":
        start, pools = nn.Conv2d(3, 64, 3, stride=2), (2, 4)
    else:
        raise ValueError(f"Unsupported SqueezeNet version {version}: 1_0 or 1_1 expected")
    layers = [start, nn.ReLU(inplace=True), _pool()]
    for index, block in enumerate(blocks):
        layers += [_pool(), block] if index in pools else [block]
    return nn.Sequential(*layers)


class SqueezeNet(nn.Module):
    """Images (N, 3, H, W) to scores (N, num_classes)."""

    def __init__(self, version="1_0", num_classes=1000, dropout=0.5):
        super().__init__()
        self.num_classes = num_classes
        self.features = _features(version)
        last = nn.Conv2d(512, num_classes, 1)
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout), last, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is last:
                    nn.init.normal_(module.weight, mean=0.0, std=0.01)
                else:
                    nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.classifier(self.features(x)).flatten(1)


SqueezeNet1_0_Weights = weights_enum(
    "SqueezeNet1_0_Weights", __name__, IMAGENET1K_V1=entry("squeezenet1_0-b66bff10.pth")
)
SqueezeNet1_1_Weights = weights_enum(
    "SqueezeNet1_1_Weights", __name__, IMAGENET1K_V1=entry("squeezenet1_1-b8a52dc0.pth")
)


@model(SqueezeNet1_0_Weights)
def squeezenet1_0(**kwargs):
    """SqueezeNet as it was published."""
    return SqueezeNet("1_0", **kwargs)


@model(SqueezeNet1_1_Weights)
def squeezenet1_1(**kwargs):
    """SqueezeNet that pools earlier, and needs 2.4 times less computation."""
    return SqueezeNet("1_1", **kwargs)
