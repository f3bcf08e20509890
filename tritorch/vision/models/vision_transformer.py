"""Vision Transformer: an image as a sequence of patches. Source: Dosovitskiy et al., 2020."""

from __future__ import annotations

import math
from collections import OrderedDict, namedtuple
from functools import partial

import tritorch
from tritorch import nn
from tritorch.nn.modules.fused import norm_of_sum
from tritorch.vision.models.registry import model
from tritorch.vision.models.weights import entry, weights_enum
from tritorch.vision.ops.misc import MLP, Conv2dNormActivation

__all__ = [
    "ViT_B_16_Weights", "ViT_B_32_Weights", "ViT_H_14_Weights", "ViT_L_16_Weights", "ViT_L_32_Weights",
    "VisionTransformer", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32",
]  # fmt: skip

ConvStemConfig = namedtuple(
    "ConvStemConfig",
    ("out_channels", "kernel_size", "stride", "norm_layer", "activation_layer"),
    defaults=(nn.BatchNorm2d, nn.ReLU),
)
_Norm = partial(nn.LayerNorm, eps=1e-6)


class MLPBlock(MLP):
    """Two linear layers with a GELU between them."""

    _version = 2

    def __init__(self, in_dim, mlp_dim, dropout):
        super().__init__(in_dim, [mlp_dim, in_dim], activation_layer=nn.GELU, inplace=None, dropout=dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.normal_(module.bias, std=1e-6)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if local_metadata.get("version") in (None, 1):  # which named its layers
            for old, new in (("linear_1", "0"), ("linear_2", "3")):
                for kind in ("weight", "bias"):
                    if f"{prefix}{old}.{kind}" in state_dict:
                        state_dict[f"{prefix}{new}.{kind}"] = state_dict.pop(f"{prefix}{old}.{kind}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class EncoderBlock(nn.Module):
    """Attention, then an MLP, each after a norm and added to its input."""

    def __init__(self, num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer=_Norm):
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = norm_layer(hidden_dim)
        self.self_attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=attention_dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(hidden_dim)
        self.mlp = MLPBlock(hidden_dim, mlp_dim, dropout)

    def forward(self, input):
        x = self.ln_1(input)
        attended = self.dropout(self.self_attention(x, x, x, need_weights=False)[0])
        normed, x = norm_of_sum(self.ln_2, attended, input)
        return x + self.mlp(normed)


class Encoder(nn.Module):
    """Where a patch is, added to what it shows, then blocks and a norm."""

    def __init__(self, seq_length, num_layers, num_heads, hidden_dim, mlp_dim, dropout, attention_dropout,
                 norm_layer=_Norm):  # fmt: skip
        super().__init__()
        self.pos_embedding = nn.Parameter(tritorch.empty(1, seq_length, hidden_dim).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(
            OrderedDict(
                (
                    f"encoder_layer_{index}",
                    EncoderBlock(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer),
                )
                for index in range(num_layers)
            )
        )
        self.ln = norm_layer(hidden_dim)

    def forward(self, input):
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """Images (N, 3, image_size, image_size) to scores (N, num_classes), read off a token put before the patches."""

    def __init__(self, image_size, patch_size, num_layers, num_heads, hidden_dim, mlp_dim, dropout=0.0,
                 attention_dropout=0.0, num_classes=1000, representation_size=None, norm_layer=_Norm,
                 conv_stem_configs=None):  # fmt: skip
        super().__init__()
        assert image_size % patch_size == 0, "Input shape indivisible by patch size!"
        self.image_size, self.patch_size, self.hidden_dim, self.mlp_dim = image_size, patch_size, hidden_dim, mlp_dim
        self.attention_dropout, self.dropout, self.num_classes = attention_dropout, dropout, num_classes
        self.representation_size, self.norm_layer = representation_size, norm_layer
        self.conv_proj = self._projection(conv_stem_configs)
        self.class_token = nn.Parameter(tritorch.zeros(1, 1, hidden_dim))
        self.seq_length = (image_size // patch_size) ** 2 + 1
        self.encoder = Encoder(
            self.seq_length, num_layers, num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer
        )
        heads = OrderedDict()
        if representation_size is None:
            heads["head"] = nn.Linear(hidden_dim, num_classes)
        else:
            heads["pre_logits"] = nn.Linear(hidden_dim, representation_size)
            heads["act"] = nn.Tanh()
            heads["head"] = nn.Linear(representation_size, num_classes)
        self.heads = nn.Sequential(heads)
        self._initialise()

    def _projection(self, stem):
        """From pixels to patches of `hidden_dim` numbers: one convolution, or several (Xiao et al., 2021)."""
        if stem is None:
            return nn.Conv2d(3, self.hidden_dim, self.patch_size, self.patch_size)
        layers, channels = nn.Sequential(), 3
        for index, each in enumerate(stem):
            layers.add_module(
                f"conv_bn_relu_{index}",
                Conv2dNormActivation(
                    channels, each.out_channels, each.kernel_size, each.stride, norm_layer=each.norm_layer,
                    activation_layer=each.activation_layer,
                ),
            )  # fmt: skip
            channels = each.out_channels
        layers.add_module("conv_last", nn.Conv2d(channels, self.hidden_dim, 1))
        return layers

    def _initialise(self):
        if isinstance(self.conv_proj, nn.Conv2d):
            fan_in = self.conv_proj.in_channels * math.prod(self.conv_proj.kernel_size)
            nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / fan_in))
            nn.init.zeros_(self.conv_proj.bias)
        else:
            last = self.conv_proj.conv_last
            nn.init.normal_(last.weight, mean=0.0, std=math.sqrt(2.0 / last.out_channels))
            nn.init.zeros_(last.bias)
        if hasattr(self.heads, "pre_logits"):
            nn.init.trunc_normal_(self.heads.pre_logits.weight, std=math.sqrt(1 / self.heads.pre_logits.in_features))
            nn.init.zeros_(self.heads.pre_logits.bias)
        nn.init.zeros_(self.heads.head.weight)
        nn.init.zeros_(self.heads.head.bias)

    def _process_input(self, x):
        """The patches (N, patches, hidden_dim) of images."""
        count, _, height, width = x.shape
        for name, edge in (("height", height), ("width", width)):
            assert edge == self.image_size, f"Wrong image {name}! Expected {self.image_size} but got {edge}!"
        return self.conv_proj(x).reshape(count, self.hidden_dim, -1).permute(0, 2, 1)

    def forward(self, x):
        x = self._process_input(x)
        x = tritorch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        return self.heads(self.encoder(x)[:, 0])


def _swag(file, crop):
    return entry(file, crop=crop, resize=crop, interpolation="bicubic")


ViT_B_16_Weights = weights_enum(
    "ViT_B_16_Weights",
    __name__,
    "IMAGENET1K_V1",
    IMAGENET1K_V1=entry("vit_b_16-c867db91.pth"),
    IMAGENET1K_SWAG_E2E_V1=_swag("vit_b_16_swag-9ac1b537.pth", 384),
    IMAGENET1K_SWAG_LINEAR_V1=_swag("vit_b_16_lc_swag-4e70ced5.pth", 224),
)
ViT_B_32_Weights = weights_enum("ViT_B_32_Weights", __name__, IMAGENET1K_V1=entry("vit_b_32-d86f8d99.pth"))
ViT_L_16_Weights = weights_enum(
    "ViT_L_16_Weights",
    __name__,
    "IMAGENET1K_V1",
    IMAGENET1K_V1=entry("vit_l_16-852ce7e3.pth", resize=242),
    IMAGENET1K_SWAG_E2E_V1=_swag("vit_l_16_swag-4f3808c9.pth", 512),
    IMAGENET1K_SWAG_LINEAR_V1=_swag("vit_l_16_lc_swag-4d563306.pth", 224),
)
ViT_L_32_Weights = weights_enum("ViT_L_32_Weights", __name__, IMAGENET1K_V1=entry("vit_l_32-c7638314.pth"))
ViT_H_14_Weights = weights_enum(
    "ViT_H_14_Weights",
    __name__,
    "IMAGENET1K_SWAG_E2E_V1",
    IMAGENET1K_SWAG_E2E_V1=_swag("vit_h_14_swag-80465313.pth", 518),
    IMAGENET1K_SWAG_LINEAR_V1=_swag("vit_h_14_lc_swag-c1eb923e.pth", 224),
)


def _vit(patch_size, num_layers, num_heads, hidden_dim, mlp_dim, image_size=224, **kwargs):
    return VisionTransformer(image_size, patch_size, num_layers, num_heads, hidden_dim, mlp_dim, **kwargs)


@model(ViT_B_16_Weights)
def vit_b_16(**kwargs):
    """The base transformer on patches of 16 x 16."""
    return _vit(16, 12, 12, 768, 3072, **kwargs)


@model(ViT_B_32_Weights)
def vit_b_32(**kwargs):
    """The base transformer on patches of 32 x 32."""
    return _vit(32, 12, 12, 768, 3072, **kwargs)


@model(ViT_L_16_Weights)
def vit_l_16(**kwargs):
    """The large transformer on patches of 16 x 16."""
    return _vit(16, 24, 16, 1024, 4096, **kwargs)


@model(ViT_L_32_Weights)
def vit_l_32(**kwargs):
    """The large transformer on patches of 32 x 32."""
    return _vit(32, 24, 16, 1024, 4096, **kwargs)


@model(ViT_H_14_Weights, old=None)
def vit_h_14(**kwargs):
    """The huge transformer on patches of 14 x 14."""
    return _vit(14, 32, 16, 1280, 5120, **kwargs)
