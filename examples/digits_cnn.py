"""A convolutional net learns scikit-learn's handwritten digits: 1,797 real 8x8 images, a quarter held out for testing.

python examples/digits_cnn.py                                  the default device: the GPU where there is one
python examples/digits_cnn.py --device interpreter --quick     a few steps through the Triton kernels themselves
"""

from __future__ import annotations

import argparse
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tritorch as torch
from tritorch import nn, optim
from tritorch.nn import functional as F
from tritorch.utils.data import DataLoader, TensorDataset


class DigitsNet(nn.Module):
    """Two convolutions, a pooling, two linear layers: 8x8 pixels to ten classes."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.dropout(torch.flatten(x, 1))
        return self.fc2(F.relu(self.fc1(x)))


def load_data():
    """Training and test images, scaled to [0, 1], as (images, labels) datasets."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 1, 8, 8)
    split = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in split)
    return TensorDataset(train_x, train_y), TensorDataset(test_x, test_y)


def train_epoch(model, loader, optimizer, progress, task, steps=None):
    """One pass over the data (or `steps` batches of it); the mean loss."""
    model.train()
    total = count = 0
    for number, (images, labels) in enumerate(loader):
        if number == steps:
            break
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        total, count = total + loss.item(), count + 1
        progress.update(task, advance=1, loss=total / count)
    return total / count


@torch.no_grad()
def predict(model, loader):
    """The true and the predicted class of every image."""
    model.eval()
    pairs = [(labels, model(images).argmax(1)) for images, labels in loader]
    return torch.cat([true for true, _ in pairs]), torch.cat([found for _, found in pairs])


def confusion_table(true, found):
    """How often each digit (row) was taken for each digit (column)."""
    table = Table(title="Digits (rows) and what they were taken for", show_lines=False)
    table.add_column("")
    for digit in range(10):
        table.add_column(str(digit), justify="right")
    for digit in range(10):
        counts = [int(((true == digit) & (found == other)).sum()) for other in range(10)]
        styles = ["green" if other == digit else "red" for other in range(10)]
        cells = [f"[{style}]{count}[/]" if count else "[dim]·[/]" for count, style in zip(counts, styles, strict=True)]
        table.add_row(str(digit), *cells)
    return table


def main():
    """Train, show, save, and hold the accuracy against the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="cuda, cpu or interpreter")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--quick", action="store_true", help="three steps and no target: does it run?")
    parser.add_argument("--save", default="digits_cnn.safetensors", help="where the trained model goes")
    options = parser.parse_args()
    if options.device:
        torch.set_default_device(options.device)
    torch.manual_seed(0)
    console, started = Console(), time.perf_counter()
    train, test = load_data()
    steps = 3 if options.quick else None
    train_loader = DataLoader(train, batch_size=16 if options.quick else 32, shuffle=True)
    test_loader = DataLoader(torch.utils.data.Subset(test, range(32)) if options.quick else test, batch_size=256)
    model = DigitsNet()
    optimizer = optim.Adam(model.parameters(), lr=2e-3)

    epochs = 1 if options.quick else options.epochs
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2%}"))  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=epochs * (steps or len(train_loader)), loss=0.0, accuracy=0.0)
        for epoch in range(epochs):
            loss = train_epoch(model, train_loader, optimizer, progress, task, steps)
            true, found = predict(model, test_loader)
            accuracy = (true == found).float().mean().item()
            progress.update(task, description=f"epoch {epoch + 1}/{epochs}", accuracy=accuracy)

    console.print(confusion_table(true, found))
    torch.save(model.state_dict(), options.save)
    seconds = time.perf_counter() - started
    console.print(f"{model.fc1.weight.device}: loss {loss:.4f}, test accuracy {accuracy:.2%}, {seconds:.1f} s, "
                  f"saved to {options.save}")  # fmt: skip
    if options.quick:
        assert loss < 5, f"three steps should leave a loss near ln 10, got {loss}"
    else:
        assert accuracy >= 0.97, f"the target is 97% of the held-out digits, got {accuracy:.2%}"


if __name__ == "__main__":
    main()
