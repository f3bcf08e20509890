"""Eigenvalues and eigenvectors of symmetric matrices: A = V diag(L) V^T."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.errors import LinAlgError
from tritorch.ops.linalg.parts import adjoint, off_diagonal


def _finite(a, lower):
    triangle = np.tril(a) if lower else np.triu(a)
    if not np.isfinite(triangle).all():
        raise LinAlgError(
            "linalg.eigh: The algorithm failed to converge because the input matrix is ill-conditioned or has too many "
            f"repeated eigenvalues (error code: {a.shape[-1] - 1})."
        )
    return a


class Symmetric(HostOp, abstract=True):
    """A function of symmetric matrices, of which one triangle is read; its gradient is symmetric."""

    widens = True

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (2, 3, 3), (0, 0), (0, 2, 2)):
            a = draw(*shape)
            yield a + a.swapaxes(-1, -2), True
        a = draw(12, 12)
        yield a + a.T, False

    @staticmethod
    def differentiable_at(*sample):
        """Differences that leave symmetric matrices mean nothing; tests of the functions stay among them."""
        return False


class LinalgEigh(Symmetric):
    """The eigenvalues, smallest first, and eigenvectors of symmetric matrices: NumPy, on the host."""

    saves = ("output",)

    @staticmethod
    def reference(A, lower):
        return tuple(np.linalg.eigh(_finite(A, lower), "L" if lower else "U"))

    def backward(self, grad_values=None, grad_vectors=None):
        """V (diag(gL) + (V^T gV - gV^T V) / (2 E)) V^T with E = L[j] - L[i] (Giles 2008)."""
        values, vectors = self.outputs
        inner = None if grad_values is None else grad_values.diag_embed()
        if grad_vectors is not None:
            turned = adjoint(vectors) @ grad_vectors
            apart = off_diagonal(values.unsqueeze(-2) - values.unsqueeze(-1), 1.0)
            turned = (turned - adjoint(turned)) * 0.5 / apart
            inner = turned if inner is None else inner + turned
        return (vectors @ inner @ adjoint(vectors),)


class LinalgEigvalsh(Symmetric):
    """The eigenvalues of symmetric matrices, smallest first, without the vectors: NumPy, on the host."""

    saves = ("A",)

    @staticmethod
    def reference(A, lower):
        return np.linalg.eigvalsh(_finite(A, lower), "L" if lower else "U")

    def backward(self, grad):
        """V diag(grad) V^T."""
        vectors = LinalgEigh.apply(self.inputs[0], self.inputs[1])[1]
        return (vectors @ grad.diag_embed() @ adjoint(vectors),)
