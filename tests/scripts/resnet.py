"""A residual network with the usual recipe: SGD with Nesterov momentum, no decay for norms, warm-up, then a cosine."""

import argparse
import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != self.expansion * planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, self.expansion * planes, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(self.expansion * planes),
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    def __init__(self, block, num_blocks, num_classes=10):
        super().__init__()
        self.in_planes = 8
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = self._make_layer(block, 8, num_blocks[0], stride=1)
        self.layer2 = self._make_layer(block, 16, num_blocks[1], stride=2)
        self.layer3 = self._make_layer(block, 32, num_blocks[2], stride=2)
        self.linear = nn.Linear(32 * block.expansion, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)

    def _make_layer(self, block, planes, num_blocks, stride):
        layers = []
        for stride in [stride] + [1] * (num_blocks - 1):
            layers.append(block(self.in_planes, planes, stride))
            self.in_planes = planes * block.expansion
        return nn.Sequential(*layers)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.shape[-1]).view(out.size(0), -1)
        return self.linear(out)


def parameter_groups(model, decay):
    plain, decayed = [], []
    for name, parameter in model.named_parameters():
        (plain if parameter.ndim <= 1 else decayed).append(parameter)
    return [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": decay}]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--lr", default=0.1, type=float)
    parser.add_argument("--batch", default=32, type=int)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True

    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images.astype(np.float32) / 8 - 1).reshape(-1, 1, 8, 8)
    images = F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    labels = torch.from_numpy(labels)

    net = same_weights(ResNet(BasicBlock, [1, 1, 1])).to(device)
    average = copy.deepcopy(net)
    optimizer = torch.optim.SGD(parameter_groups(net, 5e-4), lr=args.lr, momentum=0.9, nesterov=True)
    warmup = LinearLR(optimizer, start_factor=0.1, total_iters=4)
    cosine = CosineAnnealingLR(optimizer, T_max=max(args.steps - 4, 1))
    scheduler = SequentialLR(optimizer, [warmup, cosine], milestones=[4])
    draw = np.random.default_rng(0)
    for step in range(args.steps):
        index = torch.from_numpy(draw.permutation(1500)[: args.batch])
        inputs, targets = images[index].to(device), labels[index].to(device)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(inputs), targets)
        loss.backward()
        optimizer.step()
        scheduler.step()
        with torch.no_grad():  # an exponential moving average of the weights
            for kept, new in zip(average.parameters(), net.parameters()):
                kept.lerp_(new, 0.2)
        report(step, loss.item(), lr=optimizer.param_groups[0]["lr"])
    net.eval()
    with torch.no_grad():
        right = (net(images[1500:].to(device)).argmax(-1).cpu() == labels[1500:]).float().mean()
    print(f"accuracy {right.item():.3f}; the average's first weight {average.conv1.weight[0, 0, 0, 0].item():.4f}")


if __name__ == "__main__":
    main()
