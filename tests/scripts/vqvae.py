"""A vector-quantised autoencoder (van den Oord et al. 2017): the nearest code, a gradient passed straight through."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class Quantize(nn.Module):
    """Codes are moving averages of what was assigned to them."""

    def __init__(self, dim, n_embed, decay=0.9, eps=1e-5):
        super().__init__()
        self.dim, self.n_embed, self.decay, self.eps = dim, n_embed, decay, eps
        embed = torch.from_numpy(np.random.RandomState(0).randn(dim, n_embed).astype(np.float32))
        self.register_buffer("embed", embed)
        self.register_buffer("cluster_size", torch.zeros(n_embed))
        self.register_buffer("embed_avg", embed.clone())

    def forward(self, input):
        flatten = input.reshape(-1, self.dim)
        dist = flatten.pow(2).sum(1, keepdim=True) - 2 * flatten @ self.embed + self.embed.pow(2).sum(0, keepdim=True)
        _, embed_ind = (-dist).max(1)
        embed_onehot = F.one_hot(embed_ind, self.n_embed).type(flatten.dtype)
        embed_ind = embed_ind.view(*input.shape[:-1])
        quantize = F.embedding(embed_ind, self.embed.transpose(0, 1))
        if self.training:
            self.cluster_size.data.mul_(self.decay).add_(embed_onehot.sum(0), alpha=1 - self.decay)
            embed_sum = flatten.transpose(0, 1) @ embed_onehot
            self.embed_avg.data.mul_(self.decay).add_(embed_sum.detach(), alpha=1 - self.decay)
            n = self.cluster_size.sum()
            cluster_size = (self.cluster_size + self.eps) / (n + self.n_embed * self.eps) * n
            self.embed.data.copy_(self.embed_avg / cluster_size.unsqueeze(0))
        diff = (quantize.detach() - input).pow(2).mean()
        quantize = input + (quantize - input).detach()
        return quantize, diff, embed_ind


class ResBlock(nn.Module):
    def __init__(self, in_channel, channel):
        super().__init__()
        self.conv = nn.Sequential(
            nn.ReLU(), nn.Conv2d(in_channel, channel, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(channel, in_channel, 1),
        )  # fmt: skip

    def forward(self, input):
        out = self.conv(input)
        out += input
        return out


class VQVAE(nn.Module):
    def __init__(self, channel=16, embed_dim=8, n_embed=16):
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(1, channel, 4, stride=2, padding=1), ResBlock(channel, 8), nn.ReLU(True))
        self.quantize_conv = nn.Conv2d(channel, embed_dim, 1)
        self.quantize = Quantize(embed_dim, n_embed)
        self.dec = nn.Sequential(
            nn.Conv2d(embed_dim, channel, 3, padding=1), ResBlock(channel, 8), nn.ReLU(inplace=True),
            nn.ConvTranspose2d(channel, 1, 4, stride=2, padding=1),
        )  # fmt: skip

    def forward(self, input):
        quant = self.quantize_conv(self.enc(input)).permute(0, 2, 3, 1)
        quant, diff, ids = self.quantize(quant)
        return self.dec(quant.permute(0, 3, 1, 2)), diff.unsqueeze(0), ids


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = torch.from_numpy(load_digits().images.astype("float32") / 16)[:, None]
    model = same_weights(VQVAE()).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.MSELoss()
    for step in range(args.steps):
        img = images[32 * step % 1700 :][:32].to(device)
        model.zero_grad()
        out, latent_loss, ids = model(img)
        recon_loss = criterion(out, img)
        latent_loss = latent_loss.mean()
        loss = recon_loss + 0.25 * latent_loss
        loss.backward()
        optimizer.step()
        report(step, loss.item(), latent=latent_loss.item())
    print("codes in use:", len(ids.unique()), "of", model.quantize.n_embed, "| state:", len(model.state_dict()), "entries")
