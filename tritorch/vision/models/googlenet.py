"""GoogLeNet: blocks of several convolutions side by side. Source: Szegedy et al., 2014."""

from __future__ import annotations

import warnings
from collections import namedtuple

import tritorch
from tritorch import nn
from tritorch.nn import functional as F
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import DEVIATION, MEAN, entry, weights_enum

__all__ = ["GoogLeNet", "GoogLeNetOutputs", "GoogLeNet_Weights", "googlenet"]

GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])


class BasicConv2d(nn.Module):
    """A convolution, a norm, and what is above zero of it."""

    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four ways to see the same pixels, side by side."""

    def __init__(self, in_channels, ch1x1, ch3x3red, ch3x3, ch5x5red, ch5x5, pool_proj, conv_block=None):
        super().__init__()
        conv = conv_block or BasicConv2d
        self.branch1 = conv(in_channels, ch1x1, kernel_size=1)
        self.branch2 = nn.Sequential(
            conv(in_channels, ch3x3red, kernel_size=1), conv(ch3x3red, ch3x3, kernel_size=3, padding=1)
        )
        self.branch3 = nn.Sequential(  # the published weights have kernels of 3 x 3 where the paper has 5 x 5
            conv(in_channels, ch5x5red, kernel_size=1), conv(ch5x5red, ch5x5, kernel_size=3, padding=1)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(in_channels, pool_proj, kernel_size=1))

    def forward(self, x):
        return tritorch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class InceptionAux(nn.Module):
    """Scores from the middle of the network, which bring a gradient there while training."""

    def __init__(self, in_channels, num_classes, conv_block=None, dropout=0.7):
        super().__init__()
        self.conv = (conv_block or BasicConv2d)(in_channels, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x):
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x), inplace=True)))


def normalised_as_trained(x):
    """Images of mean 0 and deviation 1 as the numbers from -1 to 1 that the published weights were trained on."""
    channels = [
        x[:, index : index + 1] * (deviation / 0.5) + (mean - 0.5) / 0.5
        for index, (mean, deviation) in enumerate(zip(MEAN, DEVIATION, strict=True))
    ]
    return tritorch.cat(channels, 1)


def start_with_narrow_weights(network, deviation=None):
    """Weights normal and cut at two deviations, which a module may give as `stddev`; norms 1 and 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            own = deviation or float(getattr(module, "stddev", 0.1))
            nn.init.trunc_normal_(module.weight, mean=0.0, std=own, a=-2, b=2)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class GoogLeNet(nn.Module):
    """Images (N, 3, H, W) to scores (N, num_classes), while training with `aux_logits` to three of them."""

    def __init__(self, num_classes=1000, aux_logits=True, transform_input=False, init_weights=None, blocks=None,
                 dropout=0.2, dropout_aux=0.7):  # fmt: skip
        super().__init__()
        blocks = [BasicConv2d, Inception, InceptionAux] if blocks is None else blocks
        if len(blocks) != 3:
            raise ValueError(f"blocks length should be 3 instead of {len(blocks)}")
        conv, block, aux = blocks
        self.aux_logits, self.transform_input = aux_logits, transform_input
        self.conv1 = conv(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = conv(64, 64, kernel_size=1)
        self.conv3 = conv(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = block(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = block(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = block(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = block(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = block(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = block(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = block(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a = block(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = block(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = aux(512, num_classes, dropout=dropout_aux) if aux_logits else None
        self.aux2 = aux(528, num_classes, dropout=dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights is None or init_weights:
            start_with_narrow_weights(self, 0.01)

    def forward(self, x):
        x = normalised_as_trained(x) if self.transform_input else x
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.inception4a(self.maxpool3(self.inception3b(self.inception3a(x))))
        wanted = self.training and self.aux_logits
        first = self.aux1(x) if wanted else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        second = self.aux2(x) if wanted else None
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        x = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(x, second, first) if wanted else x


GoogLeNet_Weights = weights_enum("GoogLeNet_Weights", __name__, IMAGENET1K_V1=entry("googlenet-1378be20.pth"))


def _loaded(network, aux_logits=False, **kwargs):
    """After the published weights were read, which have the heads in the middle but did not train them."""
    if aux_logits:
        warnings.warn(
            "auxiliary heads in the pretrained googlenet model are NOT pretrained, so make sure to train them",
            stacklevel=3,
        )
    else:
        network.aux_logits, network.aux1, network.aux2 = False, None, None


@model(
    GoogLeNet_Weights,
    with_weights={"transform_input": True, "init_weights": False},
    needed={"aux_logits": True},
    loaded=_loaded,
)
def googlenet(**kwargs):
    """GoogLeNet."""
    return GoogLeNet(**kwargs)
