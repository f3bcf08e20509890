"""Which further classes and functions a user lets PyTorch's files name: `add_safe_globals` and its kin."""

from __future__ import annotations

from tritorch.ops.base import EXPORTS
from tritorch.serialization.errors import Raised
from tritorch.serialization.unpickler import Global

_allowed: dict[str, object] = {}  # the name in a pickle -> the object


def _names(entry):
    """The names of an object, or the one a user gave with it, under which pickles know it."""
    if isinstance(entry, tuple):
        if len(entry) != 2:
            raise ValueError(f"Expected tuple of size 2 (global, str of callable full path), but got tuple of size: "
                             f"{len(entry)}")  # fmt: skip
        value, name = entry
        if not isinstance(name, str):
            raise TypeError(f"Expected second item in tuple to be str of callable full path, but got: {type(name)}")
        return value, [name]
    if not hasattr(entry, "__qualname__") and not hasattr(entry, "__name__"):
        raise TypeError(f"add_safe_globals(): expected classes and functions, but got {entry!r}")
    return entry, _own_names(entry)


def _own_names(value):
    """Where a class or function is found: in its module, and for one of ours in the public rooms, also as torch.*."""
    name = getattr(value, "__qualname__", getattr(value, "__name__", None))
    names = [f"{getattr(value, '__module__', None)}.{name}"]
    if not names[0].startswith("tritorch."):
        return names
    names += [f"tritorch.{public}" for public, function in EXPORTS.items() if function is value]
    return [*names, *(each.removeprefix("tri") for each in names)]


def add_safe_globals(safe_globals):
    """Let files name these classes and functions, each alone or as a tuple of it and the name it has in files."""
    for entry in safe_globals:
        value, names = _names(entry)
        for name in names:
            _allowed[name] = value


def get_safe_globals():
    """The classes and functions that were allowed beside the default ones."""
    found: dict = {}
    for name, value in _allowed.items():
        if name in _own_names(value):
            found.setdefault(id(value), value)
        else:
            found[id(value), name] = value, name
    return list(found.values())


def clear_safe_globals():
    """Allow nothing beside the default ones."""
    _allowed.clear()


class safe_globals:
    """Lets files name these classes and functions inside a `with` block."""

    def __init__(self, safe_globals):
        self.safe_globals = safe_globals

    def __enter__(self):
        self.before = dict(_allowed)
        add_safe_globals(self.safe_globals)

    def __exit__(self, *_):
        _allowed.clear()
        _allowed.update(self.before)


def allowed(name):
    """The Global of a name that the user allowed, or None."""
    if name not in _allowed:
        return None
    return trusted(_allowed[name])


def trusted(value):
    """The Global of a class or function that may be called, made and given any state."""
    if not isinstance(value, type):
        return Global(value, call=_own(value))
    new = _own(lambda *args, **named: value.__new__(value, *args, **named))
    return Global(value, call=_own(value), new=new, kind=value, build=set_state)


def _own(function):
    """A function of the user's, whose exceptions are told from those about the file."""

    def call(*args, **named):
        try:
            return function(*args, **named)
        except Exception as error:
            raise Raised(error) from error

    return call


@_own
def set_state(instance, state):
    """What unpickling does with the state of an instance."""
    if hasattr(instance, "__setstate__"):
        instance.__setstate__(state)
        return
    state, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)
