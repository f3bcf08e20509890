"""What a net looks at when it reads a digit: integrated gradients and Grad-CAM, as a picture.

python examples/explain_digits.py                   writes explain_digits.png (needs pip install 'tritorch[vision]')

Each row is a digit: the image, the parts of the score for its class (red: speaks for it, blue: against it), and where
the second convolution saw it.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

import tritorch as torch
from tritorch import explain, nn, optim
from tritorch.nn import functional as F

SCALE, GAP = 12, 6


def make_net():
    """Two convolutions at full size, so that what they see has a place, then a mean and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 4 * 4, 10),
    )  # fmt: skip


def train(model, images, labels, steps):
    """A few passes over all digits, in batches of 64."""
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    for step in range(steps):
        at = torch.arange(step * 64, (step + 1) * 64) % len(images)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images[at]), labels[at])
        loss.backward()
        optimizer.step()
    return loss.item()


def picture(images, parts, seen):
    """One row for each digit: itself, the parts of its score, and where it was seen."""
    rows = []
    for image, part, place in zip(images, parts, seen, strict=True):
        shown = image.expand(3, -1, -1)
        tiles = [explain.heat_map(torch.zeros(8, 8), shown), explain.heat_map(part, 0.5 * shown),
                 explain.heat_map(place, shown)]  # fmt: skip
        gap = np.full((8 * SCALE, GAP, 3), 255, np.uint8)
        large = [tile.repeat(SCALE, 0).repeat(SCALE, 1) for tile in tiles]
        rows += [np.concatenate([large[0], gap, large[1], gap, large[2]], 1)]
        rows += [np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)]
    return Image.fromarray(np.concatenate(rows[:-1], 0))


def main():
    """Train, explain one image of each of five digits, and check that the parts add up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--save", default="explain_digits.png")
    options = parser.parse_args()
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.from_numpy((digits.images / 16).astype("float32")).unsqueeze(1)
    labels = torch.from_numpy(digits.target)
    model = make_net()
    torch.summary(model, (1, 1, 8, 8))
    loss = train(model, images, labels, options.steps)

    some = images[[0, 3, 4, 7, 9]]
    found = model(some).argmax(1)
    parts, missing = explain.integrated_gradients(model, some, found, return_error=True)
    seen = explain.grad_cam(model, model[2], some, found)
    picture(some, parts, seen).save(options.save)
    Console().print(f"read as {found.tolist()}, loss {loss:.4f}; what the parts miss of the scores: at most "
                    f"{missing.abs().max().item():.4f}; saved to {options.save}")  # fmt: skip
    reached = (model(some) - model(torch.zeros_like(some))).detach().gather(1, found.unsqueeze(1)).abs().max().item()
    assert missing.abs().max() <= 0.02 * reached, "the parts of integrated gradients add up to the score"
    assert options.steps < 100 or found.tolist() == [0, 3, 4, 7, 9], "the net should read these five digits right"


if __name__ == "__main__":
    main()
