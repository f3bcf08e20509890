"""Adversarial examples by the sign of the gradient, a sharpness-aware optimizer, weights held in place, pruning."""

import argparse
from collections import defaultdict

import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch.nn.utils import prune


class SAM(torch.optim.Optimizer):
    """Steps from where the loss is worst nearby (Foret et al. 2021)."""

    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        super(SAM, self).__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def first_step(self):
        norm = torch.norm(torch.stack([p.grad.norm(p=2) for g in self.param_groups for p in g["params"]]), p=2)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["old_p"] = p.data.clone()
                p.add_(p.grad * (group["rho"] / (norm + 1e-12)).to(p))
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        self.zero_grad()

    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        self.first_step()
        closure()
        self.second_step()


def fgsm_attack(image, epsilon, data_grad):
    return torch.clamp(image + epsilon * data_grad.sign(), 0, 1)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--epsilon", type=float, default=0.1)
args = parser.parse_args()
images, labels = load_digits(return_X_y=True)
images, labels = torch.tensor(images / 16).float(), torch.tensor(labels)
model = same_weights(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
anchor = {n: p.clone().detach() for n, p in model.named_parameters()}
fisher = defaultdict(lambda: torch.ones(()))
optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.1, momentum=0.9)
for step in range(args.steps):
    data, target = images[32 * step % 1500 :][:32].clone(), labels[32 * step % 1500 :][:32]
    data.requires_grad = True
    F.cross_entropy(model(data), target).backward()
    perturbed = fgsm_attack(data, args.epsilon, data.grad.data)
    model.zero_grad()

    def closure():
        loss = F.cross_entropy(model(perturbed.detach()), target)
        loss = loss + 1e-3 * sum((fisher[n] * (p - anchor[n]) ** 2).sum() for n, p in model.named_parameters())
        loss.backward()
        return loss

    loss = closure()
    optimizer.step(closure)
    report(step, loss.item())
prune.l1_unstructured(model[0], name="weight", amount=0.5)
print(dict(model[0].named_buffers()).keys(), "sparsity %.2f" % float((model[0].weight == 0).float().mean()))
prune.remove(model[0], "weight")
print("accuracy", (model(images[1500:]).argmax(1) == labels[1500:]).float().mean().item())
