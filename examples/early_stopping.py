"""Which regularisation keeps a net from learning its training set by heart? None, L1, L2 and dropout, stopped early.

The data are scikit-learn's 569 breast tumours, 30 measurements each. Every net trains until its loss on held-out
tumours has not fallen for `--patience` epochs, and goes back to its best weights.

python examples/early_stopping.py
python examples/early_stopping.py --log runs        losses for TensorBoard (pip install 'tritorch[tensorboard]')
"""

from __future__ import annotations

import argparse
import copy

from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import tritorch as torch
from tritorch import nn, optim
from tritorch.nn import functional as F
from tritorch.utils.data import DataLoader, TensorDataset

# What each net adds to its loss or its layers: the factor of |w|, the optimizer's weight decay, the dropout.
WAYS = {"none": (0.0, 0.0, 0.0), "L1": (2e-3, 0.0, 0.0), "L2": (0.0, 2.0, 0.0), "dropout": (0.0, 0.0, 0.5)}


class EarlyStopping:
    """Keeps the best weights, and says when `patience` epochs have passed without better ones."""

    def __init__(self, model, patience, least=1e-4):
        self.model, self.patience, self.least = model, patience, least
        self.best, self.epoch, self.weights = float("inf"), 0, None

    def should_stop(self, epoch, loss):
        """Whether to stop after an epoch that ended with this loss on held-out data."""
        if loss < self.best - self.least:
            self.best, self.epoch = loss, epoch
            self.weights = copy.deepcopy(self.model.state_dict())
        return epoch - self.epoch >= self.patience

    def restore(self):
        """Put the best weights back."""
        self.model.load_state_dict(self.weights)


def load_data():
    """Training, held-out and test tumours; every measurement with mean 0 and deviation 1 on the training set."""
    x, y = load_breast_cancer(return_X_y=True)
    x, test_x, y, test_y = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    train_x, held_x, train_y, held_y = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)
    scale = StandardScaler().fit(train_x)
    parts = ((train_x, train_y), (held_x, held_y), (test_x, test_y))
    return [(torch.from_numpy(scale.transform(a).astype("float32")), torch.from_numpy(b).float()) for a, b in parts]


def make_net(dropout):
    """Two hidden layers, many more weights than there are tumours."""
    return nn.Sequential(
        nn.Linear(30, 128), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(128, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 1), nn.Flatten(0),
    )  # fmt: skip


def size_of_weights(model):
    """The sum of |w| over the weights; biases are left free."""
    return sum(p.abs().sum() for name, p in model.named_parameters() if name.endswith("weight"))


@torch.no_grad()
def evaluate(model, x, y):
    """The loss and the share of tumours told right."""
    model.eval()
    scores = model(x)
    return F.binary_cross_entropy_with_logits(scores, y).item(), ((scores > 0) == (y > 0)).float().mean().item()


def train(way, data, options, writer):
    """One net, until it no longer gets better; the row of the table."""
    (x, y), held, test = data
    l1, l2, dropout = WAYS[way]
    torch.manual_seed(0)
    model = make_net(dropout)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3, weight_decay=l2)
    stopping = EarlyStopping(model, options.patience)
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    for epoch in range(options.epochs):
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(images), labels) + l1 * size_of_weights(model)
            loss.backward()
            optimizer.step()
        losses = {"train": evaluate(model, x, y)[0], "held out": evaluate(model, *held)[0]}
        if writer is not None:
            writer.add_scalars(f"loss/{way}", losses, epoch)
        if stopping.should_stop(epoch, losses["held out"]):
            break
    stopping.restore()
    small = sum((p.abs() < 1e-2).sum().item() for name, p in model.named_parameters() if name.endswith("weight"))
    return stopping.epoch, evaluate(model, x, y)[0], stopping.best, evaluate(model, *test)[1], small


def main():
    """Train a net each way, show what came out, and hold it against the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--log", help="a folder for TensorBoard")
    options = parser.parse_args()
    writer = None
    if options.log:
        from tritorch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(options.log)
    data = load_data()
    rows = {way: train(way, data, options, writer) for way in WAYS}
    table = Table("", "best epoch", "training loss", "held-out loss", "test accuracy", "weights below 0.01")
    for way, (epoch, loss, held, accuracy, small) in rows.items():
        table.add_row(way, str(epoch), f"{loss:.4f}", f"{held:.4f}", f"{accuracy:.1%}", f"{small:,}")
    Console().print(table)
    if writer is not None:
        writer.close()
    assert all(row[3] >= 0.93 for row in rows.values()), "the target is 93% of the test tumours, each way"
    assert rows["L1"][4] > 3 * rows["none"][4], "L1 should make most weights very small"


if __name__ == "__main__":
    main()
