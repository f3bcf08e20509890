"""`import torch` gives tritorch: for scripts written for PyTorch, by `tritorch run`, or in a notebook by `install()`.

A finder at the head of `sys.meta_path` answers every import of `torch`, `torch.x.y`, `torchvision`, `torchtext` and
`torchaudio` with the module of tritorch that stands for it: the same object, so nothing is loaded twice, and a real
PyTorch beside it is neither seen nor loaded. Processes that `multiprocessing` spawns do the same.
"""

from __future__ import annotations

import importlib
import multiprocessing.spawn
import re
import sys
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import tritorch
from tritorch.torch_version import TorchVersion

ROOMS = {
    "torch": "tritorch",
    "torchvision": "tritorch.vision",
    "torchtext": "tritorch.text",
    "torchaudio": "tritorch.audio",
}
MODULES = {"safetensors.torch": "tritorch.utils.safetensors"}  # of other packages, that need a real torch
SHOWN = ("Tensor", "Size", "device", "dtype")  # classes that scripts print: as <class 'torch.Tensor'>
IMITATED = "2.13.0"  # the PyTorch whose API ours follows
NOT_YET = "it is not in tritorch yet"
_CANNOT_IMPORT = re.compile(r"(cannot import name '\w+' from )'(tritorch[\w.]*)'.*", re.DOTALL)
_NO_ATTRIBUTE = re.compile(r"module '(tritorch[\w.]*)' has no attribute")


def install():
    """Make `import torch` mean tritorch in this process and in those it spawns; call it before anything imports torch.

    `torch.__version__` is then such as "2.13.0+tritorch0.1.0", so that what scripts ask of a version holds. Calling it
    again does nothing. Raises RuntimeError where PyTorch itself was imported already.
    """
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    if "torch" in sys.modules:
        place = getattr(sys.modules["torch"], "__file__", None)
        raise RuntimeError(f"tritorch.alias.install(): torch was imported before, from {place}; call install() first")
    sys.meta_path.insert(0, Finder())
    tritorch.__version__ = TorchVersion(f"{IMITATED}+tritorch{tritorch.__version__}")
    for name in SHOWN:
        kind = getattr(tritorch, name)
        kind.__module__, kind.__name__, kind.__qualname__ = "torch", name, name
    _prepare_spawned()


class Finder(MetaPathFinder):
    """Finds the modules of PyTorch's names in tritorch, and nothing else."""

    def find_spec(self, fullname, path=None, target=None):
        """The spec of a module under PyTorch's name; None where the name is not PyTorch's or not in tritorch."""
        own = own_name(fullname)
        if own is None:
            return None
        if find_spec(own) is not None:
            return ModuleSpec(fullname, Loader(own))
        if fullname in ROOMS:  # None would let a real one be found, which needs a real torch
            raise ModuleNotFoundError(f"No module named '{fullname}': {NOT_YET}", name=fullname)
        return None


class Loader(InspectLoader):
    """Puts the module of tritorch into the place of the one that import has made."""

    def __init__(self, own):
        self.own = own

    def exec_module(self, module):
        """Import ours; import takes what stands in sys.modules afterwards."""
        sys.modules[module.__spec__.name] = importlib.import_module(self.own)

    def is_package(self, fullname):
        """Whether the module has modules below it."""
        return find_spec(self.own).submodule_search_locations is not None

    def get_source(self, fullname):
        """The text of the module."""
        return find_spec(self.own).loader.get_source(self.own)


def own_name(name):
    """tritorch's name of the module that PyTorch's scripts call `name`; None if the name is not PyTorch's."""
    root, dot, rest = name.partition(".")
    return ROOMS[root] + dot + rest if root in ROOMS else MODULES.get(name)


def their_name(name):
    """PyTorch's name of one of tritorch's modules."""
    for theirs, own in reversed(ROOMS.items()):
        if name == own or name.startswith(own + "."):
            return theirs + name[len(own) :]
    return name


# --------------------------------------------------------------------------------------------- names that are missing


def explain(error):
    """Let an error about a name that tritorch lacks, or one that it was caused by, say so in PyTorch's terms."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ImportError):
            _explain_import(error)
        elif isinstance(error, AttributeError):
            _explain_attribute(error)
        error = error.__cause__ or error.__context__


def _explain_import(error):
    found = _CANNOT_IMPORT.fullmatch(error.msg or "")
    if found:
        error.msg = f"{found[1]}'{their_name(found[2])}': {NOT_YET}"
    elif error.name and own_name(error.name) and NOT_YET not in error.msg:
        error.msg = f"{error.msg}: {NOT_YET}"


def _explain_attribute(error):
    message = error.args[0] if len(error.args) == 1 else None
    if not isinstance(message, str) or message.endswith(NOT_YET):
        return
    found = _NO_ATTRIBUTE.match(message)
    if found:
        error.args = (f"{message.replace(found[1], their_name(found[1]), 1)}: {NOT_YET}",)
    elif isinstance(error.obj, tritorch.Tensor) or error.obj is tritorch.Tensor:
        error.args = (f"{message}: {NOT_YET}",)


# ---------------------------------------------------------------------------------------------------- child processes


class _Installed:
    """Pickled, a call of `install()`: a spawned process makes it before it imports the script."""

    def __reduce__(self):
        return install, ()


def _prepare_spawned():
    """Let what `multiprocessing` sends ahead to a spawned process install the alias there.

    It is read before the script's main module is imported once more, which nothing else in reach of us is.
    """
    original = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name):
        return {"tritorch": _Installed(), **original(name)}

    multiprocessing.spawn.get_preparation_data = get_preparation_data
