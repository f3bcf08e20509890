"""VGG: small convolutions one after the other. Source: Simonyan, Zisserman, 2014."""

from __future__ import annotations

from tritorch import nn
from tritorch.vision.models.initialise import kaiming_fan_out
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum

__all__ = [
    "VGG", "VGG11_BN_Weights", "VGG11_Weights", "VGG13_BN_Weights", "VGG13_Weights", "VGG16_BN_Weights",
    "VGG16_Weights", "VGG19_BN_Weights", "VGG19_Weights", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16",
    "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip


class VGG(nn.Module):
    """`features`, then three linear layers; images (N, 3, H, W) to scores (N, num_classes)."""

    def __init__(self, features, num_classes=1000, init_weights=True, dropout=0.5):
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            kaiming_fan_out(self)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


# Channels of the convolutions of each stage; a stage ends with a pooling.
_STAGES = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}


def _vgg(depth, batch_norm, **kwargs):
    layers, channels = [], 3
    for stage in _STAGES[depth]:
        for width in stage:
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return VGG(nn.Sequential(*layers), **kwargs)


def _weights(name, file, **others):
    return weights_enum(name, __name__, "IMAGENET1K_V1", IMAGENET1K_V1=entry(file), **others)


_BYTE = 1 / 255
VGG11_Weights = _weights("VGG11_Weights", "vgg11-8a719046.pth")
VGG11_BN_Weights = _weights("VGG11_BN_Weights", "vgg11_bn-6002323d.pth")
VGG13_Weights = _weights("VGG13_Weights", "vgg13-19584684.pth")
VGG13_BN_Weights = _weights("VGG13_BN_Weights", "vgg13_bn-abd245e5.pth")
VGG16_Weights = _weights(
    "VGG16_Weights",
    "vgg16-397923af.pth",
    IMAGENET1K_FEATURES=entry(
        "vgg16_features-amdegroot-88682ab5.pth", mean=(0.48235, 0.45882, 0.40784), std=(_BYTE, _BYTE, _BYTE)
    ),
)
VGG16_BN_Weights = _weights("VGG16_BN_Weights", "vgg16_bn-6c64b313.pth")
VGG19_Weights = _weights("VGG19_Weights", "vgg19-dcbb9e9d.pth")
VGG19_BN_Weights = _weights("VGG19_BN_Weights", "vgg19_bn-c79401a0.pth")
_LOADED = {"init_weights": False}  # what is overwritten need not be drawn


@model(VGG11_Weights, with_weights=_LOADED)
def vgg11(**kwargs):
    """VGG of 11 layers."""
    return _vgg(11, False, **kwargs)


@model(VGG11_BN_Weights, with_weights=_LOADED)
def vgg11_bn(**kwargs):
    """VGG of 11 layers with batch norms."""
    return _vgg(11, True, **kwargs)


@model(VGG13_Weights, with_weights=_LOADED)
def vgg13(**kwargs):
    """VGG of 13 layers."""
    return _vgg(13, False, **kwargs)


@model(VGG13_BN_Weights, with_weights=_LOADED)
def vgg13_bn(**kwargs):
    """VGG of 13 layers with batch norms."""
    return _vgg(13, True, **kwargs)


@model(VGG16_Weights, with_weights=_LOADED)
def vgg16(**kwargs):
    """VGG of 16 layers."""
    return _vgg(16, False, **kwargs)


@model(VGG16_BN_Weights, with_weights=_LOADED)
def vgg16_bn(**kwargs):
    """VGG of 16 layers with batch norms."""
    return _vgg(16, True, **kwargs)


@model(VGG19_Weights, with_weights=_LOADED)
def vgg19(**kwargs):
    """VGG of 19 layers."""
    return _vgg(19, False, **kwargs)


@model(VGG19_BN_Weights, with_weights=_LOADED)
def vgg19_bn(**kwargs):
    """VGG of 19 layers with batch norms."""
    return _vgg(19, True, **kwargs)
