"""Images blurred, sharpened, inverted, with fewer shades, or with all of them used."""

from __future__ import annotations

import tritorch
from tritorch.vision.pillow import is_pillow, pillow
from tritorch.vision.transforms.functional.coloring import blend
from tritorch.vision.transforms.functional.conversion import pil_to_tensor, to_pil_image
from tritorch.vision.transforms.functional.images import as_batch, is_tensor, largest, need_channels, need_image


def _need_three(image):
    if image.ndim < 3:
        raise TypeError(f"Input image tensor should have at least 3 dimensions, but found {image.ndim}")


def gaussian_blur(img, kernel_size, sigma=None):
    """An image whose pixels are means of `kernel_size` (x, y) of them, weighed by a bell curve of deviation `sigma`."""
    kernel_size = _kernel_size(kernel_size)
    sigma = _sigma(sigma, kernel_size)
    if not is_tensor(img):
        if not is_pillow(img):
            raise TypeError(f"img should be PIL Image or Tensor. Got {type(img)}")
        return to_pil_image(gaussian_blur(pil_to_tensor(img), kernel_size, sigma), mode=img.mode)
    batch, undo = as_batch(img)
    across, down = (_bell(size, width, batch) for size, width in zip(kernel_size, sigma, strict=True))
    left, top = (size // 2 for size in kernel_size)
    framed = tritorch.nn.functional.pad(batch, [left, left, top, top], mode="reflect")
    return undo(_each_channel(framed, down[:, None] * across))


def _kernel_size(kernel_size):
    if not isinstance(kernel_size, (int, list, tuple)):
        raise TypeError(f"kernel_size should be int or a sequence of integers. Got {type(kernel_size)}")
    kernel_size = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if len(kernel_size) != 2:
        raise ValueError(f"If kernel_size is a sequence its length should be 2. Got {len(kernel_size)}")
    if any(size % 2 == 0 or size < 0 for size in kernel_size):
        raise ValueError(f"kernel_size should have odd and positive integers. Got {kernel_size}")
    return kernel_size


def _sigma(sigma, kernel_size):
    if sigma is None:
        return [size * 0.15 + 0.35 for size in kernel_size]
    if not isinstance(sigma, (int, float, list, tuple)):
        raise TypeError(f"sigma should be either float or sequence of floats. Got {type(sigma)}")
    sigma = [float(sigma)] * 2 if isinstance(sigma, (int, float)) else list(sigma)
    sigma = sigma * 2 if len(sigma) == 1 else sigma
    if len(sigma) != 2:
        raise ValueError(f"If sigma is a sequence, its length should be 2. Got {len(sigma)}")
    if any(each <= 0.0 for each in sigma):
        raise ValueError(f"sigma should have positive values. Got {sigma}")
    return sigma


def _bell(size, sigma, batch):
    end = (size - 1) * 0.5
    x = tritorch.linspace(-end, end, size, dtype=batch.dtype, device=batch.device)
    weights = (-0.5 * (x / sigma) ** 2).exp()
    return weights / weights.sum()


def _each_channel(batch, weights):
    """A correlation of every channel with the same weights (rows, columns)."""
    channels = batch.shape[1]
    return tritorch.nn.functional.conv2d(batch, weights.expand(channels, 1, *weights.shape), groups=channels)


def invert(img):
    """White minus an image."""
    need_image(img)
    if not is_tensor(img):
        return pillow().ImageOps.invert(img)
    _need_three(img)
    need_channels(img, 1, 3)
    return largest(img.dtype) - img


def posterize(img, bits):
    """An image of bytes of which the lowest are set to zero, but `bits` of them."""
    if not 0 <= bits <= 8:
        raise ValueError(f"The number if bits should be between 0 and 8. Got {bits}")
    need_image(img)
    if not is_tensor(img):
        return pillow().ImageOps.posterize(img, bits)
    _need_three(img)
    if img.dtype != tritorch.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {img.dtype}")
    need_channels(img, 1, 3)
    return img & (256 - 2 ** (8 - int(bits)))


def solarize(img, threshold):
    """An image whose pixels from `threshold` on are inverted."""
    need_image(img)
    if not is_tensor(img):
        return pillow().ImageOps.solarize(img, threshold)
    _need_three(img)
    need_channels(img, 1, 3)
    if threshold > largest(img.dtype):
        raise TypeError("Threshold should be less than bound of img.")
    return tritorch.where(img >= threshold, invert(img), img)


def adjust_sharpness(img, sharpness_factor):
    """Between an image blurred (0), itself (1), and sharpened (2)."""
    need_image(img)
    if not is_tensor(img):
        return pillow().ImageEnhance.Sharpness(img).enhance(sharpness_factor)
    if sharpness_factor < 0:
        raise ValueError(f"sharpness_factor ({sharpness_factor}) is not non-negative.")
    need_channels(img, 1, 3)
    if img.size(-1) <= 2 or img.size(-2) <= 2:
        return img
    batch, undo = as_batch(img)
    weights = batch.new_ones(3, 3)
    weights[1, 1] = 5.0
    smooth = batch.clone()
    smooth[..., 1:-1, 1:-1] = _each_channel(batch, weights / 13.0)  # the outermost pixels stay
    return blend(img, undo(smooth), sharpness_factor)


def autocontrast(img):
    """An image whose darkest pixel becomes black and whose brightest white, in each channel."""
    need_image(img)
    if not is_tensor(img):
        return pillow().ImageOps.autocontrast(img)
    _need_three(img)
    need_channels(img, 1, 3)
    white = largest(img.dtype)
    kind = img.dtype if img.dtype.is_floating_point else tritorch.float32
    low, high = (find(dim=(-2, -1), keepdim=True).to(kind) for find in (img.amin, img.amax))
    flat = low == high
    scale = tritorch.where(flat, float(white), high - low).reciprocal() * white
    return ((img - tritorch.where(flat, 0.0, low)) * scale).clamp(0, white).to(img.dtype)


def equalize(img):
    """An image that uses all shades about equally often, in each channel."""
    need_image(img)
    if not is_tensor(img):
        return pillow().ImageOps.equalize(img)
    if not 3 <= img.ndim <= 4:
        raise TypeError(f"Input image tensor should have 3 or 4 dimensions, but found {img.ndim}")
    if img.dtype != tritorch.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {img.dtype}")
    need_channels(img, 1, 3)
    channels = img.reshape(-1, *img.shape[-2:])
    return tritorch.stack([_equalized(channel) for channel in channels]).reshape(img.shape)


def _equalized(channel):
    counts = channel.reshape(-1).to(tritorch.int64).bincount(minlength=256)
    used = counts[counts != 0]
    step = used[:-1].sum().item() // 255
    if step == 0:
        return channel
    shades = (counts.cumsum(0) + step // 2) // step
    table = tritorch.nn.functional.pad(shades, [1, 0])[:-1].clamp(0, 255).to(tritorch.uint8)
    return table[channel.to(tritorch.int64)]
