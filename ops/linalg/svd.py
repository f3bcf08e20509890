"""The singular value decomposition A = U diag(S) V^T, and the pseudo-inverse that follows from it."""

from __future__ import annotations

import numpy as np

from tritorch.ops.host_op import HostOp
from tritorch.ops.linalg.errors import LinAlgError
from tritorch.ops.linalg.parts import adjoint, off_diagonal


def _check_finite(a):
    if not np.isfinite(a).all():
        raise LinAlgError(
            "linalg.svd: The algorithm failed to converge because the input matrix contained non-finite values."
        )


class LinalgSvd(HostOp):
    """U, S and V^T with U diag(S) V^T = A, all columns of U and V if `full_matrices`: NumPy, on the host."""

    saves = ("output",)
    widens = True

    @staticmethod
    def reference(A, full_matrices):
        _check_finite(A)
        return tuple(np.linalg.svd(A, full_matrices))

    def backward(self, grad_u=None, grad_s=None, grad_vh=None):
        """Of the S alone U diag(gS) V^T; of the vectors what Ionescu, Vantzos and Sminchisescu (2015) give."""
        U, S, Vh = self.outputs
        count = S.shape[-1]
        U, Vh = U[..., :count], Vh[..., :count, :]
        inner = None if grad_s is None else grad_s.diag_embed()
        if grad_u is None and grad_vh is None:
            return (U @ inner @ Vh,)
        row, column = S.unsqueeze(-1), S.unsqueeze(-2)
        apart = off_diagonal((column - row) * (column + row), 1.0)
        outside = None
        if grad_u is not None:
            grad_u = grad_u[..., :count]
            turned = adjoint(U) @ grad_u
            inner = _sum(inner, (turned - adjoint(turned)) / apart * column)
            if U.shape[-2] > count:
                outside = ((grad_u - U @ turned) / column) @ Vh
        if grad_vh is not None:
            grad_vh = grad_vh[..., :count, :]
            turned = Vh @ adjoint(grad_vh)
            inner = _sum(inner, (turned - adjoint(turned)) / apart * row)
            if Vh.shape[-1] > count:
                outside = _sum(outside, U @ ((grad_vh - adjoint(turned) @ Vh) / row))
        return (_sum(outside, U @ inner @ Vh),)

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (5, 3), (2, 3, 5), (3, 0), (0, 3), (0, 2, 2)):
            yield draw(*shape), False
        if draw.dtype.itemsize >= 4:  # the gradient divides by differences of values, which half precision rounds away
            yield draw(20, 30), False
        yield draw(4, 6).T, True

    @staticmethod
    def differentiable_at(A, full_matrices):
        """Where the vectors are all fixed by A."""
        return not full_matrices or A.shape[-2] == A.shape[-1]


def _sum(first, second):
    return second if first is None else first + second


class SingularValues(HostOp):
    """The singular values, largest first, without the vectors: NumPy, on the host."""

    saves = ("A",)
    widens = True

    @staticmethod
    def reference(A):
        _check_finite(A)
        return np.linalg.svd(A, compute_uv=False)

    def backward(self, grad):
        """U diag(grad) V^T."""
        U, _, Vh = LinalgSvd.apply(self.inputs[0], False)
        return (U @ grad.diag_embed() @ Vh,)

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (5, 3), (2, 3, 5), (3, 0), (20, 30)):
            yield (draw(*shape),)


class LinalgPinv(HostOp):
    """V diag(1/S) U^T, where S at most max(atol, rtol max S) count as zero: NumPy, on the host.

    `hermitian` says that A is symmetric, and its lower triangle is read.
    """

    @classmethod
    def batch(cls, call):
        """Limits that differ between examples, and are no matrices, are looked at one by one."""
        return None if any(call.batched[1:]) else cls.apply(*call.args)

    saves = ("A", "output")
    widens = True

    @staticmethod
    def reference(A, atol, rtol, hermitian):
        _check_finite(A)
        if hermitian:
            values, left = np.linalg.eigh(A)
            right = left.swapaxes(-1, -2)
        else:
            left, values, right = np.linalg.svd(A, full_matrices=False)
        sizes = np.abs(values)
        limit = np.maximum(
            np.asarray(atol)[..., None], np.asarray(rtol)[..., None] * sizes.max(-1, keepdims=True, initial=0)
        )
        kept = sizes > limit
        inverted = np.where(kept, 1 / np.where(kept, values, 1), 0)
        return ((right.swapaxes(-1, -2) * inverted[..., None, :]) @ left.swapaxes(-1, -2)).astype(A.dtype)

    def backward(self, grad):
        """The gradient among matrices of the same rank."""
        return (pinv_gradient(grad, self.inputs[0], self.output),)

    @staticmethod
    def samples(draw):
        for shape in ((1, 1), (4, 4), (5, 3), (2, 3, 5), (3, 0), (0, 3)):
            yield draw(*shape), 0.0, 1e-6, False
        a = draw(4, 4)
        yield a + a.T, 0.0, 1e-6, True
        yield draw(2, 3, 3), np.array([0.0, 1e-3]), np.array([1e-6, 1e-6]), False

    @staticmethod
    def differentiable_at(A, atol, rtol, hermitian):
        """Not by differences that leave symmetric matrices."""
        return not hermitian


def pinv_gradient(grad, A, P):
    """The gradient of P = pinv(A) among matrices of the same rank (Golub and Pereyra 1973)."""
    turned, flat = adjoint(P), adjoint(grad)
    first, second = flat @ P @ turned, turned @ P @ flat
    return first - A @ (P @ first) + second - second @ P @ A - turned @ grad @ turned
