"""WGAN-GP on a ring of Gaussians: the penalty on the critic's gradient needs second derivatives."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from torch import autograd, nn, optim

rng = np.random.default_rng(0)


def ring(count, radius=2.0, modes=8):
    angles = rng.integers(0, modes, count) * 2 * np.pi / modes
    points = radius * np.stack([np.cos(angles), np.sin(angles)], 1) + rng.normal(0, 0.05, (count, 2))
    return torch.tensor(points, dtype=torch.float32)


def noise(count, size=4):
    return torch.tensor(rng.standard_normal((count, size)), dtype=torch.float)


class Generator(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(4, width), nn.ReLU(True), nn.Linear(width, width), nn.ReLU(True),
                                  nn.Linear(width, 2))  # fmt: skip

    def forward(self, z):
        return self.main(z)


class Critic(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.Softplus(),
                                  nn.Linear(width, 1))  # fmt: skip

    def forward(self, x):
        return self.main(x).view(-1)


def gradient_penalty(critic, real, fake, weight):
    alpha = torch.tensor(rng.random((real.size(0), 1)), dtype=torch.float32).expand(real.size())
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    scores = critic(mixed)
    gradients = autograd.grad(
        outputs=scores,
        inputs=mixed,
        grad_outputs=torch.ones(scores.size()),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean() * weight


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--critic-steps", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--weight", type=float, default=1.0, help="of the penalty")
    args = parser.parse_args()
    generator, critic = same_weights(Generator(32), 1), same_weights(Critic(32), 2)
    g_optimizer = optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    c_optimizer = optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))
    one = torch.tensor(1.0)
    mone = one * -1
    for step in range(args.steps):
        for p in critic.parameters():
            p.requires_grad = True
        for _ in range(args.critic_steps):
            critic.zero_grad()
            real = ring(args.batch)
            with torch.no_grad():
                fake = generator(noise(args.batch))
            score_real = critic(real).mean()
            score_real.backward(mone)
            score_fake = critic(fake).mean()
            score_fake.backward(one)
            penalty = gradient_penalty(critic, real.data, fake.data, args.weight)
            penalty.backward()
            c_optimizer.step()
        for p in critic.parameters():
            p.requires_grad = False  # not needed for the generator's turn
        generator.zero_grad()
        score = critic(generator(noise(args.batch))).mean()
        score.backward(mone)
        g_optimizer.step()
        report(step, (score_fake - score_real + penalty).item(), penalty=penalty.item(), generator=-score.item())
    with torch.no_grad():
        radius = generator(noise(500)).norm(dim=1)
    print(f"radius of what was generated: {radius.mean():.3f} +- {radius.std():.3f}")


if __name__ == "__main__":
    main()
