"""Functions on images, each for Pillow's pictures and for tensors (..., C, H, W): torchvision.transforms.functional."""

from __future__ import annotations

from tritorch.vision.transforms.functional.coloring import adjust_brightness as adjust_brightness
from tritorch.vision.transforms.functional.coloring import adjust_contrast as adjust_contrast
from tritorch.vision.transforms.functional.coloring import adjust_gamma as adjust_gamma
from tritorch.vision.transforms.functional.coloring import adjust_hue as adjust_hue
from tritorch.vision.transforms.functional.coloring import adjust_saturation as adjust_saturation
from tritorch.vision.transforms.functional.coloring import rgb_to_grayscale as rgb_to_grayscale
from tritorch.vision.transforms.functional.coloring import to_grayscale as to_grayscale
from tritorch.vision.transforms.functional.conversion import convert_image_dtype as convert_image_dtype
from tritorch.vision.transforms.functional.conversion import erase as erase
from tritorch.vision.transforms.functional.conversion import normalize as normalize
from tritorch.vision.transforms.functional.conversion import pil_to_tensor as pil_to_tensor
from tritorch.vision.transforms.functional.conversion import to_pil_image as to_pil_image
from tritorch.vision.transforms.functional.conversion import to_tensor as to_tensor
from tritorch.vision.transforms.functional.cropping import center_crop as center_crop
from tritorch.vision.transforms.functional.cropping import crop as crop
from tritorch.vision.transforms.functional.cropping import five_crop as five_crop
from tritorch.vision.transforms.functional.cropping import hflip as hflip
from tritorch.vision.transforms.functional.cropping import pad as pad
from tritorch.vision.transforms.functional.cropping import ten_crop as ten_crop
from tritorch.vision.transforms.functional.cropping import vflip as vflip
from tritorch.vision.transforms.functional.filtering import adjust_sharpness as adjust_sharpness
from tritorch.vision.transforms.functional.filtering import autocontrast as autocontrast
from tritorch.vision.transforms.functional.filtering import equalize as equalize
from tritorch.vision.transforms.functional.filtering import gaussian_blur as gaussian_blur
from tritorch.vision.transforms.functional.filtering import invert as invert
from tritorch.vision.transforms.functional.filtering import posterize as posterize
from tritorch.vision.transforms.functional.filtering import solarize as solarize
from tritorch.vision.transforms.functional.images import InterpolationMode as InterpolationMode
from tritorch.vision.transforms.functional.images import get_dimensions as get_dimensions
from tritorch.vision.transforms.functional.images import get_image_num_channels as get_image_num_channels
from tritorch.vision.transforms.functional.images import get_image_size as get_image_size
from tritorch.vision.transforms.functional.resizing import resize as resize
from tritorch.vision.transforms.functional.resizing import resized_crop as resized_crop
from tritorch.vision.transforms.functional.warping import affine as affine
from tritorch.vision.transforms.functional.warping import elastic_transform as elastic_transform
from tritorch.vision.transforms.functional.warping import perspective as perspective
from tritorch.vision.transforms.functional.warping import rotate as rotate
