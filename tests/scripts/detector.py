"""A one-stage detector in the manner of YOLO: a grid of anchors, IoU, three losses, non-maximum suppression."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from torch import nn

SIZE, GRID, CLASSES = 48, 6, 2
ANCHORS = torch.tensor([[8.0, 8.0], [16.0, 16.0]])


def scene(index):
    """An image with one to three boxes: class 0 is filled, class 1 is an outline. Boxes as (x, y, w, h, class)."""
    draw = np.random.default_rng(index)
    image = draw.normal(0, 0.1, (SIZE, SIZE)).astype(np.float32)
    boxes = []
    for _ in range(draw.integers(1, 4)):
        w, h = draw.integers(6, 20, 2)
        x, y = draw.integers(0, SIZE - w), draw.integers(0, SIZE - h)
        kind = int(draw.integers(CLASSES))
        image[y : y + h, x : x + w] = 1
        if kind:
            image[y + 2 : y + h - 2, x + 2 : x + w - 2] = 0
        boxes.append([x + w / 2, y + h / 2, w, h, kind])
    return torch.from_numpy(image)[None], torch.tensor(boxes, dtype=torch.float)


def conv(inputs, outputs, stride):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.03, eps=1e-4),
        nn.SiLU(),
    )


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(1, 8, 2), conv(8, 16, 2), conv(16, 32, 2), conv(32, 32, 1))
        self.head = nn.Conv2d(32, len(ANCHORS) * (5 + CLASSES), 1)
        y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
        self.register_buffer("grid", torch.stack((x, y), -1).float())
        self.register_buffer("anchors", ANCHORS)

    def forward(self, images):
        out = self.head(self.body(images))
        out = out.view(out.size(0), len(ANCHORS), 5 + CLASSES, GRID, GRID).permute(0, 1, 3, 4, 2)
        centres = (out[..., :2].sigmoid() * 2 - 0.5 + self.grid) * (SIZE / GRID)
        sizes = (out[..., 2:4].sigmoid() * 2) ** 2 * self.anchors.view(1, -1, 1, 1, 2)
        return torch.cat((centres, sizes), -1), out[..., 4], out[..., 5:]


def corners(boxes):
    return torch.cat((boxes[..., :2] - boxes[..., 2:4] / 2, boxes[..., :2] + boxes[..., 2:4] / 2), -1)


def iou(a, b):
    a, b = corners(a), corners(b)
    lt, rb = torch.max(a[..., :2], b[..., :2]), torch.min(a[..., 2:], b[..., 2:])
    inter = (rb - lt).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b)]
    return inter / (areas[0] + areas[1] - inter + 1e-7)


def assign(targets, device):
    """For each true box its image, anchor and cell: the anchor whose shape fits best."""
    rows = torch.cat([torch.cat((torch.full((len(t), 1), float(i)), t), 1) for i, t in enumerate(targets)])
    ratio = rows[:, None, 3:5] / ANCHORS[None]
    anchor = torch.max(ratio, 1 / ratio).amax(-1).argmin(1)
    cell = (rows[:, 1:3] / (SIZE / GRID)).long().clamp_(0, GRID - 1)
    index = rows[:, 0].long(), anchor, cell[:, 1], cell[:, 0]
    return rows[:, 1:5].to(device), rows[:, 5].long().to(device), tuple(i.to(device) for i in index)


def compute_loss(predictions, targets):
    boxes, objectness, scores = predictions
    true_boxes, labels, index = assign(targets, boxes.device)
    overlap = iou(boxes[index], true_boxes)
    wanted = torch.zeros_like(objectness)
    wanted[index] = overlap.detach().clamp(0).type(wanted.dtype)
    onehot = torch.zeros_like(scores[index])
    onehot[range(len(labels)), labels] = 1.0
    bce = nn.BCEWithLogitsLoss()
    weighted = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([4.0], device=boxes.device))
    parts = (1.0 - overlap).mean(), weighted(objectness, wanted), bce(scores[index], onehot)
    return 2 * parts[0] + 4 * parts[1] + 0.5 * parts[2], torch.stack(parts).detach()


def nms(boxes, scores, threshold):
    keep, order = [], scores.argsort(descending=True)
    while order.numel():
        keep.append(order[0].item())
        order = order[1:][iou(boxes[order[:1]], boxes[order[1:]]) < threshold]
    return torch.tensor(keep, dtype=torch.long)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = same_weights(Detector()).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, amsgrad=True)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[args.steps // 2, args.steps * 3 // 4])
    for step in range(args.steps):
        images, targets = zip(*(scene(step * args.batch + i) for i in range(args.batch)))
        loss, parts = compute_loss(model(torch.stack(images).to(device)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item(), box=parts[0], object=parts[1], kind=parts[2])
    model.eval()
    image, truth = scene(10**6)
    with torch.no_grad():
        boxes, objectness, scores = (part[0].flatten(0, 2).cpu() for part in model(image[None].to(device)))
    kept = nms(boxes, objectness, 0.4)[:3]
    for box, score, kind in zip(boxes[kept], objectness[kept].sigmoid(), scores[kept].argmax(-1)):
        print("found", [round(v, 1) for v in box.tolist()], f"class {kind.item()} with {score:.2f}")
    print("truth", truth.int().tolist())


if __name__ == "__main__":
    main()
