"""Weights that were trained elsewhere: where they lie, and what images they want."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from tritorch.nn import Module
from tritorch.vision.transforms import functional as F
from tritorch.vision.transforms.functional.images import InterpolationMode, is_tensor

BASE = "https://download.pytorch.org/models/"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels


class ImageClassification(Module):
    """A picture as networks for ImageNet want it: resized, its middle, as numbers of mean 0 and deviation 1."""

    def __init__(self, *, crop_size, resize_size=256, mean=MEAN, std=DEVIATION,
                 interpolation=InterpolationMode.BILINEAR, antialias=True):  # fmt: skip
        super().__init__()
        self.crop_size, self.resize_size = [crop_size], [resize_size]
        self.mean, self.std, self.interpolation, self.antialias = list(mean), list(std), interpolation, antialias

    def forward(self, img):
        img = F.resize(img, self.resize_size, interpolation=self.interpolation, antialias=self.antialias)
        img = F.center_crop(img, self.crop_size)
        img = img if is_tensor(img) else F.pil_to_tensor(img)
        return F.normalize(F.convert_image_dtype(img), mean=self.mean, std=self.std)

    def __repr__(self):
        names = ("crop_size", "resize_size", "mean", "std", "interpolation")
        lines = "".join(f"\n    {name}={getattr(self, name)}" for name in names)
        return f"{type(self).__name__}({lines}\n)"


class Meta(dict):
    """What is known about weights; the names of ImageNet's thousand classes are not kept here."""

    def __missing__(self, key):
        if key == "categories":
            raise KeyError("categories: the names of ImageNet's 1000 classes are not part of tritorch")
        raise KeyError(key)


@dataclass(eq=False)
class Weights:
    """The URL of a state dict, a function that makes the transform of its images, and what else is known."""

    url: str
    transforms: object
    meta: dict = field(default_factory=Meta)


class WeightsEnum(Enum):
    """The weights there are for a model; `DEFAULT` is the best of them."""

    @classmethod
    def verify(cls, obj):
        """The member that is meant by itself or by its name; None stays None."""
        if isinstance(obj, str):
            return cls[obj.removeprefix(f"{cls.__name__}.")]
        if obj is not None and not isinstance(obj, cls):
            raise TypeError(
                f"Invalid Weight class provided; expected {cls.__name__} but received {obj.__class__.__name__}."
            )
        return obj

    def get_state_dict(self, *args, **kwargs):
        """The state dict, fetched once and then kept in the hub's folder."""
        from tritorch.hub import load_state_dict_from_url

        return load_state_dict_from_url(self.url, *args, **kwargs)

    def __repr__(self):
        return f"{type(self).__name__}.{self._name_}"

    def __reduce_ex__(self, protocol):
        return getattr, (type(self), self._name_)

    @property
    def url(self):
        return self.value.url

    @property
    def transforms(self):
        return self.value.transforms

    @property
    def meta(self):
        return self.value.meta


def entry(file, crop=224, resize=256, interpolation="bilinear", mean=MEAN, std=DEVIATION):
    """The weights in a file of PyTorch's server, for images of `crop` x `crop` cut out of `resize`."""
    transforms = partial(
        ImageClassification,
        crop_size=crop,
        resize_size=resize,
        mean=mean,
        std=std,
        interpolation=InterpolationMode(interpolation),
    )
    return Weights(BASE + file, transforms)


def weights_enum(name, module, default=None, **entries):
    """The WeightsEnum of a model: its entries by name, V1 alone or the last one being the default."""
    default = default or tuple(entries)[-1]
    return WeightsEnum(name, {**entries, "DEFAULT": entries[default]}, module=module)
