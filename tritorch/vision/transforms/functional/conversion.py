"""Between pictures, arrays and tensors, and between the ranges of their numbers."""

from __future__ import annotations

import numpy as np

import tritorch
from tritorch.vision.pillow import is_pillow, pillow
from tritorch.vision.transforms.functional.images import is_tensor, largest

# What an array of one channel may hold, and the mode that is of a picture.
_MODES = {"uint8": "L", "int16": "I;16", "int32": "I", "float32": "F"}
_PERMITTED = {2: ("LA",), 3: ("RGB", "YCbCr", "HSV"), 4: ("RGBA", "CMYK", "RGBX")}


def to_tensor(pic):
    """A picture or an array (H, W, C) as a tensor (C, H, W), bytes as numbers from 0 to 1."""
    if is_pillow(pic):
        array = np.asarray(pic)
        if pic.mode == "1":
            array = array.astype(np.uint8) * 255
        elif pic.mode.startswith("I;16"):
            array = array.astype(np.int16)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    array = (array[:, :, None] if array.ndim == 2 else array).transpose(2, 0, 1)
    if array.dtype == np.uint8:
        array = np.divide(array, 255, dtype=tritorch.get_default_dtype().numpy, order="C")
    return tritorch.from_numpy(np.array(array, order="C"))


def pil_to_tensor(pic):
    """A picture as a tensor (C, H, W) of the numbers it holds."""
    if not is_pillow(pic):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    array = np.array(pic)
    return tritorch.from_numpy(
        np.array((array[:, :, None] if array.ndim == 2 else array).transpose(2, 0, 1), order="C")
    )


def convert_image_dtype(image, dtype=tritorch.float32):
    """An image in another dtype, its numbers scaled so that black and white stay what they are."""
    if not is_tensor(image):
        raise TypeError("Input img should be Tensor Image")
    if image.dtype == dtype:
        return image
    if image.dtype.is_floating_point:
        return image.to(dtype) if dtype.is_floating_point else _to_integers(image, dtype)
    white, other = largest(image.dtype), largest(dtype)
    if dtype.is_floating_point:
        return image.to(dtype) / white
    if white > other:
        return image.div((white + 1) // (other + 1), rounding_mode="floor").to(dtype)
    return image.to(dtype) * ((other + 1) // (white + 1))


def _to_integers(image, dtype):
    if (image.dtype, dtype) in (
        (tritorch.float32, tritorch.int32), (tritorch.float32, tritorch.int64), (tritorch.float64, tritorch.int64),
    ):  # fmt: skip
        raise RuntimeError(f"The cast from {image.dtype} to {dtype} cannot be performed safely.")
    return image.mul(largest(dtype) + 1.0 - 1e-3).to(dtype)  # 1 falls just short of one more than the largest


def to_pil_image(pic, mode=None):
    """A tensor (C, H, W) or an array (H, W, C) as a picture; numbers from 0 to 1 become bytes, but for mode "F"."""
    if is_tensor(pic):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        image = pic.detach()[None] if pic.ndim == 2 else pic.detach()
        if image.shape[0] > 4:
            raise ValueError(f"pic should not have > 4 channels. Got {image.shape[0]} channels.")
        if image.dtype.is_floating_point and mode != "F":
            image = image.mul(255).byte()
        array = image.numpy().transpose(1, 2, 0)
    elif isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic[:, :, None] if pic.ndim == 2 else pic
        if array.shape[2] > 4:
            raise ValueError(f"pic should not have > 4 channels. Got {array.shape[2]} channels.")
        if array.dtype.kind == "f" and mode != "F":
            array = (array * 255).astype(np.int64).astype(np.uint8)
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    return _picture(array, mode)


def _picture(array, mode):
    channels, kind = array.shape[2], array.dtype.name
    if channels == 1:
        expected = _MODES.get(kind)
        if expected is None:
            raise TypeError(f"Input type {array.dtype} is not supported")
        if mode is not None and mode != expected:
            raise ValueError(f"Incorrect mode ({mode}) supplied for input type {np.dtype}. Should be {expected}")
        # sixteen bits are written without their sign, which Pillow's mode does not know
        plain = np.ascontiguousarray(array[:, :, 0])
        return pillow().Image.fromarray(plain.view(np.uint16) if expected == "I;16" else plain)
    permitted = _PERMITTED[channels]
    if mode is not None and mode not in permitted:
        raise ValueError(f"Only modes {list(permitted)} are supported for {channels}D inputs")
    if kind != "uint8":
        raise TypeError(f"Input type {array.dtype} is not supported")
    size = (array.shape[1], array.shape[0])
    return pillow().Image.frombuffer(mode or permitted[0], size, array.tobytes(), "raw", mode or permitted[0], 0, 1)


def normalize(tensor, mean, std, inplace=False):
    """(tensor - mean) / std, channel by channel."""
    if not is_tensor(tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if tensor.ndim < 2:
        raise TypeError("Tensor is not a torch image.")
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ValueError(
            f"Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = {tensor.size()}"
        )
    if not np.all(np.asarray(std, tensor.dtype.numpy)):
        raise ValueError(f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero.")
    mean, std = (tritorch.as_tensor(each, dtype=tensor.dtype, device=tensor.device) for each in (mean, std))
    mean, std = (each.view(-1, 1, 1) if each.ndim == 1 else each for each in (mean, std))
    if inplace:
        return tensor.sub_(mean).div_(std)
    found = (tensor - mean) / std
    if found.shape != tensor.shape:  # more numbers than channels
        raise RuntimeError(
            f"output with shape {list(tensor.shape)} doesn't match the broadcast shape {list(found.shape)}"
        )
    return found


def erase(img, i, j, h, w, v, inplace=False):
    """An image with `v` written over the rectangle of h rows from i on and w columns from j on."""
    if not is_tensor(img):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}")
    if not inplace:
        img = img.clone()
    img[..., i : i + h, j : j + w] = v
    return img
