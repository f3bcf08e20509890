"""A vision transformer, ViT-S/16 on images of 224 by 224, 22 million weights, with AdamW.

Source: Dosovitskiy et al., An Image is Worth 16x16 Words, 2020; the small one as Touvron et al., 2021.
"""

from __future__ import annotations

from tritorch.bench.case import Input
from tritorch.bench.training import Training

USUAL = ("bfloat16",)
CLASSES, PATCH = 1000, 16
# layers, width, heads, image, batch
FULL, QUICK = (12, 384, 6, 224, 128), (12, 384, 6, 224, 32)
SMALL, TINY = (4, 128, 4, 96, 8), (1, 16, 2, 32, 2)


def net(lib, layers, width, heads, image):
    """Images and their classes to the mean loss."""
    nn, functional = lib.nn, lib.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            batch, length, _ = x.shape
            parts = self.qkv(self.norm1(x)).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(*parts.unbind(0))
            x = x + self.proj(found.transpose(1, 2).reshape(batch, length, width))
            return x + self.mlp(self.norm2(x))

    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, width, PATCH, PATCH)
            self.token = nn.Parameter(lib.zeros(1, 1, width))
            self.places = nn.Parameter(lib.zeros(1, 1 + (image // PATCH) ** 2, width))
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, CLASSES)

        def forward(self, images, classes):
            x = self.patches(images).flatten(2).transpose(1, 2)
            x = lib.cat((self.token.expand(x.shape[0], -1, -1), x), 1) + self.places
            return functional.cross_entropy(self.head(self.norm(self.blocks(x))[:, 0]), classes)

    return ViT()


def training(quick, small):
    """128 images; 8 smaller ones on a processor."""
    layers, width, heads, image, batch = (TINY if quick else SMALL) if small else QUICK if quick else FULL
    tokens = 1 + (image // PATCH) ** 2
    weights = 12 * layers * width**2 + 3 * PATCH**2 * width
    return Training(
        sizes=f"{layers}x{width} image {image} batch {batch}",
        net=lambda lib: net(lib, layers, width, heads, image),
        inputs=(Input((batch, 3, image, image)), Input((batch,), below=CLASSES)),
        optimizer=lambda lib, parameters: lib.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05),
        count=batch,
        unit="images/s",
        flops=batch * tokens * (6 * weights + 12 * layers * width * tokens),
        terms=4 * width,
    )
