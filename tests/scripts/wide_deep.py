"""Wide and deep (Cheng et al. 2016): crossed categories in a linear part beside embeddings in a deep one."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from torch import nn
from torch.nn import ModuleDict, Parameter

FIELDS = {"country": 6, "device": 3, "hour": 24, "genre": 8}


def clicks(count, seed):
    draw = np.random.default_rng(seed)
    columns = {name: draw.integers(0, size, count) for name, size in FIELDS.items()}
    age, price = draw.normal(size=count), draw.exponential(size=count)
    taste = np.sin(columns["genre"] * 1.3 + columns["device"]) + 0.8 * (columns["hour"] > 18)
    logit = taste + 0.5 * age - 0.7 * price + 0.5 * (columns["country"] == columns["genre"])
    clicked = draw.random(count) < 1 / (1 + np.exp(-logit))
    return columns, np.stack([age, price], 1).astype("float32"), clicked.astype("float32")


class WideDeep(nn.Module):
    def __init__(self, numbers, width=4, hidden=(32, 16), dropout=0.0):
        super().__init__()
        crosses = FIELDS["country"] * FIELDS["genre"]
        self.wide = nn.Embedding(crosses + sum(FIELDS.values()), 1)
        self.offsets = {}
        start = crosses
        for name, size in FIELDS.items():
            self.offsets[name] = start
            start += size
        self.embeddings = ModuleDict({name: nn.Embedding(size, width) for name, size in FIELDS.items()})
        layers, inputs = [], width * len(FIELDS) + numbers
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.BatchNorm1d(size), nn.Hardswish(), nn.Dropout(dropout)]
            inputs = size
        self.deep = nn.Sequential(*layers)
        self.deep.add_module("logit", nn.Linear(inputs, 1))
        self.bias = Parameter(torch.zeros(1))

    def forward(self, columns, numbers):
        crossed = columns["country"] * FIELDS["genre"] + columns["genre"]
        ids = torch.stack([crossed] + [columns[name] + start for name, start in self.offsets.items()], dim=-1)
        wide = self.wide(ids).sum(dim=1)
        vectors = [embedding(columns[name]) for name, embedding in self.embeddings.items()]
        deep = self.deep(torch.cat([*vectors, numbers], dim=1))
        return (wide + deep + self.bias).squeeze(-1)


def auc(scores, labels):
    order = torch.argsort(scores)
    ranks = torch.empty_like(scores)
    ranks[order] = torch.arange(1, len(scores) + 1, dtype=scores.dtype)
    positives = labels.sum()
    area = ranks[labels.bool()].sum() - positives * (positives + 1) / 2
    return (area / (positives * (len(labels) - positives))).item()


def tensors(data, device):
    columns, numbers, labels = data
    columns = {name: torch.from_numpy(values).to(device) for name, values in columns.items()}
    return columns, torch.from_numpy(numbers).to(device), torch.from_numpy(labels).to(device)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--batch", type=int, default=128)
args = parser.parse_args()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = same_weights(WideDeep(2)).to(device)
wide_parameters = [p for name, p in model.named_parameters() if name.startswith("wide")]
deep_parameters = [p for name, p in model.named_parameters() if not name.startswith("wide")]
optimizers = [torch.optim.SGD(wide_parameters, lr=0.5), torch.optim.AdamW(deep_parameters, lr=1e-2)]
criterion = nn.BCEWithLogitsLoss(reduction="none")
for step in range(args.steps):
    columns, numbers, labels = tensors(clicks(args.batch, seed=step), device)
    logits = model(columns, numbers)
    weights = torch.where(labels > 0, 1.2, 0.8)
    loss = (criterion(logits, labels) * weights).mean()
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    report(step, loss.item())
model.eval()
with torch.no_grad():
    columns, numbers, labels = tensors(clicks(1000, seed=10**6), device)
    scores = model(columns, numbers).sigmoid().cpu()
print(f"AUC {auc(scores, labels.cpu()):.3f}; mean click rate {labels.mean():.3f}, predicted {scores.mean():.3f}")
