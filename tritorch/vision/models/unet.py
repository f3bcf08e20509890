"""U-Net: a class for each pixel, from what lies around it at every scale. Source: Ronneberger, Fischer, Brox, 2015."""

from __future__ import annotations

import tritorch
from tritorch import nn
from tritorch.vision.models.registry import model

__all__ = ["UNet", "unet"]


def _two_convolutions(in_channels, out_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Images (N, in_channels, H, W) to scores (N, num_classes, H, W); H and W are multiples of 2^(len(widths) - 1).

    Each of `widths` is a scale: on the way down images are halved between them, on the way up doubled, and what was
    seen at the same scale on the way down stands beside what comes from below. Convolutions keep the size and are
    followed by batch norms, which the paper did not have.
    """

    def __init__(self, in_channels=3, num_classes=2, widths=(64, 128, 256, 512, 1024)):
        super().__init__()
        self.down = nn.ModuleList(
            _two_convolutions(before, after) for before, after in zip((in_channels, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(below, above, 2, 2) for below, above in steps)
        self.up = nn.ModuleList(_two_convolutions(2 * above, above) for _, above in steps)
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x):
        multiple = 2 ** len(self.up)
        if x.shape[-1] % multiple or x.shape[-2] % multiple:
            raise ValueError(f"UNet halves images {len(self.up)} times: got {tuple(x.shape[-2:])}, and sizes must be "
                             f"multiples of {multiple}")  # fmt: skip
        seen = []
        for block in self.down[:-1]:
            x = block(x)
            seen.append(x)
            x = self.pool(x)
        x = self.down[-1](x)
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(tritorch.cat((seen.pop(), enlarge(x)), 1))
        return self.head(x)


@model()
def unet(**kwargs):
    """U-Net."""
    return UNet(**kwargs)
