"""A convolutional autoencoder that takes noise out of digits; its pooling is undone with the indices it kept."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, padding_mode="replicate")
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.to_code = nn.Linear(8 * 4 * 4, 24)

    def forward(self, x):
        x = nn.functional.selu(self.conv1(x))
        x, indices = self.pool(x)
        x = nn.functional.selu(self.norm(self.conv2(x)))
        return self.to_code(x.flatten(1)), indices


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.from_code = nn.Sequential(nn.Linear(24, 8 * 4 * 4), nn.SELU(), nn.Unflatten(1, (8, 4, 4)))
        self.unpool = nn.MaxUnpool2d(2)
        self.conv = nn.ConvTranspose2d(8, 1, 3, padding=1)

    def forward(self, code, indices):
        return torch.sigmoid(self.conv(self.unpool(self.from_code(code), indices)))


class AutoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, x):
        return self.decoder(*self.encoder(x))


def show(rows):
    for row in rows:
        print("".join(" .:*#"[min(int(5 * max(value, 0)), 4)] for value in row))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--sparsity", type=float, default=1e-4)
    args = parser.parse_args()
    images = torch.from_numpy((load_digits().images / 16).astype("float32")).unsqueeze(1)
    draw = np.random.default_rng(0)
    noise = torch.from_numpy(draw.normal(0, args.noise, images.shape).astype("float32"))
    noisy = torch.clamp(images + noise, 0.0, 1.0)
    model = same_weights(AutoEncoder())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    optimizer = torch.optim.Adamax(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CyclicLR(
        optimizer, base_lr=1e-3, max_lr=1e-2, step_size_up=5, cycle_momentum=False
    )
    criterion = nn.MSELoss(reduction="sum")
    for step in range(args.steps):
        index = torch.as_tensor(draw.integers(0, 1700, 32))
        clean, dirty = images[index].to(device), noisy[index].to(device)
        code, indices = model.encoder(dirty)
        loss = criterion(model.decoder(code, indices), clean) / len(index) + args.sparsity * torch.norm(code, p=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item())
    model.eval()
    with torch.no_grad():
        cleaned = model(noisy[1700:].to(device)).cpu()
    before = nn.functional.mse_loss(noisy[1700:], images[1700:])
    after = nn.functional.mse_loss(cleaned, images[1700:])
    print(f"error of the noisy images {before:.4f}, of the cleaned ones {after:.4f}")
    show(np.concatenate([noisy[1700, 0].numpy(), cleaned[0, 0].numpy(), images[1700, 0].numpy()], axis=1))


if __name__ == "__main__":
    main()
