"""A kernel of a user's own that chooses its config: `add[grid](x, y, out, n)`, and what is needed to tune it."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path

import numpy as np

from tritorch.autotune.key import module_of
from tritorch.autotune.recovery import let_go
from tritorch.autotune.tunable import TunableKernel
from tritorch.runtime import transfer
from tritorch.runtime.binding import OPTIONS

_ABSENT = inspect.Parameter.empty
_NUMBERS = (bool, int, float, np.generic)


class SelfTuned(TunableKernel):
    """A kernel that is launched like any other of Triton's, `kernel[grid](*arguments)`, but for its knobs.

    Its config is looked up by the arguments that its `key` and its default name, by its constants that are no knobs,
    and by dtype and alignment of all arrays. Integers count by bucket, constants as they are. Knobs given in the call
    win. Arguments may be Tensors, arrays and objects with `__cuda_array_interface__`; on memory of the host the kernel
    is interpreted. A grid is a tuple, an int, or a function of all arguments and knobs by name.

    inputs     `inputs(draw, **sizes)` gives the arguments of a launch to tune on, as a tuple or by name; the names of
               the sizes and what they are if nobody says otherwise stand in its signature
    reference  from those arguments that it names, NumPy arrays of float64, the expected results by the names of the
               parameters they are written to: `{"out": array}`
    grid       the grid of such a launch
    tolerance  the relative difference from the reference that is allowed; None for that of the result's dtype
    flops      how many multiplications and additions a launch makes, a function of sizes
    """

    def __init__(
        self,
        fn,
        space,
        default=None,
        key=(),
        *,
        reference=None,
        inputs=None,
        grid=None,
        tolerance=None,
        flops=None,
        **settings,
    ):
        settings = {name: given or getattr(fn, name, ()) for name, given in settings.items()}
        fn = getattr(fn, "fn", fn)  # of a kernel that is Triton's already, whose settings it keeps
        self.reference, self.inputs, self.grid = reference, inputs, grid
        self.tolerance, self.flops = tolerance, flops
        self.file = Path(fn.__code__.co_filename)
        self.parameters = {each.name: each for each in inspect.signature(fn).parameters.values()}
        constants = [name for name, each in self.parameters.items() if "constexpr" in str(each.annotation)]
        self.exact = frozenset(constants)
        self.reference_names = _reference_names(fn.__name__, self.parameters, reference)
        sizes = list(inspect.signature(default).parameters)[1:] if default else []
        named = [key] if isinstance(key, str) else list(key)
        rest = [name for name in constants if name not in space.knobs]
        facts = [name for name in dict.fromkeys(named + rest) if name not in sizes]
        _check_names(fn.__name__, self.parameters, space, (*sizes, *facts))
        if default is None:
            default = _default_of(fn.__name__, space)
        super().__init__(fn, space, default, facts, **settings)
        self._plans: dict = {}  # types of arguments -> the function that launches with such

    @property
    def kernel_name(self):
        """Its module and name: the same in the program that it is part of as in a sweep, which imports its file."""
        return f"{module_of(self.fn)}.{self.__qualname__}"

    def __getitem__(self, grid):
        return partial(self._run, grid)

    def _run(self, grid, *args, **keywords):
        kinds = (*map(type, args), *keywords, *map(type, keywords.values())) if keywords else tuple(map(type, args))
        plan = self._plans.get(kinds) or self._learn(kinds, args, keywords)
        return plan(grid, *args, **keywords)

    def _learn(self, kinds, args, keywords):
        """The function that launches with arguments of these types, made for them."""
        try:
            given = self._signature().bind(*args, **keywords).arguments
        except TypeError as error:
            raise TypeError(f"kernel {self.__name__}: {error}") from None
        for name in self.parameters:
            if name not in given and name not in self.space.knobs and self.parameters[name].default is _ABSENT:
                raise TypeError(f"kernel {self.__name__}: missing a required argument: {name!r}")
        plan = self._plans[kinds] = _Plan(self, given).function()
        return plan

    def _signature(self):
        """The parameters with the options of a launch behind them; what stands behind a knob may be left out here."""
        may_be_absent, found = False, []
        for name, each in self.parameters.items():
            may_be_absent = may_be_absent or name in self.space.knobs
            default = None if may_be_absent and each.default is _ABSENT else each.default
            found.append(each.replace(default=default, annotation=_ABSENT))
        return inspect.Signature(
            [*found, *(inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None) for option in OPTIONS)]
        )

    def _failed(self, error, config, arrays, **known):
        """Let go of a config that cannot be launched, where another is known; else the error stands."""
        let_go(error, self, config, arrays, known)


class _Plan:
    """What a launch with arguments of certain types does, as the text of a function."""

    def __init__(self, kernel, given):
        self.kernel, self.given = kernel, given
        self.names = {"_absent": None, "_ask": kernel.config, "_begin": super(SelfTuned, kernel).__getitem__}
        self.names |= {"_unwrap": unwrap, "_flat": _arrays_in, "_failed": kernel._failed}
        self.knobs = [name for name in kernel.space.knobs if given.get(name) is not None]

    def function(self):
        """The function, generated."""
        exec("\n".join(self._lines()), self.names)
        return self.names[self.kernel.__name__]

    def _lines(self):
        kernel = self.kernel
        arrays, lines = self._arrays()
        asked = "".join(f", {name}={name}" for name in (*kernel.sizes, *kernel.facts))
        given = "".join(f", {name!r}: {name}" for name in self.knobs)
        meta = "".join(f"{name!r}: {name}, " for name in kernel.parameters if name not in kernel.space.knobs)
        place = f"_grid({{{meta}**_config}}) if callable(_grid) else _grid"
        launch = f"_begin({place})({self._arguments()}**_config)"
        yield f"def {kernel.__name__}(_grid, {self._parameters()}):"
        yield from (f"    {line}" for line in lines)
        if len(self.knobs) == len(kernel.space.knobs):
            yield f"    _config = {{{given[2:]}}}"
            yield f"    return {launch}"
        elif self.knobs:
            yield f"    _config = {{**_ask({arrays}{asked}){given}}}"
            yield f"    return {launch}"
        else:
            yield "    while True:"
            yield f"        _config = _ask({arrays}{asked})"
            yield "        try:"
            yield f"            return {launch}"
            yield "        except Exception as _error:"
            yield f"            _failed(_error, _config, {arrays}{asked})"

    def _parameters(self):
        texts, late = [], False
        for name, each in self.kernel.parameters.items():
            late = late or name in self.kernel.space.knobs
            if each.default is not _ABSENT:
                self.names[f"_default_{name}"] = each.default
                texts.append(f"{name}=_default_{name}")
            else:
                texts.append(f"{name}=_absent" if late else name)
        return ", ".join([*texts, "*", *(f"{option}=None" for option in OPTIONS)])

    def _arguments(self):
        """What the launch is given beside the config: by position up to the first knob, then by name."""
        texts, late = [], False
        for name in self.kernel.parameters:
            if name in self.kernel.space.knobs:
                late = True
            else:
                texts.append(f"{name}={name}" if late else name)
        options = [name for name in OPTIONS if name in self.given and name not in self.kernel.space.knobs]
        return "".join(f"{text}, " for text in [*texts, *(f"{name}={name}" for name in options)])

    def _arrays(self):
        """The tuple of all arrays as text, the first one never None, and the lines that make arrays of arguments."""
        texts, lines, first = [], [], None
        for name, each in self.kernel.parameters.items():
            value = self.given.get(name, each.default)
            if name in self.kernel.exact or name in self.kernel.space.knobs or isinstance(value, _NUMBERS):
                continue
            if isinstance(value, tuple):
                lines.append(f"{name} = _unwrap({name})")
                texts.append(f"*_flat({name})")
                first = first or (f"_flat({name})[0]" if _arrays_in(value) else None)
            elif value is None:
                texts.append("None")
            else:
                array = unwrap(value)
                if not hasattr(array, "dtype"):
                    raise TypeError(
                        f"kernel {self.kernel.__name__}: argument {name!r} is a {type(value).__name__}; it takes "
                        f"Tensors, arrays, numbers, None and tuples of these"
                    )
                lines += [] if array is value else [f"{name} = {_unwrapping(name, value)}"]
                texts.append(name)
                first = first or name
        if first is None:
            raise TypeError(f"kernel {self.kernel.__name__}: no argument is an array, which would say where to run")
        if texts[0] == "None":
            texts.insert(0, first)
        return f"({', '.join(texts)},)", lines


def _unwrapping(name, value):
    return f"{name}.array" if hasattr(value, "array") else f"_unwrap({name})"


def unwrap(value):
    """The array that an argument stands for: of a Tensor its own, of another library's array one on its memory."""
    if isinstance(value, tuple):
        return tuple(map(unwrap, value))
    if hasattr(value, "array") and hasattr(value, "requires_grad"):
        return value.array
    return transfer.from_cuda_interface(value) if hasattr(value, "__cuda_array_interface__") else value


def _arrays_in(values):
    """All arrays in a tuple, whatever its depth."""
    found = []
    for value in values:
        if isinstance(value, tuple):
            found += _arrays_in(value)
        elif value is not None and not isinstance(value, _NUMBERS):
            found.append(value)
    return found


def _check_names(kernel, parameters, space, key):
    """Raise a ValueError that names the first knob, name of a key or condition that the kernel knows nothing of."""
    for name in space.knobs:
        if name not in parameters and name not in OPTIONS:
            raise ValueError(
                f"kernel {kernel}: its space has a knob {name!r}, which is none of its parameters "
                f"({', '.join(parameters)}) and no option of a launch ({', '.join(OPTIONS)})"
            )
    for name in key:
        if name not in parameters:
            raise ValueError(f"kernel {kernel}: its key names {name!r}; its parameters are {', '.join(parameters)}")
        if name in space.knobs:
            raise ValueError(f"kernel {kernel}: its key names {name!r}, which is a knob")
    for _, names in space.conditions:
        for name in names:
            if name not in space.knobs and name not in key and name != "device":
                raise ValueError(
                    f"kernel {kernel}: a condition of its space looks at {name!r}, which is no knob, not in the key "
                    f"({', '.join(key)}) and not 'device'"
                )


def _reference_names(kernel, parameters, reference):
    """Which parameters a reference names."""
    named = inspect.signature(reference).parameters.values() if reference else ()
    for each in named:
        if each.name not in parameters and each.default is _ABSENT:
            raise ValueError(
                f"kernel {kernel}: its reference takes {each.name!r}; it is given what it names of the kernel's "
                f"parameters ({', '.join(parameters)})"
            )
    return tuple(each.name for each in named if each.name in parameters)


def _default_of(kernel, space):
    """The default of each knob, as a formula, if the conditions that look at knobs alone allow it."""
    config = space.default()
    for condition, names in space.conditions:
        if all(name in config for name in names) and not condition(*(config[name] for name in names)):
            raise ValueError(
                f"kernel {kernel}: the defaults of its knobs, {config}, are ruled out by a condition on "
                f"{', '.join(names)}; give knobs other defaults, or a default= that is a function of the device"
            )
    return lambda device: config
