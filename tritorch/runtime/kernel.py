"""Kernels: one object, compiled for a GPU or interpreted on NumPy arrays, and plain Python until its first use.

A `Kernel` imports nothing. On the first launch or compilation anywhere, `materialise` imports Triton, and every kernel
made so far becomes, in place, an object that is a `triton.JITFunction` as well, so what refers to it keeps referring.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from tritorch.runtime import interpreter, launcher, plans
from tritorch.runtime.language import LazyModule, constexpr, triton_lock, triton_missing

_pending: list[Kernel] = []  # kernels that Triton has not seen yet
_classes: dict[type, type] = {}  # a class of kernels -> the same class over JITFunction
_recordings: list[Recording] = []  # what `recording_launches` blocks are open


class Kernel:
    """A function in Triton's language: `kernel[grid](*arrays_and_numbers, **constants)` runs it where its arrays are.

    An array stands for its base pointer and dtype; strides go separately, in elements. If an argument (also in a tuple)
    is a CUDA array the kernel is compiled and launched on the current stream, else it is interpreted in place.
    `do_not_specialize` names integers whose value must not cause a recompilation (a seed, a step), as in Triton.
    """

    def __init__(self, fn, *, do_not_specialize=(), do_not_specialize_on_alignment=(), noinline=None):
        self.fn = fn
        self.__name__, self.__qualname__ = fn.__name__, fn.__qualname__
        self.__doc__, self.__module__, self.__globals__ = fn.__doc__, fn.__module__, fn.__globals__
        self._settings = {
            "do_not_specialize": _parameters_named(fn, "do_not_specialize", do_not_specialize),
            "do_not_specialize_on_alignment": _parameters_named(
                fn, "do_not_specialize_on_alignment", do_not_specialize_on_alignment
            ),
            "noinline": noinline,
        }
        _pending.append(self)

    def __getitem__(self, grid):
        return partial(self.launch if _recordings else self.start, grid if type(grid) is tuple else as_grid(grid))

    def __call__(self, *args, **keywords):
        if interpreter.state.depth:
            return interpreter.body_of(self)(*args, **keywords)
        return self.host_call(*args, **keywords)

    def launch(self, grid, *args, **keywords):
        """Run over `grid`, a tuple: compiled where an argument is on a GPU, else interpreted."""
        if _recordings and not _record(self, grid, args, keywords):
            return
        if _pending:
            materialise()
        try:
            array = launcher.find_device_array(args)
            if array is None and keywords:
                array = launcher.find_device_array(keywords.values())
            if array is None:
                interpreter.interpret(self, grid, args, keywords)
            else:
                launcher.launcher_of(self, array.device.index, args, keywords).run(grid, *args, **keywords)
        except Exception as error:
            note_failure(error, self, grid, args, keywords)
            raise

    start = launch  # a kernel that was launched on a GPU has what was generated for it in this place

    def host_call(self, *args, **keywords):
        """What calling the kernel outside kernels does: an error here, the formula itself for formulas."""
        name = self.__name__
        raise TypeError(f"kernel {name} cannot be called outside of kernels; launch it: {name}[grid](...)")

    # Triton hashes a function by its source, which would change when the kernel materialises.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __repr__(self):
        return f"Kernel({self.__module__}.{self.__qualname__})"


def _parameters_named(fn, setting, names):
    """`names`, one or several, as a tuple of parameters of a kernel."""
    names = (names,) if isinstance(names, str) else tuple(names)
    if names:
        parameters = fn.__code__.co_varnames[: fn.__code__.co_argcount]
        for name in names:
            if name not in parameters:
                raise TypeError(
                    f"kernel {fn.__name__}: {setting} takes names of its parameters ({', '.join(parameters)}), "
                    f"got {name!r}"
                )
    return names


def as_grid(grid):
    """A grid, an int or up to three, as a tuple."""
    return (grid,) if isinstance(grid, int) else tuple(grid)


class Launch(NamedTuple):
    """A launch as it was asked for: what `kernel[grid](*args, **keywords)` said."""

    kernel: Kernel
    grid: tuple
    args: tuple
    keywords: dict

    def arrays(self):
        """Every array among its arguments, also in tuples, on the host or on a GPU."""
        waiting = [*self.args, *self.keywords.values()]
        for value in waiting:  # which grows
            if isinstance(value, tuple):
                waiting.extend(value)
            elif hasattr(value, "strides") and hasattr(value, "dtype"):
                yield value


def note_failure(error, kernel, grid, args, keywords):
    """Let an exception tell, as `failed_launch`, the innermost Launch that ended with it."""
    if not hasattr(error, "failed_launch"):
        error.failed_launch = Launch(kernel, grid, args, keywords)


class Recording(NamedTuple):
    """Where launches are noted, by its `append`, and whether they are carried out as well."""

    launches: list
    run: bool


@contextmanager
def recording_launches(run=True, launches=None):
    """Append a `Launch` to `launches`, a new list by default, for each launch inside the block; gives that list.

    With run=False nothing is carried out, so results stay unset and no GPU is needed. A list keeps every array alive:
    for a long program give an object whose `append` keeps only what is wanted.
    """
    recording = Recording([] if launches is None else launches, run)
    with plans.forbidden():
        _recordings.append(recording)
        try:
            yield recording.launches
        finally:
            _recordings.remove(recording)


def is_recording():
    """Whether a `recording_launches` block is open."""
    return bool(_recordings)


def _record(kernel, grid, args, keywords):
    """Note a launch in every recording; gives whether all of them want it carried out."""
    for recording in _recordings:
        recording.launches.append(Launch(kernel, grid, args, keywords))
    return all(recording.run for recording in _recordings)


def materialise():
    """Import Triton, and make every kernel so far a JITFunction; a RuntimeError says why where there is no Triton."""
    reason = triton_missing()
    if reason:
        raise RuntimeError(reason)
    with triton_lock:
        if not _pending:
            return
        _import_triton()
        modules = {id(kernel.__globals__): kernel.__globals__ for kernel in _pending}
        for names in modules.values():
            for name, value in list(names.items()):
                if isinstance(value, LazyModule | constexpr):
                    names[name] = value.load()
        for kernel in tuple(_pending):
            kernel.__class__ = _materialised(type(kernel))
        _pending.clear()


def _import_triton():
    # Compiling is broken in a process where Triton was imported to interpret; our interpreter does not need the switch.
    os.environ.pop("TRITON_INTERPRET", None)
    import triton.language
    from triton.runtime.jit import JITFunction

    if not isinstance(triton.language.sum, JITFunction):
        raise RuntimeError(
            "triton was imported with TRITON_INTERPRET=1, which breaks compiling in the whole process. Unset it, use "
            "device='interpreter' (or TRITORCH_DEVICE=interpreter) to run kernels on the host."
        )


def _materialised(cls):
    found = _classes.get(cls)
    if found is None:
        from triton.runtime.jit import JITFunction

        namespace = {"__getattr__": _complete, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
        found = _classes[cls] = type(cls.__name__, (cls, JITFunction), namespace)
    return found


def _complete(kernel, name):
    """Let Triton read the source of a kernel when something that Triton keeps is first asked for: most never are."""
    if name.startswith("__"):
        raise AttributeError(f"{kernel!r} has no attribute {name!r}")
    with triton_lock:
        if "pre_run_hooks" not in kernel.__dict__:  # the last one that JITFunction sets
            from triton.runtime.jit import JITFunction

            JITFunction.__init__(kernel, kernel.fn, **kernel._settings)
    try:
        return kernel.__dict__[name]
    except KeyError:
        raise AttributeError(f"{kernel!r} has no attribute {name!r}") from None
