"""ConvNeXt: a ResNet with the habits of transformers. Source: Liu et al., A ConvNet for the 2020s, 2022."""

from __future__ import annotations

from functools import partial

import tritorch
from tritorch import nn
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum
from tritorch.vision.ops.misc import Conv2dNormActivation, Permute
from tritorch.vision.ops.stochastic_depth import StochasticDepth

__all__ = [
    "ConvNeXt", "ConvNeXt_Base_Weights", "ConvNeXt_Large_Weights", "ConvNeXt_Small_Weights", "ConvNeXt_Tiny_Weights",
    "convnext_base", "convnext_large", "convnext_small", "convnext_tiny",
]  # fmt: skip


class LayerNorm2d(nn.LayerNorm):
    """A layer norm over the channels of each pixel."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class CNBlock(nn.Module):
    """Each channel filtered, then pixels widened and narrowed, added to the input by a scale that is learned."""

    def __init__(self, dim, layer_scale, stochastic_depth_prob, norm_layer=None):
        super().__init__()
        norm_layer = norm_layer or partial(nn.LayerNorm, eps=1e-6)
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, 7, padding=3, groups=dim, bias=True),
            Permute([0, 2, 3, 1]),
            norm_layer(dim),
            nn.Linear(dim, 4 * dim, bias=True),
            nn.GELU(),
            nn.Linear(4 * dim, dim, bias=True),
            Permute([0, 3, 1, 2]),
        )
        self.layer_scale = nn.Parameter(tritorch.ones(dim, 1, 1) * layer_scale)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, input):
        found = self.stochastic_depth(self.layer_scale * self.block(input))
        found += input
        return found


class CNBlockConfig:
    """A stage: its channels, those of the next one (None after the last), its blocks."""

    def __init__(self, input_channels, out_channels, num_layers):
        self.input_channels, self.out_channels, self.num_layers = input_channels, out_channels, num_layers

    def __repr__(self):
        return (
            f"CNBlockConfig(input_channels={self.input_channels}, out_channels={self.out_channels}, "
            f"num_layers={self.num_layers})"
        )


class ConvNeXt(nn.Module):
    """Images (N, 3, H, W) to scores (N, num_classes)."""

    def __init__(self, block_setting, stochastic_depth_prob=0.0, layer_scale=1e-6, num_classes=1000, block=None,
                 norm_layer=None):  # fmt: skip
        super().__init__()
        if not block_setting:
            raise ValueError("The block_setting should not be empty")
        if not all(isinstance(each, CNBlockConfig) for each in block_setting):
            raise TypeError("The block_setting should be List[CNBlockConfig]")
        block, norm_layer = block or CNBlock, norm_layer or partial(LayerNorm2d, eps=1e-6)
        layers = [
            Conv2dNormActivation(
                3, block_setting[0].input_channels, 4, 4, 0, norm_layer=norm_layer, activation_layer=None, bias=True
            )
        ]
        total, done = sum(stage.num_layers for stage in block_setting), 0
        for stage in block_setting:
            blocks = []
            for _ in range(stage.num_layers):
                blocks.append(block(stage.input_channels, layer_scale, stochastic_depth_prob * done / (total - 1.0)))
                done += 1
            layers.append(nn.Sequential(*blocks))
            if stage.out_channels is not None:
                shrink = nn.Conv2d(stage.input_channels, stage.out_channels, 2, 2)
                layers.append(nn.Sequential(norm_layer(stage.input_channels), shrink))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        last = block_setting[-1].out_channels or block_setting[-1].input_channels
        self.classifier = nn.Sequential(norm_layer(last), nn.Flatten(1), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)))


def _convnext(width, depth, probability, stochastic_depth_prob=None, **kwargs):
    widths = [width, 2 * width, 4 * width, 8 * width]
    stages = zip(widths, [*widths[1:], None], (3, 3, depth, 3), strict=True)
    setting = [CNBlockConfig(*stage) for stage in stages]
    probability = probability if stochastic_depth_prob is None else stochastic_depth_prob
    return ConvNeXt(setting, stochastic_depth_prob=probability, **kwargs)


def _weights(name, file, resize):
    return weights_enum(name, __name__, IMAGENET1K_V1=entry(file, resize=resize))


ConvNeXt_Tiny_Weights = _weights("ConvNeXt_Tiny_Weights", "convnext_tiny-983f1562.pth", 236)
ConvNeXt_Small_Weights = _weights("ConvNeXt_Small_Weights", "convnext_small-0c510722.pth", 230)
ConvNeXt_Base_Weights = _weights("ConvNeXt_Base_Weights", "convnext_base-6075fbad.pth", 232)
ConvNeXt_Large_Weights = _weights("ConvNeXt_Large_Weights", "convnext_large-ea097f82.pth", 232)


@model(ConvNeXt_Tiny_Weights)
def convnext_tiny(**kwargs):
    """ConvNeXt of 28 million parameters."""
    return _convnext(96, 9, 0.1, **kwargs)


@model(ConvNeXt_Small_Weights)
def convnext_small(**kwargs):
    """ConvNeXt of 50 million parameters."""
    return _convnext(96, 27, 0.4, **kwargs)


@model(ConvNeXt_Base_Weights)
def convnext_base(**kwargs):
    """ConvNeXt of 88 million parameters."""
    return _convnext(128, 27, 0.5, **kwargs)


@model(ConvNeXt_Large_Weights)
def convnext_large(**kwargs):
    """ConvNeXt of 197 million parameters."""
    return _convnext(192, 27, 0.5, **kwargs)
