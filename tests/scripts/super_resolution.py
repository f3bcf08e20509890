"""Sub-pixel super-resolution (ESPCN, Shi et al. 2016) with the signal-to-noise ratio as its measure."""

from __future__ import division, print_function

import argparse
from math import log10

import numpy as np
import torch
import torch.nn as nn
import torch.nn.init as init
import torch.optim as optim
from alike import report, same_weights
from torch.utils.data import DataLoader, Dataset


def landscape(size=192):
    """A picture with detail at every scale: noise of ever finer grain."""
    draw, picture = np.random.RandomState(0), 0
    for grain in (48, 24, 12, 6, 3):
        picture = picture + grain * np.kron(draw.rand(size // grain, size // grain), np.ones((grain, grain)))
    return (picture / picture.max()).astype(np.float32)


class Patches(Dataset):
    """Random patches of a picture in grey; the network sees them averaged over blocks."""

    def __init__(self, count, factor, size=24):
        photo = landscape()
        draw = np.random.RandomState(count)
        self.factor, self.patches = factor, []
        for _ in range(count):
            top, left = draw.randint(0, photo.shape[0] - size), draw.randint(0, photo.shape[1] - size)
            self.patches.append(torch.from_numpy(photo[top : top + size, left : left + size].copy()).unsqueeze(0))

    def __getitem__(self, index):
        target = self.patches[index]
        return nn.functional.avg_pool2d(target, self.factor), target

    def __len__(self):
        return len(self.patches)


class Net(nn.Module):
    def __init__(self, upscale_factor):
        super(Net, self).__init__()
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(1, 16, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(16, 16, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(16, upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        self._initialize_weights()

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.pixel_shuffle(self.conv3(x))

    def _initialize_weights(self):
        init.orthogonal_(self.conv1.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv2.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv3.weight)


parser = argparse.ArgumentParser(description="PyTorch Super Res Example")
parser.add_argument("--upscale_factor", type=int, default=2, help="super resolution upscale factor")
parser.add_argument("--batchSize", type=int, default=8, help="training batch size")
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.005)
opt = parser.parse_args()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = same_weights(Net(opt.upscale_factor).to(device))
criterion = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=opt.lr)
loader = DataLoader(dataset=Patches(opt.batchSize * opt.steps, opt.upscale_factor), batch_size=opt.batchSize)
for iteration, batch in enumerate(loader, 1):
    input, target = batch[0].to(device), batch[1].to(device)
    optimizer.zero_grad()
    loss = criterion(model(input), target)
    loss.backward()
    optimizer.step()
    report(iteration, loss.item(), psnr=10 * log10(1 / loss.item()))

avg_psnr, simple = 0, 0
tests = DataLoader(Patches(16, opt.upscale_factor), batch_size=4)
with torch.no_grad():
    for input, target in tests:
        input, target = input.to(device), target.to(device)
        avg_psnr += 10 * log10(1 / criterion(model(input), target).item())
        bicubic = nn.functional.interpolate(input, scale_factor=opt.upscale_factor, mode="bicubic")
        simple += 10 * log10(1 / criterion(bicubic, target).item())
print("===> Avg. PSNR: {:.2f} dB; bicubic {:.2f} dB".format(avg_psnr / len(tests), simple / len(tests)))
