"""Problems made of ops: an op by its name, and its arguments by their description or by their sizes."""

from __future__ import annotations

import difflib
import inspect
import math
import zlib
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tritorch import creation
from tritorch.autograd.grad_mode import no_grad
from tritorch.autograd.inplace import write
from tritorch.autograd.variable import Variable
from tritorch.autotune.arguments import TensorSpec, described, from_json, made, spec_of, specs_in, to_json
from tritorch.autotune.comparing import Truth, compare_all
from tritorch.autotune.problem import Call, Problem, Work
from tritorch.autotune.values import MOST_BYTES, Hollow, Repeating, drawn
from tritorch.ops.base import TABLE
from tritorch.ops.host_op import HostOp
from tritorch.runtime import dtypes, transfer, views
from tritorch.runtime.device import INTERPRETER
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.precision import input_precision
from tritorch.runtime.quiet import restore, silence
from tritorch.validation import reduction_length, reference_in_float64

PASSING = frozenset(("seed", "offset", "step", "value"))  # arguments that decide nothing of what is launched
_SIZES = frozenset(("size", "shape", "output_size", "count"))  # arguments that say how large a result is
_LARGEST_SIZE = 1 << 31
_MOST_ARGUMENTS = 1 << 14
_MOST_SHOWN = 3  # tensors in a label


@dataclass(frozen=True)
class OpProblem(Problem):
    """A call of an op.

    arguments  in order, with a TensorSpec for each tensor
    dtype      of the first tensor, or of what an op makes from nothing
    sizes      (name, size) of each size of the op's `sized`, which made the arguments; None where they were described
    """

    name: str
    arguments: tuple
    dtype: str
    sizes: tuple | None = None

    kind = "op"

    @property
    def op(self):
        """The class of the op."""
        return TABLE[self.name]

    @classmethod
    def of(cls, op, args, values=True):
        """The problem of calling op class `op` with `args`, as dispatch gets them; by layout alone without `values`."""
        _tunable(op.op_name)
        args = args[:-1] if op.creates else _without_host_numbers(args)  # without the device
        names = [*op.names, *[f"tensor {at}" for at in range(len(args) - len(op.names))]]
        named = zip(args, names, strict=False)
        return _whole(op, tuple(described(each, f"{op.op_name}: argument '{name}'", values) for each, name in named))

    @classmethod
    def sized(cls, name, dtype="float32", sizes=None):
        """The problem of an op with arguments of a dtype and of the given sizes, by default those that it says."""
        op = _tunable(name)
        if op.sized is None:
            raise ValueError(f"op {name!r} does not say how arguments of a size are made: give them with --shapes")
        if dtype not in dtypes.NAMES or not dtypes.NAMES[dtype].is_floating_point:
            floating = ", ".join(each.name for each in dtypes.ALL if each.is_floating_point)
            raise ValueError(f"op {name!r}: no floating dtype named {dtype!r}; there are {floating}")
        whole = _sizes_of(op, sizes or {})
        kind = dtypes.NAMES[dtype]
        args = _made_by_sizes(op, Hollow(kind.numpy), whole)
        specs = tuple(described(each, f"op {name!r}", values=False) for each in args)
        return cls(name, specs, kind.name, tuple(whole.items()))

    @property
    def label(self):
        """Its sizes, or the shapes of its tensors and what else tells calls apart."""
        if self.sizes is not None:
            return " ".join(f"{name}={size}" for name, size in self.sizes)
        shapes = [str(spec) for spec in specs_in(self.arguments)]
        if len(shapes) > _MOST_SHOWN + 1:
            shapes[_MOST_SHOWN:] = [f"{len(shapes) - _MOST_SHOWN} more"]
        names = zip(self.op.names, self.arguments, strict=False)
        return " ".join([" x ".join(shapes), *_settings(names, bool(shapes))]).strip()

    def to_json(self):
        """Its op, and its sizes or its arguments."""
        if self.sizes is not None:
            return {"op": self.name, "dtype": self.dtype, "sizes": dict(self.sizes)}
        return {"op": self.name, "arguments": [to_json(each) for each in self.arguments]}

    @classmethod
    def from_json(cls, found):
        """The problem that `to_json` wrote, or people by hand; a ValueError in clear words where it is none."""
        unknown = sorted(set(found) - {"kind", "op", "arguments", "dtype", "sizes"})
        if unknown:
            raise ValueError(f"a problem of an op has no {unknown[0]!r}; it has op, and arguments or dtype and sizes")
        op = _tunable(found.get("op"))
        if "sizes" in found:
            if "arguments" in found:
                raise ValueError(f"op {op.op_name!r}: arguments and sizes; one of them says what it is called with")
            return cls.sized(op.op_name, found.get("dtype", "float32"), found["sizes"])
        arguments = found.get("arguments")
        if not isinstance(arguments, list) or len(arguments) > _MOST_ARGUMENTS:
            raise ValueError(f"op {op.op_name!r}: arguments are a list of up to {_MOST_ARGUMENTS}")
        words = [f"op {op.op_name!r}, argument {at + 1}" for at in range(len(arguments))]
        return _whole(op, tuple(map(from_json, arguments, words)))

    def call(self, device, values=True):
        """The call with arguments in memory."""
        return OpCall(self, device, values)


PROBLEM = OpProblem


# ---------------------------------------------------------------------------------------------------- what is checked


def op_called(name):
    """The name of the op that a name means: its own, or that of the one op behind a function; None where none is."""
    if name in TABLE:
        return name
    found = [
        op for op, kind in TABLE.items() if name in kind.called_by or any(_last(each) == name for each in kind.exports)
    ]
    return found[0] if len(found) == 1 else None


def _last(dotted):
    return dotted.rpartition(".")[2]


def _tunable(name):
    """The op of a name, or a ValueError saying why there is nothing to tune."""
    op = TABLE.get(name) if isinstance(name, str) else None
    if op is None:
        close = difflib.get_close_matches(str(name), TABLE)
        raise ValueError(f"no op named {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""))
    if op.views:
        raise ValueError(f"op {name!r} is a view and launches no kernel: there is nothing to tune")
    if issubclass(op, HostOp):
        raise ValueError(f"op {name!r} has no kernel, NumPy runs it on the host: there is nothing to tune")
    return op


def _whole(op, arguments):
    """The problem of an op with described arguments, where there are as many as the op takes."""
    least = len(op.names)
    variadic = any(each.kind is each.VAR_POSITIONAL for each in inspect.signature(op.reference).parameters.values())
    arguments += op.defaults[len(arguments) - least :] if least - len(op.defaults) <= len(arguments) < least else ()
    if len(arguments) < least or (len(arguments) > least and not variadic):
        names = ", ".join(op.names) + (", and tensors" if variadic else "")
        raise ValueError(f"op {op.op_name!r} takes {names}; got {len(arguments)} arguments")
    specs = list(specs_in(arguments))
    if not op.creates and not specs:
        raise ValueError(f"op {op.op_name!r}: none of its arguments is a tensor")
    _check_room(op, specs, arguments)
    kinds = [spec.dtype for spec in specs] + [dtypes.of(each).name for each in arguments if isinstance(each, np.dtype)]
    return OpProblem(op.op_name, arguments, kinds[0] if kinds else "none")


def _without_host_numbers(args):
    """The arguments, with a number in the place of a tensor on the host beside others on a GPU, as dispatch has it."""
    tensors = [each for each in args if isinstance(each, Variable)]
    if not any(each.device.is_cuda for each in tensors):
        return args
    on_host = {id(each) for each in tensors if each.device.is_host}
    return [each.array.item() if id(each) in on_host else each for each in args]


def _check_room(op, specs, arguments):
    if sum(spec.room[0] * spec.numpy.itemsize for spec in specs) > MOST_BYTES:
        raise ValueError(f"op {op.op_name!r}: its arguments take more than {MOST_BYTES >> 30} GiB")
    for name, value in zip(op.names, arguments, strict=False):
        sizes = value if isinstance(value, tuple) else (value,)
        if name in _SIZES and all(isinstance(each, int) for each in sizes) and math.prod(sizes) * 8 > MOST_BYTES:
            raise ValueError(f"op {op.op_name!r}: {name} is {value}, which takes more than {MOST_BYTES >> 30} GiB")


def _sizes_of(op, given):
    """All sizes of an op by name, those that are not given as its `sized` says."""
    parameters = list(inspect.signature(op.sized).parameters.values())[1:]
    known = {each.name: each.default for each in parameters}
    if not isinstance(given, dict):
        raise ValueError(f"op {op.op_name!r}: sizes are given by name")
    takes = f"it takes {' '.join(f'{name}={size}' for name, size in known.items())}"
    for name, size in given.items():
        if name not in known:
            raise ValueError(f"op {op.op_name!r} has no size {name!r}; {takes}")
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < _LARGEST_SIZE:
            raise ValueError(
                f"op {op.op_name!r}: size {name} is {size!r}; it takes a number from 0 to {_LARGEST_SIZE - 1}"
            )
    return known | given


def _made_by_sizes(op, draw, sizes):
    words = " ".join(f"{name}={size}" for name, size in sizes.items())
    before = silence()  # some compute arguments, of zeros where only their shapes are wanted
    try:
        args = op.sized(draw, **sizes)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, IndexError, MemoryError) as error:
        raise ValueError(f"op {op.op_name!r} cannot be called with {words}: {error}") from error
    finally:
        restore(before)
    return tuple(np.asarray(each) if isinstance(each, np.generic) else each for each in args)


def _settings(named, has_tensors):
    """What people tell calls of one op apart by, beside shapes: switches by name, other settings by name and value."""
    for name, value in named:
        if name in PASSING or value is None or value is False or isinstance(value, (float, np.dtype, TensorSpec)):
            continue
        if value is True:
            yield name
        elif _is_setting(value):
            if not has_tensors and name == "size":
                yield str(tuple(value))
            elif name.startswith(("dim", "count")) or not _is_plain(value):
                yield f"{name}={value}".replace(" ", "")


def _is_setting(value):
    plain = (int, str, slice, type(...))
    return all(map(_is_setting, value)) if isinstance(value, (tuple, list)) else isinstance(value, plain)


def _is_plain(value):
    """Whether a setting is nothing to speak of: strides and dilations of one, no padding, no lower end."""
    return all(map(_is_plain, value)) if isinstance(value, (tuple, list)) else value in (0, 1)


# ------------------------------------------------------------------------------------------------------------ the call


class _Held:
    """A tensor's memory, gaps and all, on the host and, once placed, on a device."""

    def __init__(self, spec, host):
        self.spec, self.host = spec, host

    def placed(self, device):
        """The same, with its memory on a device too, where something may have been put around it."""
        self.device, self.memory = device, transfer.mirror(self.host, device)
        return self

    def view(self, memory):
        """The tensor's own elements in some memory of its kind."""
        spec = self.spec
        return views.as_strided(memory, spec.shape, spec.steps, spec.room[1] * spec.numpy.itemsize)

    def tensor(self, private):
        """A Tensor of it, in a copy of the memory where it is `private`."""
        memory = self.memory
        if private:
            memory = transfer.empty(memory.shape, memory.dtype, self.device)
            write(memory, self.memory)
        return creation.wrap(self.view(memory), self.device)


def _held(spec, draw):
    """Memory for a tensor, with drawn values."""
    if spec.values is None and not spec.unique and not spec.sorted:
        return _Held(spec, drawn(spec, (spec.room[0],), draw))
    held = _zeros(spec)  # an order is along the tensor's own last dimension, whatever lies between
    values = drawn(spec, spec.shape, draw) if spec.values is None else np.reshape(spec.values, spec.shape)
    held.view(held.host)[...] = values
    return held


def _holding(array):
    """Memory that has the values of an array and lies as it does."""
    spec = spec_of(array, "an argument", values=False)
    if spec.strides is None and not spec.offset:
        return _Held(spec, array.reshape(-1))
    held = _zeros(spec)
    held.view(held.host)[...] = array
    return held


def _zeros(spec):
    return _Held(spec, np.zeros(spec.room[0], spec.numpy))


class OpCall(Call):
    """An op with arguments in memory; see problem.Call.

    Values are drawn by a seed that the op's name gives. The reference runs once, when results are first compared.
    """

    def __init__(self, problem, device, values=True):
        self.problem, self.op, self.device, self.values = problem, problem.op, device, values
        held = self._drawn() if values else _replaced(problem.arguments, _zeros)
        self._arguments = _replaced(held, lambda each: each.placed(device), _Held)
        self._work = self._truths = self._length = None

    # -------------------------------------------------------------------------------------------------- arguments

    def _drawn(self):
        problem, seed = self.problem, zlib.crc32(self.problem.name.encode())
        draw = Repeating(dtypes.NAMES[problem.dtype].numpy if problem.dtype != "none" else np.float32, seed)
        if problem.sizes is not None:
            args = self.op.fitted(*_made_by_sizes(self.op, draw, dict(problem.sizes)))
            return tuple(_holding(each) if isinstance(each, np.ndarray) else each for each in args)
        found = _replaced(problem.arguments, lambda spec: _held(spec, draw))
        arrays = [made(each) for each in _on_host(found)]
        for held, array, fit in zip(found, arrays, self.op.fitted(*arrays), strict=True):
            if fit is not array:
                held.view(held.host)[...] = fit
        return found

    def _passed(self, private):
        return [made(each) for each in _replaced(self._arguments, lambda held: held.tensor(private), _Held)]

    # ------------------------------------------------------------------------------------------------ what it does

    def run(self):
        """The call through dispatch; the results as a tuple of arrays."""
        args = self._passed(getattr(self.op, "in_place", False))
        with no_grad(), _zero_results(self.device.is_host and not self.values):
            outputs = self.op.apply(*args, self.device) if self.op.creates else self.op.apply(*args)
        results = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        if self._work is None:
            self._work = self._work_of(outputs, args, results)
        return tuple(each.array for each in results)

    @property
    def work(self):
        """The least that the call takes, by its results' sizes; of a call that did not run yet, without running it."""
        if self._work is None:
            dry = OpCall(self.problem, INTERPRETER, values=False)
            with recording_launches(run=False):
                dry.run()
            self._work = dry._work
        return self._work

    def _work_of(self, outputs, args, results):
        read = sum(spec.distinct_bytes for spec in specs_in(self.problem.arguments))
        written = sum(each.array.size * each.array.itemsize for each in results)
        return Work(2 * int(self.op.multiplications(outputs, *args)), read + written, self.problem.dtype)

    def compare(self, results):
        """The largest difference from the reference in float64 in units of what is allowed, and where it is.

        Floating-point results of more than some million elements are compared in evenly spaced pieces and looked
        through for NaN; see comparing.py.
        """
        self.prepare()
        tf32 = self.work.flops > 0 and self.work.dtype == "float32" and input_precision() == "tf32"
        return compare_all(self._truths, results, self._length, tf32)

    def prepare(self):
        """Run the reference."""
        if self._truths is None:
            sample = [made(each) for each in _on_host(self._arguments)]
            truth = reference_in_float64(self.op, sample)
            truth = tuple(truth) if isinstance(truth, (tuple, list)) else (truth,)
            self._length = _summed(self.op, sample, truth, self.work)
            self._truths = [Truth(each) for each in truth]


def _summed(op, sample, truth, work):
    """About how many terms an element of the result sums, which rounding errors grow with."""
    length = reduction_length(sample, truth)
    most = max((np.asarray(each).size for each in truth), default=1)
    return max(length, work.flops // 2 // max(most, 1), op.terms(*sample))


def _on_host(arguments):
    return _replaced(arguments, lambda held: held.view(held.host), _Held)


def _replaced(value, replace, kind=TensorSpec):
    """A described value with `replace(spec)` in the place of each spec."""
    if isinstance(value, kind):
        return replace(value)
    if type(value) in (tuple, list):
        return type(value)(_replaced(each, replace, kind) for each in value)
    return value


@contextmanager
def _zero_results(wanted):
    """Inside, results on the host begin as zeros: what reads them on the way finds nothing, not anything."""
    before = transfer.empty_on_host
    transfer.empty_on_host = np.zeros if wanted else before
    try:
        yield
    finally:
        transfer.empty_on_host = before
