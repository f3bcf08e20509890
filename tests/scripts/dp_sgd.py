"""Differentially private SGD (Abadi et al. 2016): the gradient of each sample, clipped, summed, and noised.

With torch.func: the gradients of all samples come from one vmap of grad, for a convolutional net on 8x8 digits.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch import nn
from torch.func import functional_call, grad_and_value, vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x):
        x = torch.tanh(self.norm(self.conv1(x)))
        x = torch.tanh(self.conv2(x))
        return self.head(torch.flatten(x, 1))


def private_gradients(per_sample, clip, noise, draw):
    """The mean of the samples' gradients, each scaled down to the norm `clip`, plus Gaussian noise."""
    count = next(iter(per_sample.values())).shape[0]
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in per_sample.values()]).norm(dim=0)
    scale = (clip / (norms + 1e-6)).clamp(max=1.0)
    found = {}
    for name, g in per_sample.items():
        total = torch.einsum("n,n...->...", scale, g)
        total += noise * clip * torch.from_numpy(draw.standard_normal(tuple(total.shape)).astype(np.float32))
        found[name] = total / count
    return found, norms


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--chunk-size", type=int, default=None)
    args = parser.parse_args()

    digits = load_digits()
    images = torch.tensor(digits.images / 16.0, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(digits.target)
    model = same_weights(Net())
    draw = np.random.default_rng(0)
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss_of(parameters, buffers, image, label):
        logits = functional_call(model, (parameters, buffers), (image.unsqueeze(0),))
        return F.cross_entropy(logits, label.unsqueeze(0))

    per_sample = vmap(grad_and_value(loss_of), in_dims=(None, None, 0, 0), chunk_size=args.chunk_size)
    for step in range(args.steps):
        chosen = torch.from_numpy(draw.choice(1500, args.batch_size, replace=False))
        gradients, losses = per_sample(parameters, buffers, images[chosen], labels[chosen])
        gradients, norms = private_gradients(gradients, args.clip, args.noise, draw)
        parameters = {name: p - args.lr * gradients[name] for name, p in parameters.items()}
        report(step, losses.mean(), largest=norms.max())

    model.load_state_dict(parameters)
    model.eval()
    with torch.no_grad():
        right = (model(images[1500:]).argmax(1) == labels[1500:]).float().mean()
    print(f"accuracy {100 * right.item():.1f}%")


if __name__ == "__main__":
    main()
