"""Least squares: the X for which |A X - B| is smallest, and of those the smallest."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.parts import adjoint, on_diagonal
from tritorch.ops.linalg.svd import LinalgPinv, LinalgSvd, pinv_gradient


class LinalgLstsq(HostOp):
    """X of least |A X - B|, the rank and the singular values S of A: NumPy, on the host.

    Singular values up to rcond max S count as zero.
    """

    saves = ("A", "B")
    widens = True

    @staticmethod
    def reference(A, B, rcond):
        left, values, right = np.linalg.svd(A, full_matrices=False)
        kept = values > rcond * values.max(-1, keepdims=True, initial=0)
        scaled = (left.swapaxes(-1, -2) @ B) * np.where(kept, 1 / np.where(kept, values, 1), 0)[..., None]
        return (right.swapaxes(-1, -2) @ scaled).astype(B.dtype), kept.sum(-1), values

    def backward(self, grad=None, _=None, grad_values=None):
        """For B, pinv(A)^T grad; for A what the pseudo-inverse gives for grad B^T, and the singular values."""
        A, B, rcond = self.inputs
        by_a = by_b = None
        if grad is not None:
            P = LinalgPinv.apply(A, 0.0, rcond, False)
            by_b = adjoint(P) @ grad
            by_a = None if self.edges[0] is None else pinv_gradient(grad @ adjoint(B), A, P)
        if grad_values is not None and self.edges[0] is not None:
            U, _, Vh = LinalgSvd.apply(A, False)
            values = U @ on_diagonal(grad_values) @ Vh
            by_a = values if by_a is None else by_a + values
        return by_a, by_b

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (5, 3), (2, 3, 5)):
            yield draw(*shape), draw(*shape[:-1], 2), 1e-6
        yield draw(3, 0), draw(3, 2), 1e-6
