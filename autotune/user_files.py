"""Files of a user's that hold kernels: imported only where the user, not a table or an entry, named them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from tritorch.autotune.key import PRIVATE, dotted_name
from tritorch.autotune.user_kernel import SelfTuned

# What the user of this process named, for the processes it starts: they are told what to import by it alone.
_VARIABLE = "TRITORCH_NAMED_KERNEL_FILES"


def kernel_at(place):
    """The kernel that a user names, `path/to/file.py:kernel` or `package.module:kernel`; (kernel, where it is)."""
    where, colon, name = place.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise ValueError(f"{place!r} names no kernel; that takes path/to/file.py:kernel or package.module:kernel")
    where = str(Path(where).resolve()) if where.endswith(".py") else where
    allow(where)
    return load(where, name), where


def allow(where):
    """Let a file or module be imported, by this process and those it starts."""
    named = _allowed()
    if where not in named:
        os.environ[_VARIABLE] = os.pathsep.join([*named, where])


def _allowed():
    return [each for each in os.environ.get(_VARIABLE, "").split(os.pathsep) if each]


def load(where, name):
    """The kernel of a file or module that is loaded or may be imported; a ValueError where it is not to be had."""
    module = _loaded(where)
    if module is None:
        if where not in _allowed():
            raise ValueError(
                f"kernel {name} is in {where}, which is not imported because a stored problem says so; to allow it, "
                f"name it: {where}:{name}"
            )
        module = _imported(where)
    kernel = getattr(module, name, None)
    if not isinstance(kernel, SelfTuned):
        found = [each for each, value in vars(module).items() if isinstance(value, SelfTuned)]
        what = "nothing" if kernel is None else f"a {type(kernel).__name__}"
        raise ValueError(
            f"{where}: {name!r} is {what}, and no kernel made by tritorch.autotune.kernel with a space, inputs and a "
            f"reference; {'it has ' + ', '.join(found) if found else 'there is none in it'}"
        )
    return kernel


def _loaded(where):
    """The module, where this process has it under whatever name."""
    if not where.endswith(".py"):
        return sys.modules.get(where)
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(Path(where).name) and os.path.realpath(file) == where:
            return module
    return None


def _imported(where):
    if where.endswith(".py") and not Path(where).is_file():
        raise ValueError(f"there is no file {where}")
    try:
        return _import_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except (Exception, SystemExit) as error:
        text = f"{where}: importing it failed with {type(error).__name__}: {error}"
        if isinstance(error, SystemExit):
            text += "; a script that is also imported does its work under `if __name__ == '__main__':`"
        raise ValueError(text) from error


def _import_file(path):
    """Import a file as Python would from its folder: a module of its package, or under a name that nobody else has."""
    dotted = dotted_name(path)
    with _importing_from(path.parents[dotted.count(".")]):
        if "." in dotted:
            return importlib.import_module(dotted)
        name = f"{PRIVATE}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


@contextmanager
def _importing_from(folder):
    """A context in which modules beside the file are found first, as they are when Python runs it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
