"""A diffusion model (Ho et al. 2020) of two moons: a noise schedule, sinusoidal time, an average of the weights."""

import argparse
import copy
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from sklearn.datasets import make_moons


def extract(a, t, x_shape):
    return a.gather(-1, t).reshape(t.shape[0], *((1,) * (len(x_shape) - 1)))


class SinusoidalPositionEmbeddings(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, time):
        half_dim = self.dim // 2
        embeddings = math.log(10000) / (half_dim - 1)
        embeddings = torch.exp(torch.arange(half_dim, device=time.device) * -embeddings)
        embeddings = time[:, None] * embeddings[None, :]
        return torch.cat((embeddings.sin(), embeddings.cos()), dim=-1)


class Denoiser(nn.Module):
    def __init__(self, width=48):
        super().__init__()
        self.time_mlp = nn.Sequential(
            SinusoidalPositionEmbeddings(16), nn.Linear(16, width), nn.GELU(), nn.Linear(width, 2 * width)
        )
        self.first, self.second, self.last = nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x, t):
        scale, shift = self.time_mlp(t).chunk(2, dim=1)
        x = F.silu(self.first(x))
        x = x + F.silu(self.second(x) * (scale + 1) + shift)
        return self.last(x)


class Diffusion:
    def __init__(self, timesteps, device):
        self.timesteps = timesteps
        self.betas = torch.linspace(1e-4, 0.2, timesteps, device=device)
        alphas = 1.0 - self.betas
        alphas_cumprod = torch.cumprod(alphas, dim=0)
        alphas_cumprod_prev = F.pad(alphas_cumprod[:-1], (1, 0), value=1.0)
        self.sqrt_recip_alphas = torch.sqrt(1.0 / alphas)
        self.sqrt_alphas_cumprod = torch.sqrt(alphas_cumprod)
        self.sqrt_one_minus_alphas_cumprod = torch.sqrt(1.0 - alphas_cumprod)
        self.posterior_variance = self.betas * (1.0 - alphas_cumprod_prev) / (1.0 - alphas_cumprod)

    def q_sample(self, x_start, t, noise):
        return (
            extract(self.sqrt_alphas_cumprod, t, x_start.shape) * x_start
            + extract(self.sqrt_one_minus_alphas_cumprod, t, x_start.shape) * noise
        )

    @torch.no_grad()
    def p_sample_loop(self, model, shape, draw):
        device = next(model.parameters()).device
        img = torch.from_numpy(draw.standard_normal(shape)).float().to(device)
        for i in reversed(range(self.timesteps)):
            t = torch.full((shape[0],), i, device=device, dtype=torch.long)
            mean = extract(self.sqrt_recip_alphas, t, shape) * (
                img - extract(self.betas, t, shape) * model(img, t) / extract(self.sqrt_one_minus_alphas_cumprod, t, shape)
            )
            if i > 0:
                noise = torch.from_numpy(draw.standard_normal(shape)).float().to(device)
                mean = mean + torch.sqrt(extract(self.posterior_variance, t, shape)) * noise
            img = mean
        return img


class EMA:
    def __init__(self, model, decay):
        self.decay = decay
        self.shadow = copy.deepcopy(model).eval().requires_grad_(False)

    def update(self, model):
        for kept, new in zip(self.shadow.parameters(), model.parameters()):
            kept.data = kept.data * self.decay + new.data * (1 - self.decay)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    draw = np.random.default_rng(0)
    points, _ = make_moons(1000, noise=0.05, random_state=0)
    points = torch.tensor((points - points.mean(0)) / points.std(0), dtype=torch.float32)
    diffusion = Diffusion(30, device)
    model = same_weights(Denoiser()).to(device)
    ema = EMA(model, 0.9)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(args.steps):
        x = points[draw.integers(0, len(points), 64)].to(device)
        t = torch.from_numpy(draw.integers(0, diffusion.timesteps, 64)).to(device).long()
        noise = torch.from_numpy(draw.standard_normal((64, 2))).to(x)
        loss = F.smooth_l1_loss(model(diffusion.q_sample(x, t, noise), t), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(model)
        report(step, loss.item())
    samples = diffusion.p_sample_loop(ema.shadow, (200, 2), draw)
    print("spread of samples:", [round(v, 2) for v in samples.std(dim=0).tolist()])


if __name__ == "__main__":
    main()
