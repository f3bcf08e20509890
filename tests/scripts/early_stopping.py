"""Cross-validation with early stopping; the best weights are kept in a file, and training resumes from a checkpoint."""

import argparse
import os
import shutil
import tempfile

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from sklearn.datasets import load_wine
from sklearn.model_selection import KFold


class EarlyStopping:
    """Stops when the validation loss has not become better for `patience` epochs; keeps the best model."""

    def __init__(self, path, patience=5, delta=1e-3):
        self.path, self.patience, self.delta = path, patience, delta
        self.best, self.counter, self.early_stop = np.inf, 0, False

    def __call__(self, loss, model):
        if loss < self.best - self.delta:
            self.best, self.counter = loss, 0
            torch.save(model.state_dict(), self.path)
        else:
            self.counter += 1
            self.early_stop = self.counter >= self.patience


def save_checkpoint(state, is_best, folder):
    filename = os.path.join(folder, "checkpoint.pth.tar")
    torch.save(state, filename)
    if is_best:
        shutil.copyfile(filename, os.path.join(folder, "model_best.pth.tar"))


def make(lr):
    model = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3)
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)


def train(model, optimizer, scheduler, data, epochs, start, folder):
    x, y, x_val, y_val = data
    criterion = nn.CrossEntropyLoss()
    stopper, best = EarlyStopping(os.path.join(folder, "best.pt")), float("inf")
    for epoch in range(start, epochs):
        model.train()
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            val_loss = criterion(model(x_val), y_val).item()
        report(epoch, loss.item(), validation=val_loss)
        state = {
            "epoch": epoch + 1,
            "arch": "mlp",
            "state_dict": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "best": min(best, val_loss),
        }
        save_checkpoint(state, val_loss < best, folder)
        best = min(best, val_loss)
        stopper(val_loss, model)
        if stopper.early_stop:
            print("Early stopping at epoch", epoch)
            break
    model.load_state_dict(torch.load(stopper.path))
    return best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30, help="epochs")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.1)
    args = parser.parse_args()
    features, labels = load_wine(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    x, y = torch.Tensor(features), torch.LongTensor(labels)
    scores = []
    for fold, (inside, outside) in enumerate(KFold(args.folds, shuffle=True, random_state=0).split(features)):
        data = x[inside], y[inside], x[outside], y[outside]
        with tempfile.TemporaryDirectory() as folder:
            model, optimizer, scheduler = make(args.lr)
            train(same_weights(model, seed=fold), optimizer, scheduler, data, (args.steps + 1) // 2, 0, folder)
            # as if the machine had been taken away: all is made anew and read from the file
            model, optimizer, scheduler = make(lr=123.0)
            checkpoint = torch.load(os.path.join(folder, "checkpoint.pth.tar"), map_location="cpu", weights_only=False)
            model.load_state_dict(checkpoint["state_dict"])
            optimizer.load_state_dict(checkpoint["optimizer"])
            scheduler.load_state_dict(checkpoint["scheduler"])
            print("=> loaded checkpoint (epoch {})".format(checkpoint["epoch"]))
            train(model, optimizer, scheduler, data, args.steps, checkpoint["epoch"], folder)
        with torch.no_grad():
            scores.append((model(data[2]).argmax(1) == data[3]).float().mean().item())
    print("accuracy by fold:", [round(score, 3) for score in scores], "mean", round(float(np.mean(scores)), 3))


if __name__ == "__main__":
    main()
