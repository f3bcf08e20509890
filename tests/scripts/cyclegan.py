"""CycleGAN on stripes: two generators, two critics, a buffer of images, a learning rate that falls to nothing."""

import argparse
import functools
import itertools
import random

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from torch.optim import lr_scheduler


class ResnetBlock(nn.Module):
    def __init__(self, dim, padding_type, norm_layer, use_dropout, use_bias):
        super(ResnetBlock, self).__init__()
        conv_block = []
        if padding_type == "reflect":
            conv_block += [nn.ReflectionPad2d(1)]
        elif padding_type == "replicate":
            conv_block += [nn.ReplicationPad2d(1)]
        conv_block += [nn.Conv2d(dim, dim, kernel_size=3, padding=0, bias=use_bias), norm_layer(dim), nn.ReLU(True)]
        if use_dropout:
            conv_block += [nn.Dropout(0.5)]
        self.conv_block = nn.Sequential(*conv_block)

    def forward(self, x):
        return x + self.conv_block(x)


def get_norm_layer(norm_type="instance"):
    if norm_type == "batch":
        return functools.partial(nn.BatchNorm2d, affine=True, track_running_stats=True)
    return functools.partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)


def generator(ngf=8):
    norm = get_norm_layer()
    return nn.Sequential(
        nn.ReflectionPad2d(3), nn.Conv2d(1, ngf, 7), norm(ngf), nn.ReLU(True),
        nn.Conv2d(ngf, ngf * 2, 3, stride=2, padding=1), norm(ngf * 2), nn.ReLU(True),
        ResnetBlock(ngf * 2, "reflect", norm, False, True), ResnetBlock(ngf * 2, "replicate", norm, False, True),
        nn.ConvTranspose2d(ngf * 2, ngf, 3, stride=2, padding=1, output_padding=1), norm(ngf), nn.ReLU(True),
        nn.ReflectionPad2d(3), nn.Conv2d(ngf, 1, 7), nn.Tanh(),
    )  # fmt: skip


def critic(ndf=8):
    return nn.Sequential(
        nn.Conv2d(1, ndf, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.Conv2d(ndf, 2 * ndf, 4, 2, 1),
        get_norm_layer()(2 * ndf), nn.LeakyReLU(0.2, True), nn.Conv2d(2 * ndf, 1, 3, 1, 1),
    )  # fmt: skip


class GANLoss(nn.Module):
    def __init__(self):
        super(GANLoss, self).__init__()
        self.register_buffer("real_label", torch.tensor(1.0))
        self.register_buffer("fake_label", torch.tensor(0.0))
        self.loss = nn.MSELoss()

    def __call__(self, prediction, target_is_real):
        target = self.real_label if target_is_real else self.fake_label
        return self.loss(prediction, target.expand_as(prediction))


class ImagePool:
    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, images):
        chosen = []
        for image in images:
            image = torch.unsqueeze(image.data, 0)
            if len(self.images) < self.size:
                self.images.append(image)
                chosen.append(image)
            elif random.uniform(0, 1) > 0.5:
                place = random.randint(0, self.size - 1)
                chosen.append(self.images[place].clone())
                self.images[place] = image
            else:
                chosen.append(image)
        return torch.cat(chosen, 0)


def set_requires_grad(nets, requires_grad=False):
    for net in nets:
        for param in net.parameters():
            param.requires_grad = requires_grad


def stripes(draw, upright, count=2, size=16):
    y, x = np.mgrid[:size, :size]
    pictures = [np.sin((x if upright else y) * draw.uniform(0.5, 1.5) + draw.uniform(0, 6)) for _ in range(count)]
    return torch.from_numpy(np.stack(pictures)[:, None]).float()


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=8)
parser.add_argument("--lambda_A", type=float, default=10.0)
opt = parser.parse_args()
random.seed(0)
draw = np.random.default_rng(0)
device = torch.device("cuda:0") if torch.cuda.is_available() else torch.device("cpu")
netG_A, netG_B, netD_A, netD_B = (
    same_weights(make(), seed).to(device) for seed, make in enumerate((generator, generator, critic, critic))
)
criterionGAN, criterionCycle = GANLoss().to(device), torch.nn.L1Loss()
optimizers = [
    torch.optim.Adam(itertools.chain(netG_A.parameters(), netG_B.parameters()), lr=0.002, betas=(0.5, 0.999)),
    torch.optim.Adam(itertools.chain(netD_A.parameters(), netD_B.parameters()), lr=0.002, betas=(0.5, 0.999)),
]
schedulers = [
    lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda step: 1.0 - max(0, step - 3) / float(opt.steps))
    for optimizer in optimizers
]
pools = ImagePool(4), ImagePool(4)
for step in range(opt.steps):
    real_A, real_B = stripes(draw, True).to(device), stripes(draw, False).to(device)
    fake_B, fake_A = netG_A(real_A), netG_B(real_B)
    rec_A, rec_B = netG_B(fake_B), netG_A(fake_A)
    set_requires_grad([netD_A, netD_B], False)
    optimizers[0].zero_grad()
    loss_cycle = criterionCycle(rec_A, real_A) * opt.lambda_A + criterionCycle(rec_B, real_B) * opt.lambda_A
    loss_G = criterionGAN(netD_A(fake_B), True) + criterionGAN(netD_B(fake_A), True) + loss_cycle
    loss_G.backward()
    optimizers[0].step()
    set_requires_grad([netD_A, netD_B], True)
    optimizers[1].zero_grad()
    for netD, real, fake, pool in ((netD_A, real_B, fake_B, pools[0]), (netD_B, real_A, fake_A, pools[1])):
        loss_D = criterionGAN(netD(real), True) + criterionGAN(netD(pool.query(fake).detach()), False)
        loss_D *= 0.5
        loss_D.backward()
    optimizers[1].step()
    for scheduler in schedulers:
        scheduler.step()
    report(step, loss_G.item(), D=loss_D.item(), lr=optimizers[0].param_groups[0]["lr"])
