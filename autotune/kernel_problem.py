"""A kernel of a user's own as a problem: its inputs of some sizes, its launch, and its reference."""

from __future__ import annotations

import functools
import inspect
import math
import zlib

import numpy as np

from tritorch.autotune.comparing import Truth
from tritorch.autotune.problem import Call, Problem, Work, failure_text
from tritorch.autotune.user_files import allow, kernel_at, load
from tritorch.autotune.values import Hollow, Repeating
from tritorch.runtime import dtypes, transfer
from tritorch.runtime.quiet import restore, silence
from tritorch.validation import tolerance


class KernelProblem(Problem):
    """A user's kernel, `tritorch.autotune.kernel(space=..., inputs=..., reference=..., grid=...)`, at some sizes.

    `sizes` has values for all sizes that its `inputs` names. In JSON it is `{"file": path, "kernel": name, "sizes":
    {...}, "dtype": "float32"}`, or "module" in the place of "file".
    """

    kind = "kernel"

    def __init__(self, kernel, dtype="float32", sizes=None, where=None):
        self.kernel, self.where = kernel, where or str(kernel.file.resolve())
        self.name, self.dtype = kernel.__name__, _dtype_name(dtype)
        for part in ("inputs", "reference", "grid"):
            if getattr(kernel, part) is None:
                raise ValueError(f"kernel {self.name} has no {part}=, without which it cannot be tuned")
        self.sizes = _all_sizes(kernel, sizes or {})
        self.label = " ".join(f"{name}={value}" for name, value in self.sizes.items())
        allow(self.where)  # it is here, so the processes that try it may have it

    @classmethod
    def sized(cls, place, dtype="float32", sizes=None):
        """The problem of a kernel that a user names: `path/to/file.py:kernel` or `package.module:kernel`."""
        kernel, where = kernel_at(place)
        return cls(kernel, dtype, sizes, where)

    def to_json(self):
        """Where the kernel is, and the sizes."""
        place = "file" if self.where.endswith(".py") else "module"
        return {place: self.where, "kernel": self.name, "sizes": self.sizes, "dtype": self.dtype}

    @classmethod
    def from_json(cls, found):
        """The problem, if its file is loaded or was named by the user: a description makes nothing be imported."""
        where, name = found.get("file", found.get("module")), found.get("kernel")
        if not isinstance(where, str) or not isinstance(name, str):
            raise ValueError(f"a kernel's problem has a file or a module, and a kernel, not {where!r} and {name!r}")
        sizes = found.get("sizes", {})
        if not isinstance(sizes, dict):
            raise ValueError(f"kernel {name}: sizes is {sizes!r}, which is no object of names and values")
        return cls(load(where, name), found.get("dtype", "float32"), sizes, where)

    def call(self, device, values=True):
        """The kernel's launch on a device."""
        draw = (Repeating if values else Hollow)(dtypes.NAMES[self.dtype].numpy, zlib.crc32(self.name.encode()))
        return KernelCall(self, device, draw, values)


class KernelCall(Call):
    """One launch, again and again: results are made anew, and so is what the kernel reads before it writes it.

    Without `values` it is launched on what its inputs give, and has no results.
    """

    def __init__(self, problem, device, draw, values=True):
        self.kernel, self.device, self.values = problem.kernel, device, values
        self.host = self._bound(self.kernel.inputs(draw, **problem.sizes))
        arrays = [each for value in self.host.values() for each in _arrays_in(value)]
        if not arrays:
            raise ValueError(f"kernel {problem.name}: its inputs are no NumPy arrays")
        flops = self.kernel.flops(**problem.sizes) if self.kernel.flops else 0
        self.work = Work(int(flops), sum(each.nbytes for each in arrays), dtypes.of(arrays[0].dtype).name)
        results = self._expected[0] if values else ()
        self._placed = {name: self._on_device(value) for name, value in self.host.items() if name not in results}

    def _bound(self, inputs):
        """The arguments by name, in the order of the parameters."""
        names = [name for name in self.kernel.parameters if name not in self.kernel.space.knobs]
        if not isinstance(inputs, dict):
            values = inputs if isinstance(inputs, tuple) else (inputs,)
            if len(values) > len(names):
                raise ValueError(f"kernel {self.kernel.__name__}: {len(values)} inputs; it takes {', '.join(names)}")
            inputs = dict(zip(names, values, strict=False))
        for name in inputs:
            if name not in names:
                raise ValueError(f"kernel {self.kernel.__name__}: no input {name!r}; it takes {', '.join(names)}")
        return {name: inputs[name] for name in names if name in inputs}

    @functools.cached_property
    def _expected(self):
        """(results of the reference by name, names of those that the kernel reads as well)."""
        found = self._referred()
        for name in found:
            if not isinstance(self.host.get(name), np.ndarray):
                raise ValueError(
                    f"kernel {self.kernel.__name__}: its reference gives {name!r}; it takes results by the names of "
                    f"parameters that are arrays, in a dict"
                )
        named = [name for name in found if name in self.kernel.reference_names]
        return {name: Truth(value) for name, value in found.items()}, frozenset(
            named if named and self._are_read(named, found) else ()
        )

    def _are_read(self, named, found):
        """Whether results that the reference is given are read: whether other values in them make others of it."""
        try:
            other = self._referred(unset=named)
        except Exception:  # such values are of no use to it
            return True
        return not all(np.array_equal(other[name], found[name], equal_nan=_is_floating(found[name])) for name in found)

    def _referred(self, unset=()):
        """The reference's results by name, quietly; it may write to what it is given."""
        before = silence()
        try:
            given = {name: _wide(self.host[name]) for name in self.kernel.reference_names if name in self.host}
            found = self.kernel.reference(**given | {name: _unset(given[name]) for name in unset})
        except Exception as error:
            text = f"kernel {self.kernel.__name__}: its reference failed with {failure_text(error)}"
            raise ValueError(text) from error
        finally:
            restore(before)
        if not isinstance(found, dict) or not found:
            raise ValueError(
                f"kernel {self.kernel.__name__}: its reference gives {found!r:.40}; it takes a dict of results"
            )
        return {name: np.asarray(value) for name, value in found.items()}

    def run(self):
        """Launch it; the results are those that the reference names."""
        expected, read = self._expected if self.values else ({}, ())
        results = {name: self._made(name, name in read) for name in expected}
        self.kernel[self.kernel.grid](
            **{name: results[name] if name in results else self._placed[name] for name in self.host}
        )
        return tuple(results.values())

    def _on_device(self, value):
        if isinstance(value, tuple):
            return tuple(map(self._on_device, value))
        return transfer.mirror(value.copy("K"), self.device) if isinstance(value, np.ndarray) else value

    def _made(self, name, read):
        """Memory for a result; a fresh copy of the argument where the kernel reads it or it lies in no plain order."""
        value = self.host[name]
        if read or not value.flags.c_contiguous:
            return self._on_device(value)
        return transfer.empty(value.shape, value.dtype, self.device)

    def compare(self, results):
        """(largest difference in units of what is allowed, where)."""
        worst = 0.0, ""
        for (name, truth), mine in zip(self._expected[0].items(), results, strict=True):
            error, where = self._difference(truth, mine)
            if error > worst[0]:
                worst = error, f"{name}, {where}"
        return worst

    def _difference(self, truth, mine):
        if self.kernel.tolerance is None:
            return truth.compare(mine, self._length(truth.size))
        # In units of what the table allows: a difference of the kernel's own allows so many times as much.
        error, where = truth.compare(mine, 1)
        relative, _ = tolerance(mine.dtype)
        return error * relative / self.kernel.tolerance if relative else error, where

    def _length(self, size):
        """About how many products each of `size` results sums; a guess by sizes where nobody said how many."""
        if self.work.flops:
            return max(1, self.work.flops // (2 * max(size, 1)))
        sizes = sorted((each.size for value in self.host.values() for each in _arrays_in(value)), reverse=True)
        most, next_most = (*sizes, 1)[:2]
        return max(1, most // max(size, 1), math.isqrt(most * next_most // max(size, 1)))


def _arrays_in(value):
    if isinstance(value, tuple):
        return [each for part in value for each in _arrays_in(part)]
    return [value] if isinstance(value, np.ndarray) else []


def _is_floating(array):
    return array.dtype.kind in "fV"


def _wide(value):
    """A copy with floating-point arrays in float64, also in tuples."""
    if isinstance(value, tuple):
        return tuple(map(_wide, value))
    if not isinstance(value, np.ndarray):
        return value
    return value.astype(np.float64 if _is_floating(value) else value.dtype)


def _unset(array):
    """An array full of what no result is: NaN, or the other values."""
    return np.full_like(array, np.nan) if _is_floating(array) else ~array


def _dtype_name(dtype):
    name = dtype if isinstance(dtype, str) else dtypes.of(getattr(dtype, "numpy", dtype)).name
    if name not in dtypes.NAMES:
        raise ValueError(f"no dtype named {name!r}; there are {', '.join(each.name for each in dtypes.ALL)}")
    return name


def _all_sizes(kernel, given):
    """A value for each size of the kernel's inputs, in their order."""
    parameters = list(inspect.signature(kernel.inputs).parameters.values())[1:]
    names = [each.name for each in parameters]
    for name, value in given.items():
        if name not in names:
            raise ValueError(
                f"kernel {kernel.__name__}: no size {name!r}; its inputs take {', '.join(names) or 'none'}"
            )
        if not isinstance(value, int | float | str):
            raise ValueError(f"kernel {kernel.__name__}: size {name!r} is {value!r}; it takes a number or a text")
    missing = [each.name for each in parameters if each.default is each.empty and each.name not in given]
    if missing:
        raise ValueError(f"kernel {kernel.__name__}: its inputs need a size {missing[0]!r}: --shape {missing[0]}=...")
    return {each.name: given.get(each.name, each.default) for each in parameters}


PROBLEM = KernelProblem
