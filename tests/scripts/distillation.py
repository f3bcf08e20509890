"""Knowledge distillation (Hinton et al. 2015): a small network learns from a larger one's softened answers."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Subset, TensorDataset


class Teacher(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64, 96), nn.Linear(96, 96), nn.Linear(96, 10)])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x), inplace=True)
        return self.layers[-1](x)


class Student(nn.Sequential):
    def __init__(self, hidden=12):
        super().__init__(nn.Linear(64, hidden), nn.Hardtanh(), nn.Linear(hidden, 10))


def distillation_loss(student, teacher, labels, T, alpha):
    soft = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(student / T, dim=1), F.softmax(teacher / T, dim=1))
    return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(student, labels)


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).sum().item() for x, y in loader) / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60, help="of each network")
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--alpha", type=float, default=0.7)
    args = parser.parse_args()
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    train = DataLoader(Subset(data, range(1500)), batch_size=50)
    test = DataLoader(Subset(data, range(1500, len(data))), batch_size=100)

    def batches():
        while True:
            yield from train

    teacher, student = same_weights(Teacher(), seed=1), same_weights(Student(), seed=2)
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.1, momentum=0.9)
    for step, (x, y) in zip(range(args.steps), batches()):
        loss = F.cross_entropy(teacher(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss.item())
    teacher.eval()
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)

    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=args.steps, power=0.9)
    for step, (x, y) in zip(range(args.steps), batches()):
        student.train()
        loss = distillation_loss(student(x), teacher(x), y, args.temperature, args.alpha)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item())
    sizes = [sum(p.numel() for p in model.parameters()) for model in (teacher, student)]
    print("parameters {} and {}".format(*sizes))
    print("accuracy {:.3f} and {:.3f}".format(accuracy(teacher, test), accuracy(student, test)))


if __name__ == "__main__":
    main()
