"""A vision transformer from nn.TransformerEncoder on digits, and a look at where it looked, through hooks."""

import argparse

import torch
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch import nn


class ViT(nn.Module):
    def __init__(self, image=8, patch=2, width=24, depth=2, heads=4, classes=10, dropout=0.0):
        super().__init__()
        self.patch = patch
        count = (image // patch) ** 2
        self.embed = nn.Linear(patch * patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, count + 1, width))
        nn.init.trunc_normal_(self.position, std=0.02)
        layer = nn.TransformerEncoderLayer(width, heads, dim_feedforward=2 * width, dropout=dropout, activation="gelu",
                                           batch_first=True, norm_first=True)  # fmt: skip
        self.encoder = nn.TransformerEncoder(layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        p = self.patch
        patches = nn.functional.unfold(x, kernel_size=p, stride=p).transpose(1, 2)
        tokens = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), self.embed(patches)), dim=1)
        return self.head(self.encoder(tokens + self.position)[:, 0])


class GradCam:
    """Where the gradient of a class meets the activation of a layer (Selvaraju et al. 2017)."""

    def __init__(self, model, layer):
        self.model = model
        self.handle = layer.register_forward_hook(self._keep)

    def _keep(self, module, inputs, output):
        self.activation = output
        if output.requires_grad:
            output.retain_grad()

    def __call__(self, image):
        scores = self.model(image)
        best = scores.argmax(dim=-1).item()
        self.model.zero_grad()
        scores[0, best].backward()
        activation, gradient = self.activation[0, 1:], self.activation.grad[0, 1:]
        heat = torch.relu((activation * gradient).sum(dim=-1)).detach()
        side = int(heat.numel() ** 0.5)
        return best, (heat / heat.max().clamp_min(1e-12)).reshape(side, side)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    digits = load_digits()
    images = torch.as_tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.as_tensor(digits.target)
    model = same_weights(ViT())
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.2, total_iters=5)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    scheduler = torch.optim.lr_scheduler.ChainedScheduler([warmup, decay])
    for step in range(args.steps):
        part = slice(32 * step % 1500, 32 * step % 1500 + 32)
        loss = nn.functional.cross_entropy(model(images[part].to(device)), labels[part].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item())
    model.eval()
    cam = GradCam(model, model.encoder.layers[0])
    guess, heat = cam(images[1600:1601].to(device))
    print(f"a {labels[1600]} taken for a {guess}; it looked here:")
    torch.set_printoptions(precision=2, sci_mode=False)
    print(heat)
    cam.handle.remove()


if __name__ == "__main__":
    main()
