"""Results against the reference: small ones whole, of large ones evenly spaced pieces, and every element for NaN."""

from __future__ import annotations

import numpy as np

from tritorch.runtime import transfer
from tritorch.validation import difference

WHOLE = 1 << 22  # elements compared whole
_ROUNDED = 2  # times that rounded terms may add to what rounding the sum of them does
_TF32 = 10_000, 10  # how long a sum, and how large a one, is in float32 what it is with 11 digits
_CANCELLED = 8  # times that results may be smaller than what they were made of
PIECES, PIECE = 64, 1 << 14  # of larger results: that many stretches of so many elements, the first and the last too


class Truth:
    """One result of the reference, and as much of it as is needed to compare others with it."""

    def __init__(self, result):
        result = np.asarray(result)
        self.shape, self.size = result.shape, result.size
        self.is_whole = self.size <= WHOLE or result.dtype.kind not in "fV"
        if self.is_whole:
            self.starts, self.kept = [0], [result]
            self.scale = _scale(result)
            return
        flat = result.reshape(-1)
        self.starts = [round(at * (self.size - PIECE) / (PIECES - 1)) for at in range(PIECES)]
        self.kept = [flat[start : start + PIECE].copy() for start in self.starts]
        self.scale = _scale(np.concatenate(self.kept))
        nan = np.isnan(flat)
        self.nan = nan if nan.any() else None

    def compare(self, array, length, tf32=False):
        """(largest difference in units of what is allowed, where); `length` is how many terms an element sums.

        Sums of half precision are kept in float32, so that length does not matter to them, but terms may be rounded.
        With `tf32`, float32 numbers were multiplied with the digits of float16.
        """
        mine = transfer.to_host(array)
        scale = self.scale
        if mine.dtype.itemsize <= 2:
            length, scale = 1, _ROUNDED * scale
        elif tf32:
            length, scale = max(length, _TF32[0]), _TF32[1] * scale
        if self.is_whole or mine.shape != self.shape:
            return self._whole(mine, length, scale)
        flat = mine.reshape(-1)
        worst, where = self._stray_nan(flat)
        for start, true in zip(self.starts, self.kept, strict=True):
            error, text = difference(flat[start : start + PIECE], true, length=length, scale=scale)
            if error > worst:
                worst, where = error, f"{text}, counted from element {start} of {self.size} in a row"
        return worst, where

    def _whole(self, mine, length, scale):
        if mine.shape != self.shape:
            return float("inf"), f"shape {mine.shape}, the reference has {self.shape}"
        return difference(mine, self.kept[0], length=length, scale=scale)

    def _stray_nan(self, flat):
        """Where the result is NaN and the reference is not: what was never written shows by it."""
        for start in range(0, self.size, WHOLE):
            wrong = np.isnan(flat[start : start + WHOLE])
            if self.nan is not None:
                wrong &= ~self.nan[start : start + WHOLE]
            if wrong.any():
                return float("inf"), f"NaN at element {start + int(wrong.argmax())} of {self.size} in a row"
        return 0.0, ""


def _scale(values):
    """How large values are: the middle one by size, of those that are neither zero nor infinite.

    Rounding errors are as large as what was summed and multiplied. Results have about its size, or are somewhat smaller
    where terms cancel; much smaller ones, such as gradients of a mean over many, were made of small numbers.
    """
    sizes = np.abs(values[np.isfinite(values) & (values != 0)]) if values.dtype.kind == "f" else np.empty(0)
    middle = float(np.median(sizes)) if sizes.size else 1.0
    return max(middle, min(1.0, _CANCELLED * middle))


def compare_all(truths, results, length, tf32=False):
    """The worst of several results."""
    if len(results) != len(truths):
        return float("inf"), f"{len(results)} results, the reference has {len(truths)}"
    worst, where = 0.0, ""
    for number, (truth, mine) in enumerate(zip(truths, results, strict=True)):
        error, text = truth.compare(mine, length, tf32)
        if error > worst:
            worst, where = error, f"result {number}: {text}" if len(truths) > 1 else text
    return worst, where
