"""Datasets of images: torchvision.datasets."""

from __future__ import annotations

from tritorch.vision.datasets.fakedata import FakeData as FakeData
from tritorch.vision.datasets.folder import DatasetFolder as DatasetFolder
from tritorch.vision.datasets.folder import ImageFolder as ImageFolder
from tritorch.vision.datasets.mnist import EMNIST as EMNIST
from tritorch.vision.datasets.mnist import KMNIST as KMNIST
from tritorch.vision.datasets.mnist import MNIST as MNIST
from tritorch.vision.datasets.mnist import FashionMNIST as FashionMNIST
from tritorch.vision.datasets.vision import VisionDataset as VisionDataset
