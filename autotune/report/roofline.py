"""What the roofline plot shows: how fast entries run, before and after tuning, and how fast the device could be."""

from __future__ import annotations

from dataclasses import dataclass

from tritorch.autotune.figures import gain_text


@dataclass(frozen=True)
class Roofs:
    """What a device does at most: bytes a second, and FLOP/s for each dtype; what is not known is left out."""

    bandwidth: float
    flops: dict[str, float]

    @property
    def ridges(self):
        """The intensities, FLOP for each byte, from which on arithmetic is what bounds."""
        return [flops / self.bandwidth for flops in self.flops.values()]


def roofs_of(figures, ceiling=None):
    """The Roofs over entries: by the device's Ceiling, else as far as their own rooflines tell; None where they do not.

    An entry's roofline is the longer of what its arithmetic and what its bytes take. So the most bytes a second among
    entries is the bandwidth, and a dtype's most FLOP/s its rate if an entry with that is not bound by its bytes.
    """
    found: dict[str, list] = {}
    for each in figures:
        flops, moved, seconds = (each.entry.work.get(name, 0) for name in ("flops", "bytes", "roofline"))
        if moved and seconds:
            found.setdefault(_dtype(each), []).append((flops / seconds, moved / seconds))
    if not found:
        return None
    if ceiling is not None:
        return Roofs(ceiling.bandwidth, {dtype: ceiling.rate(dtype) for dtype in found})
    bandwidth = max(moved for rates in found.values() for _, moved in rates)
    most = {dtype: max(rates) for dtype, rates in found.items()}
    return Roofs(bandwidth, {dtype: flops for dtype, (flops, moved) in most.items() if moved < bandwidth * (1 - 1e-6)})


def _dtype(figures):
    """What an entry's arithmetic is done in: the dtype of its first array of floating-point numbers."""
    names = [text.split()[0] for text in figures.entry.key.arrays]
    return next((name for name in names if "float" in name), names[0] if names else "unknown")


@dataclass(frozen=True)
class Point:
    """An entry on the plot.

    intensity      FLOP for each byte moved, 0 of what multiplies nothing
    best, default  FLOP/s with the best config and with the default one (None where it has no time); of an intensity
                   of 0, bytes a second
    tip            what is said of it
    """

    intensity: float
    best: float
    default: float | None
    name: str
    tip: str


def points_of(figures):
    """The Points of the entries that have a best config and whose work is known."""
    found = []
    for each in figures:
        flops, moved = each.entry.work.get("flops", 0), each.entry.work.get("bytes", 0)
        if moved and each.best:
            done = flops or moved
            default = done / each.default.seconds if each.gain else None
            what = f"{each.title} {each.sizes} {each.dtypes}"
            tip = f"{what}\n{each.rate_text}, {gain_text(each.gain)} as fast as the default"
            found.append(Point(flops / moved, done / each.best.seconds, default, each.name, tip))
    return found
