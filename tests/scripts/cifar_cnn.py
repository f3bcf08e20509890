"""A VGG-like network on coloured shapes, as small as CIFAR's images: torchvision transforms, augmentation, schedules."""

import argparse

import numpy as np
import torch
import torchvision.transforms as transforms
from alike import report, same_weights
from torch import nn
from torch.utils.data import DataLoader, Dataset

rng = np.random.default_rng(3)


class RandomFlipAndShift:
    """Augmentation whose draws are NumPy's."""

    def __init__(self, shift):
        self.shift = shift

    def __call__(self, image):
        if rng.random() < 0.5:
            image = image.flip(-1)
        down, right = (int(step) for step in rng.integers(-self.shift, self.shift + 1, 2))
        return torch.roll(image, shifts=(down, right), dims=(-2, -1))


class Shapes(Dataset):
    """Discs, squares, crosses and rings in noise."""

    classes = ("disc", "square", "cross", "ring")

    def __init__(self, count, transform=None, size=32):
        draw = np.random.default_rng(count)
        self.labels = draw.integers(0, len(self.classes), count)
        y, x = np.mgrid[:size, :size]
        pictures = []
        for label in self.labels:
            cy, cx = draw.uniform(10, 22, 2)
            radius = draw.uniform(5, 9)
            dy, dx = np.abs(y - cy), np.abs(x - cx)
            far = np.hypot(dy, dx)
            mask = (
                far < radius,
                np.maximum(dy, dx) < radius,
                (np.minimum(dy, dx) < 2) & (np.maximum(dy, dx) < radius),
                np.abs(far - radius) < 2,
            )[label]
            colours = draw.integers(0, 255, (2, 3))
            picture = np.where(mask[..., None], colours[0], colours[1]) + draw.normal(0, 8, (size, size, 3))
            pictures.append(picture.clip(0, 255).astype(np.uint8))
        self.pictures, self.transform = np.stack(pictures), transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        picture = self.pictures[index]
        if self.transform is not None:
            picture = self.transform(picture)
        return picture, self.labels[index]


def block(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, 2),
    )


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(block(3, 12), block(12, 24), block(24, 32))
        self.pool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(128, 32), nn.ELU(), nn.Linear(32, classes))

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()

    to_tensor = [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))]
    train_set = Shapes(args.batch_size * args.steps, transforms.Compose([*to_tensor, RandomFlipAndShift(4)]))
    test_set = Shapes(100, transforms.Compose(to_tensor))
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    net = same_weights(Net(len(Shapes.classes))).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=args.steps)
    criterion = nn.CrossEntropyLoss()
    for step, (inputs, labels) in enumerate(DataLoader(train_set, args.batch_size)):
        optimizer.zero_grad()
        loss = criterion(net(inputs.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item(), lr=scheduler.get_last_lr()[0])

    net.eval()
    right = torch.zeros(len(Shapes.classes))
    total = torch.zeros(len(Shapes.classes))
    with torch.no_grad():
        for inputs, labels in DataLoader(test_set, 50):
            guesses = net(inputs.to(device)).argmax(1).cpu()
            for label, hit in zip(labels, guesses == labels):
                right[label] += hit.item()
                total[label] += 1
    for name, part in zip(Shapes.classes, (100 * right / total).tolist()):
        print(f"{name:>8}: {part:.0f}%")
