"""U-Net segmentation of blobs: skip connections, a Dice loss beside the cross-entropy, intersection over union."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from torch.utils.data import DataLoader, Dataset


class Blobs(Dataset):
    """Ellipses on a gradient, with noise; the mask is what to find."""

    def __init__(self, count, size=32):
        self.count, self.size = count, size

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        draw = np.random.default_rng(i)
        y, x = np.mgrid[: self.size, : self.size] / self.size
        mask = np.zeros((self.size, self.size), bool)
        for _ in range(draw.integers(1, 4)):
            cy, cx = draw.uniform(0.2, 0.8, 2)
            a, b = draw.uniform(0.08, 0.25, 2)
            mask |= ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
        image = 0.6 * mask + 0.3 * x + draw.normal(0, 0.1, mask.shape)
        return {"image": torch.as_tensor(image[None].copy()).float(), "mask": torch.as_tensor(mask).long()}


class DoubleConv(nn.Module):
    """(convolution => [BN] => ReLU) * 2"""

    def __init__(self, in_channels, out_channels, mid_channels=None):
        super().__init__()
        mid_channels = mid_channels or out_channels
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, in_channels, out_channels, bilinear):
        super().__init__()
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(in_channels + out_channels, out_channels, in_channels // 2)
        else:
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
            self.conv = DoubleConv(in_channels // 2 + out_channels, out_channels)

    def forward(self, x1, x2):
        x1 = self.up(x1)
        diffY, diffX = x2.size()[2] - x1.size()[2], x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diffX // 2, diffX - diffX // 2, diffY // 2, diffY - diffY // 2])
        return self.conv(torch.cat([x2, x1], dim=1))


class UNet(nn.Module):
    def __init__(self, n_channels, n_classes, width=8):
        super().__init__()
        self.inc = DoubleConv(n_channels, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 4 * width)
        self.up1 = Up(4 * width, 2 * width, bilinear=False)
        self.up2 = Up(2 * width, width, bilinear=True)
        self.outc = nn.Conv2d(width, n_classes, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x = self.up1(self.down2(x2), x2)
        return self.outc(self.up2(x, x1))


def dice_loss(logits, masks, epsilon=1e-6):
    probabilities = F.softmax(logits, dim=1).float()
    truth = F.one_hot(masks, logits.shape[1]).permute(0, 3, 1, 2).float()
    inter = 2 * (probabilities * truth).sum(dim=(-1, -2))
    sets = probabilities.sum(dim=(-1, -2)) + truth.sum(dim=(-1, -2))
    sets = torch.where(sets == 0, inter, sets)
    return 1 - ((inter + epsilon) / (sets + epsilon)).mean()


@torch.inference_mode()
def evaluate(net, loader, device):
    net.eval()
    inter = union = 0
    for batch in loader:
        guess = net(batch["image"].to(device)).argmax(dim=1).bool()
        truth = batch["mask"].to(device).bool()
        inter += (guess & truth).sum().item()
        union += (guess | truth).sum().item()
    net.train()
    return inter / max(union, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch-size", "-b", type=int, default=4)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = DataLoader(Blobs(args.steps * args.batch_size), batch_size=args.batch_size)
    model = same_weights(UNet(1, 2))
    model = model.to(memory_format=torch.channels_last).to(device)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-4, weight_decay=1e-8, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=2)
    criterion = nn.CrossEntropyLoss()
    for step, batch in enumerate(loader):
        images = batch["image"].to(device=device, dtype=torch.float32, memory_format=torch.channels_last)
        true_masks = batch["mask"].to(device=device, dtype=torch.long)
        masks_pred = model(images)
        loss = criterion(masks_pred, true_masks) + dice_loss(masks_pred, true_masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        report(step, loss.item())
    score = evaluate(model, DataLoader(Blobs(8), batch_size=4), device)
    scheduler.step(score)
    print(f"IoU {score:.3f}, learning rate {optimizer.param_groups[0]['lr']}")
