"""The pointwise family: one kernel for every op that works element by element, whatever its formula.

A member gives a scalar `value` formula, a NumPy `reference` and, where it has a gradient, one slope per argument: a
formula whose parameters name what it needs of the arguments and the `output`, which is therefore also what is saved.
The family broadcasts, promotes by PyTorch's rules, reads any strides and widens half precision to float32; the
gradient, `grad * slope(...)`, is one launch of the same kernel, and an op of its own.
"""

from __future__ import annotations

import inspect
import numbers
from typing import NamedTuple

import numpy as np

from tritorch.ops.base import Op, position_of
from tritorch.ops.formula import Formula, formula
from tritorch.ops.layout import broadcast_shape, out_of_order, result_order
from tritorch.ops.pointwise.direct import direct_host, in_tiles
from tritorch.ops.pointwise.kernel import block_space as block_space
from tritorch.ops.pointwise.kernel import launch_pointwise
from tritorch.ops.pointwise.kernel import offsets_of as offsets_of
from tritorch.ops.pointwise.kernel import pointwise_default as pointwise_default
from tritorch.ops.pointwise.kernel import triton_dtype as triton_dtype
from tritorch.ops.promotion import arithmetic, as_computed, floating, predicate, straight_dtypes
from tritorch.runtime import dtypes


class Pointwise(Op, abstract=True):
    """An op that works element by element; see the module's text.

    types       the promotion rule, from ops/promotion.py
    value       the formula of the result
    slope       the formula of its derivative (`slope_NAME` for argument NAME), by which the gradient is multiplied; or
    gradient    a formula of the gradient itself, its first parameter (`gradient_NAME`), where a product would not do:
                one that masks keeps inf out of 0 * inf
    quick       what gives the same as `reference`, faster; `quick_gradient` (`quick_gradient_NAME`) likewise
    condition   whether the first argument is a condition, which takes no part in promotion
    """

    arguments: tuple[str, ...] = ()
    types = staticmethod(arithmetic)
    value: Formula
    condition = False
    straight: dict
    gradients: tuple = ()  # for each argument: the gradient's op, its formula, the arguments that needs (-1: output)

    @classmethod
    def register(cls):
        """Derive what is saved from what the gradients need, and make each argument's gradient an op."""
        needs = {name for _, names in map(cls.gradient_formula, cls.arguments) for name in names}
        if "saves" not in cls.__dict__:
            cls.saves = tuple(name for name in (*cls.arguments, "output") if name in needs)
        cls.straight = straight_dtypes(cls.types)
        if "quick" not in cls.__dict__:
            cls.quick = staticmethod(in_tiles(cls.reference))
        cls.tensors = len(cls.arguments)
        if "host" not in cls.__dict__:
            cls.host = staticmethod(direct_host(cls))
        super().register()
        if "value" in cls.__dict__ and cls.value.op is None:
            cls.value.op = cls
        cls.gradients = tuple(make_gradient(cls, name) for name in cls.arguments)

    @classmethod
    def gradient_formula(cls, name):
        """The formula of the gradient by argument `name`, and the names of what it needs beside the gradient."""
        suffixes = ("", f"_{name}") if name == cls.arguments[0] else (f"_{name}",)
        for suffix in suffixes:
            if f"slope{suffix}" in cls.__dict__:
                slope = cls.__dict__[f"slope{suffix}"]
                return product_of(slope), _parameters(slope)
            if f"gradient{suffix}" in cls.__dict__:
                found = cls.__dict__[f"gradient{suffix}"]
                return found, _parameters(found)[1:]
        return None, ()

    @classmethod
    def _read_signature(cls):
        cls.names, cls.defaults = cls.arguments, cls.__dict__.get("argument_defaults", ())
        cls.saved = frozenset(position_of(name, cls.arguments) for name in cls.saves)

    @classmethod
    def signature(cls):
        """The arguments by name: a reference may be a ufunc, which has no signature."""
        first_default = len(cls.names) - len(cls.defaults)
        return inspect.Signature(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=cls.defaults[at - first_default] if at >= first_default else inspect.Parameter.empty,
            )
            for at, name in enumerate(cls.names)
        )

    @classmethod
    def by_memory(cls, *arrays):
        """What `quick` gives, walked over as the elements lie in memory, so that the result lies as PyTorch's does."""
        for each in arrays:
            if type(each) is np.ndarray and not each.flags.c_contiguous and any(each.strides):
                break
        else:  # in order, or one element for all
            return cls.quick(*arrays)
        present = [each for each in arrays if type(each) is np.ndarray]
        shape = broadcast_shape(cls.op_name, *[each.shape for each in present])
        order = result_order(shape, present)
        if order is None:
            return cls.quick(*arrays)
        return out_of_order(cls.quick(*[_turned(each, order) for each in arrays]), order)

    @classmethod
    def promoted(cls, arrays):
        """What `arrays` are computed in and give; a TypeError names the argument that is neither tensor nor number."""
        try:
            return cls.types(arrays[1:] if cls.condition else arrays)
        except TypeError:
            for position, (name, each) in enumerate(zip(cls.names, arrays, strict=True)):
                if not isinstance(each, numbers.Number) and not hasattr(each, "dtype"):
                    raise TypeError(
                        f"{cls.op_name}(): argument '{name}' (position {position + 1}) must be Tensor, "
                        f"not {type(each).__name__}"
                    ) from None
            raise

    @classmethod
    def check_shapes(cls, arrays):
        """Raise PyTorch's error where shapes do not broadcast."""
        broadcast_shape(cls.op_name, *[each.shape for each in arrays if hasattr(each, "shape")])

    @classmethod
    def sized(cls, draw, M=4096, N=4096):
        """The elements of a sample again and again, so that they are in the formula's domain."""

        def elements(sample):
            arrays = [each for each in sample if isinstance(each, np.ndarray)]
            return sum(each.size for each in arrays if each.dtype == draw.dtype), sum(each.size for each in arrays)

        largest = max(cls.samples(draw), key=elements)
        return tuple([draw.again(each, M, N) if isinstance(each, np.ndarray) else each for each in largest])

    @classmethod
    def host_by_rule(cls, arrays):
        """The reference of arguments of any dtypes, which are cast to what the rule says."""
        compute, result = cls.promoted(arrays)
        cast = [as_computed(each, compute) for each in arrays]
        if cls.condition:
            cast[0] = np.asarray(arrays[0]).astype(np.bool_, copy=False)
        cls.check_shapes(cast)
        found = np.asarray(cls.by_memory(*cast))
        return found if found.dtype == result else found.astype(result)

    @classmethod
    def saved_where(cls, edges):
        """Only what the wanted gradients need: the rest may then be written over."""
        return cls.needed_by(edges) if cls.backward is Pointwise.backward else cls.saved

    @classmethod
    def needed_by(cls, edges):
        """The positions of what the formulas of the wanted gradients name."""
        plans = [plan for edge, plan in zip(edges, cls.gradients, strict=True) if edge is not None and plan is not None]
        return {at for _, _, needs in plans for at in needs}

    def forward(self, *arrays):
        """One launch of the family's kernel."""
        compute, result = self.promoted(arrays)
        return launch_pointwise(self.op_name, self.value, arrays, compute, result, self.condition)

    def backward(self, grad):
        """The gradient for each argument that wants it: composed of ops when recorded itself, else one launch."""
        return tuple([
            None if edge is None or plan is None else self._gradient(grad, *plan)
            for edge, plan in zip(self.edges, self.gradients, strict=True)
        ])  # fmt: skip

    def _gradient(self, grad, op, value, needs):
        needed = [self.output if at < 0 else self.inputs[at] for at in needs]
        return value.fn(grad, *needed) if self.recording else op.apply(grad, *needed)

    @classmethod
    def batch(cls, call):
        """Broadcast, and promoted as one example is: in a batch, tensors without dimensions have one."""
        tensors = call.tensors()
        if len(tensors) == 1:
            return cls.apply(*call.args)
        args = call.aligned()
        typed = [at for at in tensors if at or not cls.condition]
        if len({args[at].array.dtype for at in typed}) > 1:
            plain = [each for each in args[cls.condition :] if not hasattr(each, "array")]
            examples = [_Outside(args[at].array.dtype, call.rank(at)) for at in typed]
            common = dtypes.result_type(*examples, *plain)
            if common is not dtypes.result_type(*[args[at].array for at in typed], *plain):
                for at in typed:
                    args[at] = args[at].to(common)
        return cls.apply(*args)


def _turned(array, order):
    """An array's dimensions in another order, with those it is broadcast over; numbers as they are."""
    if type(array) is not np.ndarray:
        return array
    return array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(order)


class _Outside(NamedTuple):
    """What promotion looks at of an array."""

    dtype: np.dtype
    ndim: int


def _parameters(value):
    code = value.fn.__code__
    return code.co_varnames[: code.co_argcount]


class PointwiseGradient(Pointwise, abstract=True):
    """The gradient of a pointwise op by one of its arguments."""

    @classmethod
    def batch(cls, call):
        """As the family's; gradients are given for whole results."""
        return super().batch(call.all_batched())

    backward = Op.backward  # a gradient that is itself recorded is composed of ops, so this one is never recorded


def make_gradient(member, name):
    """The op that gives the gradient by argument `name`, its formula and what that needs; None where there is none."""
    value, parameters = member.gradient_formula(name)
    if value is None:
        return None

    def samples(draw):
        for sample in member.samples(draw):
            output = np.asarray(member.host(*sample))
            named = dict(zip(member.arguments, sample, strict=False), output=output)
            if output.dtype.kind in "fV":
                yield (draw(*output.shape).astype(output.dtype), *(named[each] for each in parameters))

    suffix = "" if len(member.arguments) == 1 else f"_{name}"
    parts = {
        "__doc__": f"The gradient of {member.op_name} by {name}.",
        "__module__": member.__module__,
        "op_name": f"{member.op_name}_gradient{suffix}",
        "arguments": ("grad", *parameters),
        "value": value,
        "reference": staticmethod(value.fn),
        "samples": staticmethod(samples),
        "saves": (),
    }
    quick = member.__dict__.get(f"quick_gradient{suffix}")
    if quick is not None:
        parts["quick"] = quick
    op = type(f"{member.__name__}Gradient{suffix}", (PointwiseGradient,), parts)
    return op, value, tuple(position_of(each, member.arguments) for each in parameters)


def product_of(slope):
    """The formula grad * slope(...). A slope that needs nothing would be a constant, which Triton rounds to float32."""
    return _PRODUCTS[len(_parameters(slope)) - 1](slope)


def _product_1(slope):
    @formula
    def product(grad, a):
        return grad * slope(a)

    return product


def _product_2(slope):
    @formula
    def product(grad, a, b):
        return grad * slope(a, b)

    return product


def _product_3(slope):
    @formula
    def product(grad, a, b, c):
        return grad * slope(a, b, c)

    return product


_PRODUCTS = (_product_1, _product_2, _product_3)


# ---------------------------------------------------------------- the families


def straddling():
    """Shapes that straddle the kernel's blocks: a scalar, one, none, odd, one past a block."""
    return (), (1,), (0, 3), (5, 7), (1025,)


class Unary(Pointwise, abstract=True):
    """One argument."""

    arguments: tuple[str, ...] = ("input",)

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield (draw(*shape),)
        yield (draw(6, 4).T,)
        yield (draw(9)[::-2],)
        yield (np.broadcast_to(draw(3, 1), (3, 4)),)


class Floating(Unary, abstract=True):
    """One argument; integers become floating point."""

    types = staticmethod(floating)


class Step(Unary, abstract=True):
    """One argument; the result is constant almost everywhere, so that its gradient is zero."""

    def backward(self, grad):
        """Zero."""
        return (grad.new_zeros(grad.shape),)

    @staticmethod
    def samples(draw):
        for shape in straddling():  # between the steps, all of which are at multiples of a half
            yield (draw.integers(-4, 4, *shape).astype(draw.dtype) + draw.uniform(0.1, 0.4, *shape),)
        yield (draw.uniform(0.1, 0.4, 6, 4).T,)


class Binary(Pointwise, abstract=True):
    """Two arguments, broadcast and promoted."""

    arguments: tuple[str, ...] = ("input", "other")

    @staticmethod
    def samples(draw):
        for shape in straddling():
            yield draw(*shape), draw(*shape)
        yield draw(5, 1, 4), draw(3, 1)
        yield draw(4, 6).T, draw(6, 4)[::-1]
        yield draw(7), 2.5


class Comparison(Binary, abstract=True):
    """Two arguments, compared in their common dtype; the result is bool."""

    types = staticmethod(predicate)

    @classmethod
    def call(cls, input, other):
        """Refuse a number that comes first, as PyTorch does."""
        if not hasattr(input, "array"):
            raise TypeError(
                f"{cls.op_name}() received an invalid combination of arguments - got ({type(input).__name__}, "
                f"{type(other).__name__}), but expected (Tensor input, Tensor or Number other)"
            )
        return cls.apply(input, other)
