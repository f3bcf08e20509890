"""The QR factorisation: A = Q R."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.parts import adjoint, diagonal
from tritorch.ops.linalg.triangular import LinalgSolveTriangular
from tritorch.ops.shape.joining import Cat


class LinalgQr(HostOp):
    """Q with orthonormal columns and R, an upper triangle, with Q R = A: NumPy, on the host.

    `mode` is "reduced", "complete" (all columns of Q) or "r" (an empty Q).
    """

    saves = ("output",)
    widens = True

    @staticmethod
    def reference(A, mode):
        if mode == "r":
            return np.empty(0, A.dtype), np.linalg.qr(A, mode="r")
        return tuple(np.linalg.qr(A, mode=mode))

    def backward(self, grad_q=None, grad_r=None):
        """(gQ + Q S) R^-T, where S is triu(gR R^T - Q^T gQ) mirrored (Walter and Lehmann 2010).

        Where there are more columns than rows, A = [X Y] and R = [U V]: Y = Q V passes its gradient on to Q, and
        X = Q U has the formula above (Roberts and Roberts 2020).
        """
        mode = self.inputs[1]
        if mode == "r":
            raise RuntimeError(
                "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
                "linalg.qr(A, mode='reduced') if you are going to require its derivatives."
            )
        Q, R = self.outputs
        rows, columns = Q.shape[-2], R.shape[-1]
        if mode == "complete" and rows > columns:
            raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
        grad_q = Q.new_zeros(Q.shape) if grad_q is None else grad_q
        grad_r = R.new_zeros(R.shape) if grad_r is None else grad_r
        if columns <= rows:
            return (_of_columns(Q, R, grad_q, grad_r),)
        beyond, g_beyond = R[..., rows:], grad_r[..., rows:]
        grad_q = grad_q + Q @ beyond @ adjoint(g_beyond)
        first = _of_columns(Q, R[..., :rows], grad_q, grad_r[..., :rows])
        return (Cat.call([first, Q @ g_beyond], -1),)

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (5, 3), (2, 3, 5), (3, 0), (0, 3), (0, 2, 2), (40, 30)):
            yield draw(*shape), "reduced"
        yield draw(3, 4), "complete"
        yield draw(4, 6).T, "reduced"


def _of_columns(Q, R, grad_q, grad_r):
    """The gradient for a matrix that has at least as many rows as columns."""
    inner = (grad_r.triu() @ adjoint(R) - adjoint(Q) @ grad_q).triu()
    mirrored = inner + adjoint(inner) - diagonal(inner).diag_embed()
    return adjoint(LinalgSolveTriangular.apply(R, adjoint(grad_q + Q @ mirrored), True, False))


class Geqrf(HostOp):
    """R and, below its diagonal, the reflectors that make Q, with their factors tau: NumPy's LAPACK, on the host."""

    widens = True

    @staticmethod
    def reference(A):
        reflectors, tau = np.linalg.qr(A, mode="raw")
        return np.ascontiguousarray(reflectors.swapaxes(-1, -2)), tau

    @staticmethod
    def samples(draw):
        for shape in ((4, 4), (2, 5, 3), (3, 5), (3, 0)):
            yield (draw(*shape),)
