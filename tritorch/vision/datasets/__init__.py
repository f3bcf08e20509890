"""Datasets of images: torchvision.datasets."""

from __future__ import annotations

from tritorch.vision.datasets.cifar import CIFAR10 as CIFAR10
from tritorch.vision.datasets.cifar import CIFAR100 as CIFAR100
from tritorch.vision.datasets.fakedata import FakeData as FakeData
from tritorch.vision.datasets.folder import DatasetFolder as DatasetFolder
from tritorch.vision.datasets.folder import ImageFolder as ImageFolder
from tritorch.vision.datasets.mnist import EMNIST as EMNIST
from tritorch.vision.datasets.mnist import KMNIST as KMNIST
from tritorch.vision.datasets.mnist import MNIST as MNIST
from tritorch.vision.datasets.mnist import FashionMNIST as FashionMNIST
from tritorch.vision.datasets.stl10 import STL10 as STL10
from tritorch.vision.datasets.svhn import SVHN as SVHN
from tritorch.vision.datasets.vision import VisionDataset as VisionDataset

# Names of torchvision's that are not here: what asks for one is told what to do instead.
_OTHERS = """
    CLEVRClassification CREStereo Caltech101 Caltech256 CarlaStereo CelebA Cityscapes CocoCaptions CocoDetection
    Country211 DTD ETH3DStereo EuroSAT FER2013 FGVCAircraft FallingThingsStereo Flickr30k Flickr8k Flowers102
    FlyingChairs FlyingThings3D Food101 GTSRB HD1K HMDB51 INaturalist ImageNet Imagenette InStereo2k Kinetics Kitti
    Kitti2012Stereo Kitti2015Stereo KittiFlow LFWPairs LFWPeople LSUN LSUNClass Middlebury2014Stereo MovingMNIST
    Omniglot OxfordIIITPet PCAM PhotoTour Places365 QMNIST RenderedSST2 SBDataset SBU SEMEION SUN397
   SceneFlowStereo Sintel SintelStereo StanfordCars UCF101 USPS VOCDetection VOCSegmentation WIDERFace
"""


def __getattr__(name):
    if name.startswith("_") or name not in _OTHERS.split():
        raise AttributeError(f"module 'torchvision.datasets' has no attribute {name!r}")

    def refuse(*args, **kwargs):
        raise NotImplementedError(
            f"torchvision.datasets.{name} is not here: read its files with ImageFolder, or with a Dataset of your own"
        )

    return refuse
