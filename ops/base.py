"""Op: one class is one op, an instance is one recorded call of it and a node of the graph.

A concrete op states, in this order: its kernels, `reference`, `forward`, `backward`, `samples`. Making the class checks
that they are there and enters it in `TABLE`, from which the function and method namespaces, the tests, `tritorch
validate` and the tuner are all derived. Nothing else has to be edited to add an op.

Arguments are positional and have PyTorch's names in `reference`; tensors arrive in `reference`, `host` and `forward` as
arrays, everything else as it was given. `backward` sees Tensors, which this room only knows by their methods.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from tritorch.ops.autocast import Policy
from tritorch.ops.guard import guarded, need_tensors
from tritorch.ops.promotion import KIND_NAMES
from tritorch.runtime import dtypes
from tritorch.runtime.device import CPU

TABLE: dict[str, type[Op]] = {}
EXPORTS: dict[str, object] = {}  # "softmax", "Tensor.softmax", "nn.functional.softmax" -> what stands there
MAKERS: dict[str, Callable] = {}  # what makes arguments that are neither tensors nor plain values, by name

ADDED = object()  # what `backward` returns for a gradient that it added to `self.present_gradient(position)` itself
RESULT = -1  # among the positions of what is saved

MOST_TENSORS = 64  # how many tensors an op that takes any number of them may save


def position_of(name, arguments):
    """Where something that is saved stands among the arguments, or RESULT."""
    return RESULT if name == "output" else arguments.index(name)


class Node:
    """A step of the recorded graph.

    edges     for each argument, where its gradient goes: (node or leaf, output number, shape, NumPy dtype), or None
    sequence  a number larger than those of all nodes before it
    inputs    the arguments, without the tensors that `backward` does not read
    versions  (tensor, version when saved) of those that it does read
    results   the saved outputs
    packed    what hooks made of all that is saved, where there are hooks
    """

    edges: list
    sequence = 0
    inputs: tuple = ()
    versions: list | None = None
    results: tuple = ()
    packed: Any = None
    hooks: dict | None = None
    recording = False
    shown_as: str | None = None  # what PyTorch calls the step, where that is not the class's name

    def name(self):
        """The node's name as PyTorch spells it, such as SoftmaxBackward0."""
        return f"{self.shown_as or type(self).__name__}Backward0"

    def __repr__(self):
        return f"<{self.name()} object at {id(self):#x}>"


class Op(Node):
    """Base of all ops; see the module's text. Class attributes that a member may set:

    exports   where its public function stands, such as ("softmax", "Tensor.softmax").
    saves     which arguments `backward` reads, by name (`*tensors`: "tensors" for all), and "output" if it reads
              the result. Others are let go of.
    saved_results  of several results, which ones "output" means, by position; None for all.
    called_by names of functions whose work is one call of this op, with sizes such as its `sized` has: for the tuner.
    tensors   how many arguments, the first ones, are tensors, if all others are plain and there is one result; else 0.
    views     True where the result shares memory with the first argument.
    creates   True where no argument is a tensor: the device comes last.
    widens    True where half-precision arrays are computed in float32 on the host and narrowed once at the end.
    passed    names of kernels' parameters that take numbers which change from call to call, such as a seed, and which
              nothing else depends on: `numbers` says which, by default the arguments of these names, and gives
              none for a call that takes none. They are not specialised.
    autocast  what becomes of floating-point arguments where autocast is on, such as LOWER; None for nothing.
    """

    abstract = True
    op_name: str
    exports: tuple[str, ...] = ()
    called_by: tuple[str, ...] = ()
    saves: tuple[str, ...] = ()
    saved_results: tuple[int, ...] | None = None
    tensors = 0
    views = False
    creates = False
    widens = False
    passed: tuple[str, ...] = ()
    autocast: Policy | None = None
    names: tuple[str, ...] = ()  # the arguments' names, from `reference`
    defaults: tuple = ()
    saved: frozenset[int] = frozenset()  # positions of the arguments that `backward` reads; RESULT for the result

    def __init_subclass__(cls, abstract=False, **rest):
        super().__init_subclass__(**rest)
        cls.abstract = abstract
        if not abstract:
            cls.register()

    @classmethod
    def register(cls):
        """Check that the op is whole, derive what dispatch needs, and enter it in the table."""
        cls.op_name = cls.__dict__.get("op_name") or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()
        for part in ("reference", "forward", "samples"):
            if not callable(getattr(cls, part, None)):
                raise TypeError(f"op {cls.op_name!r} ({cls.__module__}.{cls.__name__}) has no {part}")
        if not cls.__doc__:
            raise TypeError(f"op {cls.op_name!r} ({cls.__module__}.{cls.__name__}) has no docstring")
        if cls.op_name in TABLE:
            raise TypeError(
                f"op {cls.op_name!r} is registered twice, by {TABLE[cls.op_name].__module__} and {cls.__module__}; "
                "was a module loaded under two names? Import tritorch.ops, never ops."
            )
        cls._read_signature()
        TABLE[cls.op_name] = cls
        for name in cls.exports:
            is_operator = name.startswith("Tensor.__") and len(cls.names) == 2
            enter(name, cls.operator(name.startswith("Tensor.__r")) if is_operator else cls.function())

    @classmethod
    def _read_signature(cls):
        parameters = [p for p in inspect.signature(cls.reference).parameters.values() if p.kind is not p.KEYWORD_ONLY]
        fixed = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
        cls.names = tuple(p.name for p in fixed)
        cls.defaults = tuple(p.default for p in fixed if p.default is not p.empty)
        variadic = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        saved = [position_of(name, cls.names) for name in cls.saves if name != variadic]
        if variadic in cls.saves:  # more positions than any call has
            saved.extend(range(len(cls.names), len(cls.names) + MOST_TENSORS))
        cls.saved = frozenset(saved)
        if cls.widens and "host" not in cls.__dict__:
            cls.host = classmethod(widened_host)
        elif getattr(cls.host, "__func__", None) is Op.host.__func__:
            cls.host = cls.reference  # no wrapper between dispatch and NumPy

    # -------------------------------------------------------------------------------- what a member writes

    @classmethod
    def host(cls, *arrays):
        """The op on the CPU: the reference, unless a member has a faster way, which is checked against it."""
        return cls.reference(*arrays)

    def backward(self, *grads):
        """The gradient of each argument, in order; None where there is none."""
        raise RuntimeError(f"derivative for {self.op_name} is not implemented")

    @staticmethod
    def differentiable_at(*sample):
        """Whether the reference has a derivative at a sample (no tie, no step), so that differences can check it."""
        return True

    @staticmethod
    def errors(draw):
        """Invalid inputs: yields (args, kwargs, exception class, part of the message)."""
        return ()

    @staticmethod
    def multiplications(output, *arguments):
        """How many pairs of numbers a call multiplies and sums; 0 for an op that is bound by memory."""
        return 0

    # Called with the arguments of a call, gives a function that does what `forward` does for all calls that lie alike,
    # or None: where launches take tables, which calls that are noted have no words for (autograd/planning.py).
    replay: Any = None

    # Arguments of a given size, for the tuner and the benchmark, such as `sized(draw, M=4096)`: names and defaults of
    # the sizes are its signature's, `draw` is a Draw; `fitted` is called on them. None where an op has not said how.
    sized: Any = None

    @staticmethod
    def terms(*arguments):
        """About how many terms a number of the result sums, one after the other, where the sizes do not tell."""
        return 1

    @classmethod
    def fitted(cls, *arguments):
        """Arguments that were drawn one by one made to fit each other, indices to what they point into, say."""
        return arguments

    @classmethod
    def batch(cls, call):
        """The op on a batch of examples, an Examples (batching.py); None where it has to run on each by itself."""

    @classmethod
    def saved_where(cls, edges):
        """The positions of what `backward` reads where only some arguments, whose edges are there, want a gradient."""
        return cls.saved

    @classmethod
    def numbers(cls, *values):
        """Of the arguments of a call, the numbers that the parameters in `passed` take."""
        return tuple([values[cls.names.index(name)] for name in cls.passed])

    @classmethod
    def rest(cls, *values):
        """What else a call depends on."""
        return [value for at, value in enumerate(values) if at >= len(cls.names) or cls.names[at] not in cls.passed]

    # -------------------------------------------------------------------------------- what a member reads

    @property
    def output(self):
        """The saved result, as a Tensor that continues this graph."""
        return self.results[0].unpack(self)

    @property
    def outputs(self):
        """The saved results of an op that has several."""
        return tuple([result.unpack(self) for result in self.results])

    # -------------------------------------------------------------------------------- calls

    @classmethod
    def apply(cls, *args):
        """Run the op on Tensors and record it; autograd puts the one dispatch point here."""
        raise RuntimeError("ops run through autograd: import tritorch first")

    @classmethod
    def function(cls):
        """The public function: PyTorch's argument names, by position or keyword, then `apply`."""
        call = getattr(cls, "call", None)
        function = guarded(call or cls._plain_call(), cls.op_name, write_out, cls.autocast, op=None if call else cls)
        function.__doc__, function.one_call = cls.__doc__, cls.one_call
        return function

    @classmethod
    def one_call(cls, *args, **kwargs):
        """The op and all its arguments where a call of the public function is one call of the op, else None."""
        if hasattr(cls, "call"):
            return None
        return cls, tuple(cls.bind(args, kwargs)) if kwargs or len(args) != len(cls.names) else args

    @classmethod
    def operator(cls, reflected=False):
        """What stands for the op in an expression: both operands, nothing else, straight to dispatch."""

        def operator(self, other):
            try:
                return cls.apply(self, other)
            except (TypeError, AttributeError, ValueError):
                if hasattr(other, "requires_grad") or isinstance(other, (int, float, np.generic)):
                    raise
                return NotImplemented  # Python asks the other operand, then says which operands do not go together

        operator.__name__ = operator.__qualname__ = cls.op_name
        operator.__doc__, operator.one_call = cls.__doc__, lambda self, other: (cls, (self, other))
        return of_tensor(operator) if reflected else operator

    @classmethod
    def _plain_call(cls):
        count, defaults = len(cls.names), cls.defaults
        needed = count - len(defaults)

        def call(*args, **kwargs):
            given = len(args)
            if kwargs or given < needed:
                args = cls.bind(args, kwargs)
            elif given < count:
                args += defaults[given - needed :]
            elif given > count:
                arguments = "argument" if count == 1 else "arguments"
                raise TypeError(f"{cls.op_name}() takes {count} positional {arguments} but {given} were given")
            return cls.apply(*args)

        if cls.signature.__func__ is Op.signature.__func__:
            call.__wrapped__ = cls.reference
        else:
            call.__signature__ = cls.signature()
        return call

    @classmethod
    def signature(cls):
        """The arguments of the public function, where it has none of its own."""
        return inspect.signature(cls.reference)

    @classmethod
    def bind(cls, args, kwargs):
        """All arguments in order, defaults filled in."""
        values = list(args)
        first_default = len(cls.names) - len(cls.defaults)
        for position in range(len(args), len(cls.names)):
            name = cls.names[position]
            if name in kwargs:
                values.append(kwargs.pop(name))
            elif position >= first_default:
                values.append(cls.defaults[position - first_default])
            else:
                raise TypeError(f'{cls.op_name}() missing 1 required positional arguments: "{name}"')
        if kwargs:
            raise TypeError(f"{cls.op_name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
        return values


def operator_of(function):
    """A function of two operands as what stands for it in an expression; others than it takes are Python's matter."""

    @functools.wraps(function)
    def operator(self, other):
        try:
            return function(self, other)
        except (TypeError, AttributeError, ValueError):
            if hasattr(other, "requires_grad") or isinstance(other, (int, float, np.generic, np.ndarray)):
                raise
            return NotImplemented

    return operator


def of_tensor(method):
    """A reflected operator, which only a Tensor has: called by its name on a number, it is a TypeError."""

    @functools.wraps(method)
    def checked(self, other):
        need_tensors(method.__name__, self=self)
        return method(self, other)

    return checked


def export(*names, out=False, autocast=None):
    """Make a function public under `names`, such as "var", "Tensor.var" or "nn.functional.mse_loss".

    With `out`, it takes `out=` as ops do, in the forms that are no methods. `autocast` is as in Op.
    """

    def keep(function):
        for name in names:
            write = write_out if out and not name.startswith("Tensor.") else None
            if inspect.isfunction(function):
                room, _, last = name.rpartition(".")
                enter(name, guarded(function, last, write, autocast, room == "nn.functional"))
            else:
                enter(name, function)
        return function

    return keep


def maker(function):
    """Enter what makes arguments of ops, so that a call can be described and made again.

    It is pure and takes plain values, dtypes and tuples of them: a named tuple's class, or a function whose result says
    by its attribute `made_by`, (name, arguments), where it comes from.
    """
    MAKERS[function.__name__] = function
    return function


def one_call(decide):
    """Say of a function that its calls are one op's: `decide`, of the same arguments, gives the op and what it gets.

    It stands below `export`; its in-place form then writes the result straight over the first argument.
    """

    def keep(function):
        function.one_call = decide
        return function

    return keep


def enter(name, function):
    """Put `function` where `name` says; a name is taken once."""
    if name in EXPORTS:
        raise TypeError(f"{name!r} is exported twice")
    EXPORTS[name] = function


def write_out(out, result):
    """Copy `result` into the tensor (or tuple of tensors) a user passed as `out=`, resizing empty ones."""
    if isinstance(result, tuple):
        for each, value in zip(out, result, strict=True):
            write_out(each, value)
        return result._make(out) if hasattr(result, "_make") else out
    if result.dtype.category > out.dtype.category:
        raise RuntimeError(
            f"result type {KIND_NAMES[result.dtype.name]} can't be cast to the desired output type "
            f"{KIND_NAMES[out.dtype.name]}"
        )
    if result.requires:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, but one of the arguments "
            "requires grad."
        )
    if out.shape != result.shape:
        out.resize_(result.shape)
    out.copy_(result)
    return out


_HALVES = frozenset(d.numpy for d in dtypes.ALL if d.numpy != d.compute)


def widened_host(cls, *arrays):
    """Run the reference on float32 where arrays are half precision, and narrow the floating results once."""
    half = next((a.dtype for a in arrays if isinstance(a, np.ndarray) and a.dtype in _HALVES), None)
    run = cls.fast if hasattr(cls, "fast") else cls.reference
    if half is None:
        return run(*arrays)
    wide = [a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype in _HALVES else a for a in arrays]
    results = run(*wide)
    if isinstance(results, tuple):
        return tuple(r.astype(half) if r.dtype == np.float32 else r for r in results)
    return results.astype(half) if results.dtype == np.float32 else results


def device_of(array):
    """What a host array belongs to when an op makes one: references only ever make CPU arrays."""
    return CPU if isinstance(array, np.ndarray) else array.device
