"""ResNet-18 for images of 32 by 32 (a stem of 3 by 3 and no pooling after it), 11 million weights, with SGD.

Source: He et al., Deep Residual Learning for Image Recognition, 2015.
"""

from __future__ import annotations

from tritorch.bench.case import Input
from tritorch.bench.training import Training

USUAL = ("bfloat16", "tf32")
CLASSES, SIDE = 10, 32
WIDTH, TINY_WIDTH = 64, 4  # channels of the first stage
STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels in widths, and the stride of the first of two blocks
BATCH, QUICK_BATCH, SMALL_BATCH, TINY_BATCH = 128, 32, 8, 2
PRODUCTS = 556_000_000  # multiplications an image
LAST = (0, 2, 3, 1)


def net(lib, width=WIDTH):
    """Images and their classes to the mean loss."""
    nn, functional = lib.nn, lib.nn.functional

    def conv(channels, features, kernel, stride=1):
        return nn.Conv2d(channels, features, kernel, stride, kernel // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, channels, features, stride):
            super().__init__()
            self.conv1, self.bn1 = conv(channels, features, 3, stride), nn.BatchNorm2d(features)
            self.conv2, self.bn2 = conv(features, features, 3), nn.BatchNorm2d(features)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride != 1 or channels != features:
                self.downsample = nn.Sequential(conv(channels, features, 1, stride), nn.BatchNorm2d(features))

        def forward(self, x):
            kept = x if self.downsample is None else self.downsample(x)
            x = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            x += kept
            return self.relu(x)

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1, self.relu = conv(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            blocks, channels = [], width
            for widths, stride in STAGES:
                features = widths * width
                blocks += [Block(channels, features, stride), Block(features, features, 1)]
                channels = features
            self.blocks = nn.Sequential(*blocks)
            self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(channels, CLASSES)

        def forward(self, x, classes):
            x = self.blocks(self.relu(self.bn1(self.conv1(x))))
            return functional.cross_entropy(self.fc(self.avgpool(x).flatten(1)), classes)

    return ResNet()


def training(quick, small):
    """128 images with channels innermost; 8 on a processor."""
    batch, width = QUICK_BATCH if quick else BATCH, WIDTH
    if small:
        batch, width = (TINY_BATCH, TINY_WIDTH) if quick else (SMALL_BATCH, WIDTH)
    return Training(
        sizes=f"batch {batch}{' narrow' * (width != WIDTH)} channels last",
        net=lambda lib: net(lib, width),
        inputs=(Input((batch, 3, SIDE, SIDE), order=LAST), Input((batch,), below=CLASSES)),
        optimizer=lambda lib, parameters: lib.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4),
        count=batch,
        unit="images/s",
        flops=6 * batch * PRODUCTS * width**2 // WIDTH**2,
        terms=72 * width,
        channels_last=True,
    )
