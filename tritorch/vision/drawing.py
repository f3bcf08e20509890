"""Boxes, masks and points drawn on images."""

from __future__ import annotations

import warnings

import tritorch
from tritorch.vision.pillow import pillow
from tritorch.vision.transforms import functional as F

_STEPS = (2**25 - 1, 2**15 - 1, 2**21 - 1)  # of red, green and blue between one color of the palette and the next


def _colors(given, count):
    """`count` colors (red, green, blue) from none, one, or a list of names and triplets."""
    if given is None:
        return [tuple(index * step % 255 for step in _STEPS) for index in range(count)]
    if isinstance(given, list):
        if len(given) < count:
            raise ValueError(
                f"Number of colors must be equal or larger than the number of objects, but got {len(given)} < {count}."
            )
        found = given[:count]
    elif not isinstance(given, (tuple, str)):
        raise ValueError(f"colors must be a tuple or a string, or a list thereof, but got {given}.")
    elif isinstance(given, tuple) and len(given) != 3:
        raise ValueError(f"If passed as tuple, colors should be an RGB triplet, but got {given}.")
    else:
        found = [given] * count
    return [pillow().ImageColor.getrgb(color) if isinstance(color, str) else tuple(color) for color in found]


def _check_image(image, channels=(3,), text="The image must be a tensor, got"):
    if not isinstance(image, tritorch.Tensor):
        raise TypeError(f"{text} {type(image)}")
    if not (image.dtype == tritorch.uint8 or image.dtype.is_floating_point):
        raise ValueError(f"The image dtype must be uint8 or float, got {image.dtype}")
    if image.ndim != 3:
        raise ValueError("Pass individual images, not batches")
    if image.size(0) not in channels:
        only = "Pass an RGB image. Other Image formats are not supported"
        raise ValueError(only if channels == (3,) else "Only grayscale and RGB images are supported")


def _drawn_on(image, draw, mode=None):
    """A new image: what `draw` makes of a canvas with the old one."""
    dtype, device = image.dtype, image.device
    if image.size(0) == 1:
        image = image.repeat(3, 1, 1)
    picture = F.to_pil_image(F.convert_image_dtype(image, tritorch.uint8))
    draw(pillow().ImageDraw.Draw(picture, mode))
    return F.convert_image_dtype(F.pil_to_tensor(picture), dtype).to(device)


@tritorch.no_grad()
def draw_bounding_boxes(image, boxes, labels=None, colors=None, fill=False, width=1, font=None, font_size=None,
                        label_colors=None, label_background_colors=None, fill_labels=False):  # fmt: skip
    """An image (1 or 3, H, W) with boxes (N, 4), each (left, top, right, bottom), drawn on it, and their labels."""
    _check_image(image, (1, 3), "Tensor expected, got")
    if boxes.numel() and ((boxes[:, 0] > boxes[:, 2]).any() or (boxes[:, 1] > boxes[:, 3]).any()):
        raise ValueError(
            "Boxes need to be in (xmin, ymin, xmax, ymax) format. Use torchvision.ops.box_convert to convert them"
        )
    count = len(boxes)
    if count == 0:
        warnings.warn("boxes doesn't contain any box. No box was drawn", stacklevel=2)
        return image
    if labels is not None and len(labels) != count:
        raise ValueError(
            f"Number of boxes ({count}) and labels ({len(labels)}) mismatch. Please specify labels for each box."
        )
    colors = _colors(colors, count)
    texts = _colors(label_colors or "black", count) if label_colors or fill_labels else colors
    grounds = _colors(label_background_colors, count) if fill_labels and label_background_colors else colors
    lettering = _font(font, font_size)

    def draw(canvas):
        corners = boxes.to(tritorch.int64).tolist()
        each = zip(corners, colors, labels or [None] * count, texts, grounds, strict=True)
        for box, color, label, text, ground in each:
            canvas.rectangle(box, width=width, outline=color, fill=(*color, 100) if fill else None)
            if label is None:
                continue
            place = (box[0] + width + 1, box[1] + width + 1)
            if fill_labels:
                left, top, right, bottom = canvas.textbbox(place, label, font=lettering)
                canvas.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=ground)
            canvas.text(place, label, fill=text, font=lettering)

    return _drawn_on(image, draw, "RGBA" if fill else None)


def _font(font, size):
    if font is not None:
        return pillow().ImageFont.truetype(font=font, size=size or 10)
    if size is not None:
        warnings.warn("Argument 'font_size' will be ignored since 'font' is not set.", stacklevel=3)
    return pillow().ImageFont.load_default()


@tritorch.no_grad()
def draw_segmentation_masks(image, masks, alpha=0.8, colors=None):
    """An image (3, H, W) with each of `masks` (N, H, W) in its color, and black where several meet."""
    _check_image(image)
    if masks.ndim == 2:
        masks = masks[None]
    if masks.ndim != 3:
        raise ValueError("masks must be of shape (H, W) or (batch_size, H, W)")
    if masks.dtype != tritorch.bool:
        raise ValueError(f"The masks must be of dtype bool. Got {masks.dtype}")
    if masks.shape[-2:] != image.shape[-2:]:
        raise ValueError("The image and the masks must have the same height and width")
    if len(masks) == 0:
        warnings.warn("masks doesn't contain any mask. No mask was drawn", stacklevel=2)
        return image
    painted = image.detach().clone()
    for mask, color in zip(masks, _colors(colors, len(masks)), strict=True):
        shade = tritorch.tensor(color, dtype=tritorch.uint8, device=image.device).view(3, 1, 1)
        shade = shade.to(image.dtype) / 255 if image.dtype.is_floating_point else shade
        painted = tritorch.where(mask, shade, painted)
    painted = painted.masked_fill(masks.sum(0) > 1, 0)
    return (image * (1 - alpha) + painted * alpha).to(image.dtype)


@tritorch.no_grad()
def draw_keypoints(image, keypoints, connectivity=None, colors=None, radius=2, width=3, visibility=None):
    """An image (3, H, W) with points (instances, K, 2), each (x, y), and lines between pairs of them."""
    _check_image(image)
    if keypoints.ndim != 3:
        raise ValueError("keypoints must be of shape (num_instances, K, 2)")
    shown = tritorch.ones(keypoints.shape[:-1], dtype=tritorch.bool) if visibility is None else visibility
    if shown.ndim == 3:
        shown = shown.squeeze(-1)
    if shown.ndim != 2:
        raise ValueError(f"visibility must be of shape (num_instances, K). Got ndim={shown.ndim}")
    if shown.shape != keypoints.shape[:-1]:
        raise ValueError(
            "keypoints and visibility must have the same dimensionality for num_instances and K. "
            f"Got visibility.shape={shown.shape!r} and keypoints.shape={keypoints.shape!r}"
        )
    color = pillow().ImageColor.getrgb(colors) if isinstance(colors, str) else colors

    def draw(canvas):
        for points, seen in zip(keypoints.to(tritorch.int64).tolist(), shown.bool().tolist(), strict=True):
            for (x, y), visible in zip(points, seen, strict=True):
                if visible:
                    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color, width=0)
            for start, end in connectivity or ():
                if seen[start] and seen[end]:
                    canvas.line((*points[start], *points[end]), width=width)

    return _drawn_on(image, draw)
