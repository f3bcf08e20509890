"""Least squares: the X for which |A X - B| is smallest, and of those the smallest."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.parts import adjoint
from tritorch.ops.linalg.svd import LinalgPinv, pinv_gradient


class LinalgLstsq(HostOp):
    """X of least |A X - B|, and the rank of A; singular values up to rcond max S are zero: NumPy, on the host."""

    saves = ("A", "B")
    widens = True

    @staticmethod
    def reference(A, B, rcond):
        left, values, right = np.linalg.svd(A, full_matrices=False)
        kept = values > rcond * values.max(-1, keepdims=True, initial=0)
        scaled = (left.swapaxes(-1, -2) @ B) * np.where(kept, 1 / np.where(kept, values, 1), 0)[..., None]
        return (right.swapaxes(-1, -2) @ scaled).astype(B.dtype), kept.sum(-1)

    def backward(self, grad):
        """For B, pinv(A)^T grad; for A what the pseudo-inverse gives for grad B^T."""
        A, B, rcond = self.inputs
        P = LinalgPinv.apply(A, 0.0, rcond, False)
        by_a = None if self.edges[0] is None else pinv_gradient(grad @ adjoint(B), A, P)
        return by_a, adjoint(P) @ grad

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (5, 3), (2, 3, 5)):
            yield draw(*shape), draw(*shape[:-1], 2), 1e-6
        yield draw(3, 0), draw(3, 2), 1e-6
