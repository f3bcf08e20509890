"""Spoken commands from generated tones: a mel spectrogram computed with a convolution, MFCCs, a 1-d CNN (M5)."""

import argparse
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights

RATE, LENGTH = 4000, 2000
COMMANDS = {"up": (300, 900), "down": (900, 300), "stop": (500, 500), "go": (700, 1100)}


def say(command, draw):
    """A glide between two pitches with overtones, a rise and a fall, and noise."""
    start, end = np.array(COMMANDS[command]) * draw.uniform(0.9, 1.1)
    t = np.arange(LENGTH) / RATE
    phase = 2 * np.pi * (start * t + (end - start) * t**2 / (2 * t[-1]))
    wave = sum(np.sin(n * phase) / n**2 for n in (1, 2, 3)) * np.hanning(LENGTH)
    return (wave * draw.uniform(0.3, 1) + draw.normal(0, 0.05, LENGTH)).astype(np.float32)


class Spectrogram(nn.Module):
    """Log-mel energies by a strided convolution with windowed cosines and sines."""

    def __init__(self, n_fft=128, hop=64, n_mels=16):
        super().__init__()
        n, k = torch.arange(n_fft).float(), torch.arange(n_fft // 2 + 1).float()
        angle = 2 * math.pi * torch.outer(k, n) / n_fft
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / n_fft)
        self.register_buffer("kernel", torch.cat([angle.cos() * window, angle.sin() * window]).unsqueeze(1))
        mel = lambda f: 2595 * math.log10(1 + f / 700)  # noqa: E731
        edges = torch.linspace(mel(50), mel(RATE / 2), n_mels + 2)
        edges = 700 * (10 ** (edges / 2595) - 1)
        frequencies = k * RATE / n_fft
        rise = (frequencies[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
        fall = (edges[2:, None] - frequencies[None]) / (edges[2:] - edges[1:-1])[:, None]
        self.register_buffer("filters", torch.minimum(rise, fall).clamp(min=0))
        self.hop = hop

    def forward(self, wave):
        parts = F.conv1d(wave.unsqueeze(1), self.kernel, stride=self.hop)
        real, imaginary = parts.chunk(2, dim=1)
        power = real.square() + imaginary.square()
        return torch.log(torch.matmul(self.filters, power) + 1e-6)


def cepstrum(log_mel, count):
    """The discrete cosine transform over the mel bands."""
    bands = log_mel.size(1)
    n = (torch.arange(bands, device=log_mel.device) + 0.5)[None] * torch.arange(count, device=log_mel.device)[:, None]
    return torch.einsum("km,bmt->bkt", torch.cos(math.pi * n / bands) * math.sqrt(2 / bands), log_mel)


class M5(nn.Module):
    def __init__(self, n_input, n_output, n_channel=12):
        super().__init__()
        self.conv1 = nn.Conv1d(n_input, n_channel, kernel_size=5, padding=2)
        self.bn1 = nn.BatchNorm1d(n_channel)
        self.pool1 = nn.MaxPool1d(2)
        self.conv2 = nn.Conv1d(n_channel, 2 * n_channel, kernel_size=3, dilation=2, groups=2)
        self.bn2 = nn.BatchNorm1d(2 * n_channel)
        self.fc1 = nn.Linear(2 * n_channel, n_output)

    def forward(self, x):
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)
        return F.log_softmax(self.fc1(x), dim=2).squeeze(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--mfcc", type=int, default=10)
    args = parser.parse_args()
    labels = list(COMMANDS)
    draw = np.random.default_rng(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    front = Spectrogram().to(device)
    model = same_weights(M5(args.mfcc, len(labels))).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.0001)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.1)
    for step in range(args.steps):
        target = torch.from_numpy(draw.integers(0, len(labels), 16))
        waves = torch.from_numpy(np.stack([say(labels[i], draw) for i in target]))
        data = cepstrum(front(waves.to(device)), args.mfcc)
        data = (data - data.mean(dim=-1, keepdim=True)) / (data.std(dim=-1, keepdim=True) + 1e-3)
        output = model(data)
        loss = F.nll_loss(output, target.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item(), right=output.argmax(-1).cpu().eq(target).float().mean())
    model.eval()
    for name in labels:
        data = cepstrum(front(torch.from_numpy(say(name, draw)).to(device)[None]), args.mfcc)
        data = (data - data.mean(-1, keepdim=True)) / (data.std(-1, keepdim=True) + 1e-3)
        print("said", name, "heard", labels[model(data).argmax().item()])


if __name__ == "__main__":
    main()
