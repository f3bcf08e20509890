"""LeNet-5, for small grey images. Source: LeCun et al., 1998."""

from __future__ import annotations

from tritorch import nn
from tritorch.vision.models.registry import model

__all__ = ["LeNet", "lenet"]


class LeNet(nn.Module):
    """Two convolutions and three linear layers; images (N, channels, 28, 28) or (N, channels, 32, 32) to scores."""

    def __init__(self, num_classes=10, in_channels=1, image_size=28):
        super().__init__()
        padding = 2 if image_size == 28 else 0  # the network of the paper sees 32 x 32
        if image_size not in (28, 32):
            raise ValueError(f"LeNet sees images of 28 x 28 or 32 x 32, got image_size={image_size}")
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=padding),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, num_classes)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


@model()
def lenet(**kwargs):
    """LeNet-5."""
    return LeNet(**kwargs)
