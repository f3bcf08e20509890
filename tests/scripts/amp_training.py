"""The loop with automatic mixed precision: autocast, a gradient scaler, clipping of unscaled gradients."""

import argparse

import torch
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch import nn
from torch.amp import GradScaler, autocast


class MixerBlock(nn.Module):
    def __init__(self, tokens, width):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, tokens * 2), nn.GELU(), nn.Linear(tokens * 2, tokens))
        self.channels = nn.Sequential(nn.Linear(width, width * 2), nn.GELU(), nn.Linear(width * 2, width))

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, width=16, patch=2):
        super().__init__()
        self.stem = nn.Conv2d(1, width, patch, patch)
        self.blocks = nn.Sequential(*[MixerBlock(16, width) for _ in range(2)])
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.stem(x).flatten(2).mT
        return self.head(self.blocks(x).mean(dim=1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--amp", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    args = parser.parse_args()
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device_type == "cuda" else torch.bfloat16
    torch.set_float32_matmul_precision("highest")
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images).to(device_type, torch.float32).view(-1, 1, 8, 8) / 16
    labels = torch.from_numpy(labels).to(device_type, non_blocking=True)
    model = same_weights(Mixer()).to(device_type)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scaler = GradScaler(device_type, enabled=args.amp and device_type == "cuda")
    criterion = nn.CrossEntropyLoss()
    for step in range(args.steps):
        start = 32 * step % 1500
        with autocast(device_type=device_type, dtype=dtype, enabled=args.amp):
            output = model(images[start : start + 32])
            loss = criterion(output, labels[start : start + 32])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=2.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        report(step, loss.item(), norm=norm.item())
    print("scale", scaler.get_scale(), "state", scaler.state_dict())
    with torch.no_grad(), torch.autocast(device_type, dtype=torch.bfloat16):
        output = model(images[1500:])
    print(f"in {output.dtype}: accuracy {(output.argmax(-1) == labels[1500:]).float().mean().item():.3f}")


if __name__ == "__main__":
    main()
