"""Neural style transfer (Gatys et al. 2015): an image is what LBFGS optimizes, through a small fixed network."""

import argparse
import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from alike import report, same_weights

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=10, help="evaluations of the losses, at least")
parser.add_argument("--style-weight", type=float, default=1e3)
parser.add_argument("--content-weight", type=float, default=1)
args = parser.parse_args()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.set_default_device(device)

y, x = np.mgrid[:32, :32] / 32
disc = (np.hypot(x - 0.5, y - 0.5) < 0.3).astype("float32")
stripes = (np.sin(20 * (x + y)) > 0).astype("float32")
content_img = torch.tensor(np.stack([disc, 0.5 * disc, 1 - disc])[None], dtype=torch.float)
style_img = torch.tensor(np.stack([stripes, 1 - stripes, stripes * 0.2])[None], dtype=torch.float)
assert style_img.size() == content_img.size(), "style and content images must be of the same size"


class ContentLoss(nn.Module):
    def __init__(self, target):
        super(ContentLoss, self).__init__()
        self.target = target.detach()

    def forward(self, input):
        self.loss = F.mse_loss(input, self.target)
        return input


def gram_matrix(input):
    a, b, c, d = input.size()
    features = input.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class StyleLoss(nn.Module):
    def __init__(self, target_feature):
        super(StyleLoss, self).__init__()
        self.target = gram_matrix(target_feature).detach()

    def forward(self, input):
        self.loss = F.mse_loss(gram_matrix(input), self.target)
        return input


class Normalization(nn.Module):
    def __init__(self, mean, std):
        super(Normalization, self).__init__()
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)

    def forward(self, img):
        return (img - self.mean) / self.std


cnn = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True),
    nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, 16, 3, padding=1),
    nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1),
)  # fmt: skip
cnn = same_weights(cnn).eval().to(device)


def get_style_model_and_losses(cnn, style_img, content_img, content_layers, style_layers):
    content_losses, style_losses = [], []
    model = nn.Sequential(Normalization([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    i = 0
    for layer in copy.deepcopy(cnn).children():
        if isinstance(layer, nn.Conv2d):
            i += 1
            name = "conv_{}".format(i)
        elif isinstance(layer, nn.ReLU):
            name = "relu_{}".format(i)
            layer = nn.ReLU(inplace=False)
        elif isinstance(layer, nn.MaxPool2d):
            name = "pool_{}".format(i)
            layer = nn.AvgPool2d(2)
        else:
            raise RuntimeError("Unrecognized layer: {}".format(layer.__class__.__name__))
        model.add_module(name, layer)
        if name in content_layers:
            content_losses.append(ContentLoss(model(content_img).detach()))
            model.add_module("content_loss_{}".format(i), content_losses[-1])
        if name in style_layers:
            style_losses.append(StyleLoss(model(style_img).detach()))
            model.add_module("style_loss_{}".format(i), style_losses[-1])
    for i in range(len(model) - 1, -1, -1):
        if isinstance(model[i], (ContentLoss, StyleLoss)):
            break
    return model[: (i + 1)], style_losses, content_losses


input_img = content_img.clone()
model, style_losses, content_losses = get_style_model_and_losses(
    cnn, style_img, content_img, ["conv_3"], ["conv_1", "conv_2", "conv_3", "conv_4"]
)
input_img.requires_grad_(True)
model.eval()
model.requires_grad_(False)
optimizer = optim.LBFGS([input_img], max_iter=5)
run = [0]
while run[0] < args.steps:

    def closure():
        with torch.no_grad():
            input_img.clamp_(0, 1)
        optimizer.zero_grad()
        model(input_img)
        style_score = sum(sl.loss for sl in style_losses) * args.style_weight
        content_score = sum(cl.loss for cl in content_losses) * args.content_weight
        loss = style_score + content_score
        loss.backward()
        report(run[0], loss.item(), style=style_score.item(), content=content_score.item())
        run[0] += 1
        return loss

    optimizer.step(closure)
with torch.no_grad():
    input_img.clamp_(0, 1)
print("mean colour", input_img.detach().mean(dim=(0, 2, 3)).cpu().double().numpy().round(3).tolist())
