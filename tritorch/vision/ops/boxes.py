"""Boxes in images: their areas and overlaps, and which of many that overlap are kept.

A box is (x1, y1, x2, y2), its left, upper, right and lower edge, unless a format says otherwise.
"""

from __future__ import annotations

import numpy as np

import tritorch

__all__ = [
    "batched_nms", "box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou", "distance_box_iou",
    "generalized_box_iou", "masks_to_boxes", "nms", "remove_small_boxes",
]  # fmt: skip


def nms(boxes, scores, iou_threshold):
    """The indices of the boxes kept, best first: one that overlaps a better one by more than the threshold is dropped.

    This is done on the host: whether a box is kept depends on all that are better.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise RuntimeError(f"boxes should be a 2d tensor of shape [N, 4], got {list(boxes.shape)}")
    if scores.ndim != 1 or len(scores) != len(boxes):
        raise RuntimeError(
            f"boxes and scores should have same number of elements in dimension 0, got {list(boxes.shape)} and "
            f"{list(scores.shape)}"
        )
    corners = boxes.detach().float().cpu().numpy() if boxes.dtype.itemsize < 4 else boxes.detach().cpu().numpy()
    order = scores.detach().argsort(descending=True, stable=True).cpu().numpy()
    return tritorch.from_numpy(_kept(corners[order], order, iou_threshold)).to(boxes.device)


def _kept(corners, order, iou_threshold):
    left, top, right, bottom = corners.T
    area = (right - left) * (bottom - top)
    dropped = np.zeros(len(order), bool)
    kept = []
    for index in range(len(order)):
        if dropped[index]:
            continue
        kept.append(order[index])
        after = slice(index + 1, None)
        width = np.minimum(right[after], right[index]) - np.maximum(left[after], left[index])
        height = np.minimum(bottom[after], bottom[index]) - np.maximum(top[after], top[index])
        shared = width.clip(0) * height.clip(0)
        union = area[index] + area[after] - shared
        with np.errstate(divide="ignore", invalid="ignore"):  # two boxes without an area overlap by nothing
            dropped[after] |= shared / union > iou_threshold
    return np.array(kept, np.int64)


def batched_nms(boxes, scores, idxs, iou_threshold):
    """`nms` of each class by itself, `idxs` being the class of each box; the indices kept, best first."""
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=tritorch.int64)
    kept = tritorch.zeros(len(scores), dtype=tritorch.bool, device=scores.device)
    for one in idxs.unique():
        members = (idxs == one).nonzero()[:, 0]
        kept[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    found = kept.nonzero()[:, 0]
    return found[scores[found].argsort(descending=True, stable=True)]


def remove_small_boxes(boxes, min_size):
    """The indices of boxes whose edges are both at least `min_size`."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return ((width >= min_size) & (height >= min_size)).nonzero()[:, 0]


def clip_boxes_to_image(boxes, size):
    """Boxes cut to lie in an image of `size` (height, width)."""
    height, width = size
    across, down = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return tritorch.stack((across, down), dim=boxes.dim()).reshape(boxes.shape)


def _xywh_to_xyxy(boxes):
    x, y, width, height = boxes.unbind(-1)
    return tritorch.stack((x, y, x + width, y + height), -1)


def _xyxy_to_xywh(boxes):
    left, top, right, bottom = boxes.unbind(-1)
    return tritorch.stack((left, top, right - left, bottom - top), -1)


def _cxcywh_to_xyxy(boxes):
    x, y, width, height = boxes.unbind(-1)
    return tritorch.stack((x - 0.5 * width, y - 0.5 * height, x + 0.5 * width, y + 0.5 * height), -1)


def _xyxy_to_cxcywh(boxes):
    left, top, right, bottom = boxes.unbind(-1)
    return tritorch.stack(((left + right) / 2, (top + bottom) / 2, right - left, bottom - top), -1)


_TO_CORNERS = {"xyxy": lambda boxes: boxes, "xywh": _xywh_to_xyxy, "cxcywh": _cxcywh_to_xyxy}
_FROM_CORNERS = {"xyxy": lambda boxes: boxes, "xywh": _xyxy_to_xywh, "cxcywh": _xyxy_to_cxcywh}


def box_convert(boxes, in_fmt, out_fmt):
    """Boxes in another format: xyxy, xywh (left, top, width, height) or cxcywh (center, width, height)."""
    if in_fmt not in _TO_CORNERS or out_fmt not in _FROM_CORNERS:
        raise ValueError(f"Unsupported Bounding Box Conversions for given in_fmt {in_fmt} and out_fmt {out_fmt}")
    return boxes.clone() if in_fmt == out_fmt else _FROM_CORNERS[out_fmt](_TO_CORNERS[in_fmt](boxes))


def box_area(boxes, fmt="xyxy"):
    """Width times height."""
    if fmt not in _TO_CORNERS:
        raise ValueError(f"Unsupported Bounding Box area for given format {fmt}")
    left, top, right, bottom = _widened(_TO_CORNERS[fmt](boxes)).unbind(-1)
    return (right - left) * (bottom - top)


def _widened(boxes):
    """In a dtype whose products do not overflow."""
    if boxes.dtype.is_floating_point:
        return boxes if boxes.dtype.itemsize >= 4 else boxes.float()
    return boxes if boxes.dtype.itemsize >= 4 else boxes.int()


def _overlap(boxes1, boxes2):
    """The areas that pairs share, and those they cover together."""
    low = tritorch.maximum(boxes1[..., :, None, :2], boxes2[..., None, :, :2])
    high = tritorch.minimum(boxes1[..., :, None, 2:], boxes2[..., None, :, 2:])
    width, height = _widened(high - low).clamp(min=0).unbind(-1)
    shared = width * height
    return shared, box_area(boxes1)[..., :, None] + box_area(boxes2)[..., None, :] - shared


def box_iou(boxes1, boxes2, fmt="xyxy"):
    """(N, M): the area that two boxes share divided by the area that they cover together."""
    if fmt not in _TO_CORNERS:
        raise ValueError(f"Unsupported Box IoU Calculation for given format {fmt}.")
    shared, union = _overlap(_TO_CORNERS[fmt](boxes1), _TO_CORNERS[fmt](boxes2))
    return shared / union


def _hull(boxes1, boxes2):
    """Width and height of the smallest box that holds both, for all pairs."""
    low = tritorch.minimum(boxes1[..., :, None, :2], boxes2[..., None, :, :2])
    high = tritorch.maximum(boxes1[..., :, None, 2:], boxes2[..., None, :, 2:])
    return _widened(high - low).clamp(min=0).unbind(-1)


def generalized_box_iou(boxes1, boxes2):
    """Overlap less the part of the smallest common box that neither covers. Source: Rezatofighi et al., 2019."""
    shared, union = _overlap(boxes1, boxes2)
    width, height = _hull(boxes1, boxes2)
    return shared / union - (width * height - union) / (width * height)


def distance_box_iou(boxes1, boxes2, eps=1e-7):
    """Overlap less the squared distance of the centers, in diagonals of the common box. Source: Zheng et al., 2019."""
    boxes1, boxes2 = _widened(boxes1), _widened(boxes2)
    width, height = _hull(boxes1, boxes2)
    centers = [(boxes[..., :2] + boxes[..., 2:]) / 2 for boxes in (boxes1, boxes2)]
    apart = _widened(centers[0][..., :, None, :] - centers[1][..., None, :, :]).pow(2).sum(-1)
    return box_iou(boxes1, boxes2) - apart / (width**2 + height**2 + eps)


def complete_box_iou(boxes1, boxes2, eps=1e-7):
    """As `distance_box_iou`, less how much the proportions differ. Source: Zheng et al., 2019."""
    boxes1, boxes2 = _widened(boxes1), _widened(boxes2)
    overlap = box_iou(boxes1, boxes2)
    slopes = [((boxes[..., 2] - boxes[..., 0]) / (boxes[..., 3] - boxes[..., 1])).atan() for boxes in (boxes1, boxes2)]
    differ = (4 / np.pi**2) * (slopes[0][..., :, None] - slopes[1][..., None, :]).pow(2)
    with tritorch.no_grad():
        weight = differ / (1 - overlap + differ + eps)
    return distance_box_iou(boxes1, boxes2, eps) - weight * differ


def masks_to_boxes(masks):
    """The smallest box around each mask (N, H, W)."""
    if masks.numel() == 0:
        return tritorch.zeros(0, 4, device=masks.device)
    found = tritorch.zeros(len(masks), 4, device=masks.device)
    for index, mask in enumerate(masks):
        y, x = mask.nonzero().unbind(-1)
        found[index] = tritorch.stack((x.min(), y.min(), x.max(), y.max())).float()
    return found
