"""`_foreach_add` and its kin: a method of every tensor of a list, for optimizers and averages that scripts write.

An argument is one number or tensor for all, or a list with one for each. A result is a tuple; a name that ends in `_`
writes over the tensors of the list and gives that list. Each tensor is an op of its own here.
"""

from __future__ import annotations

import numbers

from tritorch.ops.base import export

_OF_ONE = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma",
    "log", "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt",
    "tan", "tanh", "trunc",
)  # fmt: skip
_OF_SEVERAL = {  # the name in PyTorch -> the method, which takes numbers too
    "add": "add", "sub": "sub", "mul": "mul", "div": "div", "pow": "pow", "lerp": "lerp", "addcdiv": "addcdiv",
    "addcmul": "addcmul", "clamp_max": "clamp_max", "clamp_min": "clamp_min", "maximum": "clamp_min",
    "minimum": "clamp_max",
}  # fmt: skip


def _check_list(tensors):
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")


def _for_each(value, count):
    """What of an argument belongs to each tensor."""
    if isinstance(value, (list, tuple)):
        if len(value) != count:
            if isinstance(value[0] if value else 0, numbers.Number):
                raise RuntimeError("Tensor list must have same number of elements as scalar list.")
            raise RuntimeError(f"Tensor lists must have the same number of tensors, got {count} and {len(value)}")
        return value
    if hasattr(value, "array") and value.ndim == 1 and value.numel() == count:
        return value.tolist()  # a number for each
    return [value] * count


def _values(method, tensors, others, named):
    """The method's result for each tensor."""
    _check_list(tensors)
    if method.startswith("addc") and len(others) == 3:  # its last argument has a name
        *others, named["value"] = others
    columns = zip(*(_for_each(each, len(tensors)) for each in others), strict=True) if others else [()] * len(tensors)
    spread = {name: _for_each(each, len(tensors)) for name, each in named.items()}
    return [
        getattr(tensor, method)(*row, **{name: values[at] for name, values in spread.items()})
        for at, (tensor, row) in enumerate(zip(tensors, columns, strict=True))
    ]


def _define(name, method, in_place=True, out_of_place=True):
    """Export both forms of one function."""

    def function(self, *others, **named):
        return tuple(_values(method, self, others, named))

    def in_place_function(self, *others, **named):
        _values(f"{method}_", self, others, named)
        return self

    function.__doc__ = f"{method} of each tensor of a list."
    in_place_function.__doc__ = f"{method}_ of each tensor of a list, which it gives back."
    if out_of_place:
        export(f"_foreach_{name}")(function)
    if in_place:
        export(f"_foreach_{name}_")(in_place_function)


for _name in _OF_ONE:
    _define(_name, _name)
for _name, _method in _OF_SEVERAL.items():
    _define(_name, _method, out_of_place=_name != "pow")
for _name in ("clone", "max"):
    _define(_name, _name, in_place=False)
for _name in ("copy", "zero"):
    _define(_name, _name, out_of_place=False)


@export("_foreach_pow")
def foreach_pow(self, exponent):
    """The power of each tensor of a list, or of a number with each tensor as exponent."""
    if isinstance(self, numbers.Number):
        _check_list(exponent)
        return tuple([self**each for each in exponent])
    return tuple(_values("pow", self, (exponent,), {}))


@export("_foreach_norm")
def foreach_norm(self, ord=2, dtype=None):
    """The norm of all elements of each tensor of a list."""
    _check_list(self)
    return tuple([each.norm(ord, dtype=dtype) for each in self])
