"""A multi-layer perceptron on the 8x8 digits: mini-batches, a validation split, a classification report."""

import argparse
from collections import OrderedDict

import torch
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


def accuracy(model, loader, device):
    model.eval()
    correct, total = 0, 0
    with torch.no_grad():
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            _, predicted = torch.max(model(images), 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    return 100.0 * correct / total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=None, help="stop after so many updates")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)

    digits = load_digits()
    x = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    y = torch.tensor(digits.target, dtype=torch.long)
    train = DataLoader(TensorDataset(x[:1500], y[:1500]), batch_size=args.batch_size, drop_last=True)
    test = DataLoader(TensorDataset(x[1500:], y[1500:]), batch_size=100)

    model = nn.Sequential(OrderedDict([
        ("fc1", nn.Linear(64, 128)),
        ("relu1", nn.ReLU(inplace=True)),
        ("norm", nn.BatchNorm1d(128)),
        ("fc2", nn.Linear(128, 64)),
        ("relu2", nn.LeakyReLU(0.1)),
        ("drop", nn.Dropout(p=0.0)),
        ("output", nn.Linear(64, 10)),
    ]))  # fmt: skip
    same_weights(model, seed=1).to(device)
    print(model)
    print("parameters:", sum(p.numel() for p in model.parameters() if p.requires_grad))

    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimizer = optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    step = 0
    for epoch in range(args.epochs):
        model.train()
        for images, labels in train:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(images), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            report(step, loss.item())
            step += 1
            if args.steps and step >= args.steps:
                print("stopped early")
                return
        print(f"epoch {epoch + 1}: {accuracy(model, test, device):.1f}% right")


if __name__ == "__main__":
    main()
