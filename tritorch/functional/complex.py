"""What functions of complex numbers are for real ones, the only ones there are here."""

from __future__ import annotations

from tritorch.ops.base import export
from tritorch.ops.guard import need_tensors
from tritorch.runtime import dtypes


def _itself(name):
    """A function under whose name a real tensor is its own result."""

    def function(input):
        need_tensors(name, input=input)
        return input

    function.__doc__ = "The tensor itself: it holds real numbers."
    return function


for _name in ("conj", "conj_physical", "resolve_conj", "resolve_neg"):
    export(_name, f"Tensor.{_name}")(_itself(_name))
real = export("real")(_itself("real"))
export("Tensor.real")(property(real, doc=real.__doc__))


@export("imag")
def imag(input):
    """Refused: in PyTorch only complex numbers have imaginary parts."""
    need_tensors("imag", input=input)
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


export("Tensor.imag")(property(imag, doc=imag.__doc__))


def _needs_complex(name):
    def function(*args, **kwargs):
        raise NotImplementedError(f"{name}(): tritorch has no complex dtypes; keep real and imaginary parts apart")

    function.__doc__ = "Refused: there are no complex numbers here."
    return function


for _name in ("complex", "polar", "view_as_complex", "view_as_real"):
    export(_name)(_needs_complex(_name))


@export("isreal", "Tensor.isreal")
def isreal(input):
    """True for each element: all are real numbers."""
    need_tensors("isreal", input=input)
    return input.detach().new_ones(input.array.shape, dtype=dtypes.bool_)
