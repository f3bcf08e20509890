"""Logistic regression from bare tensors: breast cancer, with L1 and L2 penalties written out."""

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from alike import report
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--l1", type=float, default=1e-3)
parser.add_argument("--l2", type=float, default=1e-3)
args = parser.parse_args()

features, labels = load_breast_cancer(return_X_y=True)
features = (features - features.mean(0)) / features.std(0)
X_train, X_test, y_train, y_test = train_test_split(features.astype("float32"), labels, random_state=0)
X_train, X_test = torch.from_numpy(X_train), torch.from_numpy(X_test)
y_train, y_test = torch.tensor(y_train).float(), torch.tensor(y_test)

rng = np.random.RandomState(0)
w = torch.tensor(rng.normal(0, 0.1, 30), dtype=torch.float32, requires_grad=True)
b = torch.zeros(1, requires_grad=True)

lr = 0.5
for step in range(args.steps):
    logits = X_train @ w + b
    penalty = args.l1 * w.abs().sum() + args.l2 * w.pow(2).sum()
    loss = F.binary_cross_entropy_with_logits(logits, y_train) + penalty
    loss.backward()
    with torch.no_grad():
        w -= lr * w.grad
        b -= lr * b.grad
    w.grad.zero_()
    b.grad = None
    report(step, loss.item())

with torch.no_grad():
    guess = (torch.sigmoid(X_test @ w + b) > 0.5).long()
correct = (guess == y_test).float().mean().item()
true_positive = ((guess == 1) & (y_test == 1)).sum().item()
print(f"accuracy {correct:.3f}, recall {true_positive / y_test.sum().item():.3f}")
print(f"weights near zero: {(w.detach().abs() < 1e-2).sum()} of {w.numel()}")
