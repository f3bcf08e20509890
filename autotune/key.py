"""Keys: which launches may share a config, in words that people can read and compare."""

from __future__ import annotations

import ast
import functools
import inspect
import math
import os
import textwrap
import types
from dataclasses import dataclass, replace

import numpy as np

from tritorch.autotune.digest import digest_of
from tritorch.runtime import dtypes
from tritorch.runtime.kernel import Kernel

EXACT = 16  # sizes up to here are told apart; above, two buckets for each doubling
POLICIES = ("eager", "graph")  # how a config was timed
PRIVATE = "_tritorch_kernels_"  # how names of modules begin that a user's files are imported under, see user_files.py


def bucket(size):
    """The bucket of a size: its upper end, a power of two or half as much again, and whether 16 divides the size."""
    if size <= EXACT:
        return size, size > 0 and size % 16 == 0
    power = 1 << (size - 1).bit_length()
    return (power * 3 // 4 if size <= power * 3 // 4 else power), size % 16 == 0


@dataclass(frozen=True)
class Size:
    """A size by its bucket: it is at most `most` and more than the bucket below; whether 16 divides it."""

    name: str
    most: int
    divisible: bool

    def __str__(self):
        if self.most <= EXACT:
            return str(self.most)
        return f"<={self.most}{' of 16' if self.divisible else ''}"


@dataclass(frozen=True)
class Key:
    """What decides, within an environment, which config is best and which can run.

    kernel   its module and name;  source  a hash of its code and of every function that it calls
    arrays   dtype and alignment of each array, such as "float32" or "float32 unaligned"
    facts    (name, text) of what else the compiled code depends on: formulas, dtypes, switches, ranks
    sizes    what the default depends on, by bucket
    policy   how it was timed
    """

    kernel: str
    source: str
    arrays: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    sizes: tuple[Size, ...]
    policy: str = POLICIES[0]

    def fields(self):
        """Every field by name, as text: what a miss is explained by."""
        found = {"kernel": self.kernel, "source": self.source, "policy": self.policy}
        found |= {f"array {at}": text for at, text in enumerate(self.arrays)}
        return found | dict(self.facts) | {size.name: str(size) for size in self.sizes}

    @functools.cached_property
    def digest(self):
        """Sixteen characters that stand for all of it."""
        return digest_of(self.to_json(), 16)

    @property
    def short(self):
        """The first of them, by which people name it."""
        return self.digest[:8]

    def to_json(self):
        """The key as JSON's own types."""
        return {
            **{name: getattr(self, name) for name in ("kernel", "source", "policy")},
            "arrays": list(self.arrays),
            "facts": dict(self.facts),
            "sizes": {size.name: [size.most, size.divisible] for size in self.sizes},
        }

    @classmethod
    def from_json(cls, found):
        """The key that `to_json` wrote; a TypeError, KeyError or ValueError where it is none."""
        return cls(
            kernel=_text(found["kernel"]),
            source=_text(found["source"]),
            arrays=tuple(map(_text, found["arrays"])),
            facts=tuple((name, _text(text)) for name, text in found["facts"].items()),
            sizes=tuple(Size(name, int(most), bool(even)) for name, (most, even) in found["sizes"].items()),
            policy=_text(found["policy"]),
        )

    def with_policy(self, policy):
        """The same key for another way of timing."""
        return replace(self, policy=policy)

    def differs(self, other):
        """The names of the fields in which two keys differ, each with both texts: {name: (ours, theirs)}."""
        mine, theirs = self.fields(), other.fields()
        return {name: (mine.get(name, "-"), theirs.get(name, "-")) for name in {**mine, **theirs}
                if mine.get(name) != theirs.get(name)}  # fmt: skip

    def distance(self, other):
        """How far two keys are apart: halvings and doublings of sizes, 100 for each other field; 0 for the same."""
        ours, theirs = {each.name: each for each in self.sizes}, {each.name: each for each in other.sizes}
        total = 0.0
        for name in self.differs(other):
            if name in ours and name in theirs:
                pair = ours[name], theirs[name]
                total += abs(math.log2((pair[0].most + 1) / (pair[1].most + 1))) + (
                    pair[0].divisible != pair[1].divisible
                )
            else:
                total += 100
        return total


def _text(value):
    if not isinstance(value, str):
        raise TypeError(f"a key is made of texts, got {value!r}")
    return value


def array_text(array, pretended=False):
    """The dtype of an array and whether vectors can be loaded from where it begins; "none" where there is no array.

    On the host that makes no difference, unless the array is `pretended` to lie on a GPU.
    """
    if array is None:
        return "none"
    name = _dtype_name(array.dtype)
    place = (array.ctypes.data if pretended else 0) if isinstance(array, np.ndarray) else array.pointer
    return f"{name} unaligned" if place & 15 else name


def _dtype_name(dtype):
    try:
        return dtypes.of(dtype).name
    except (TypeError, KeyError):  # wide unsigned integers, which no tensor holds
        return dtype.name


def fact_text(name, value):
    """A fact as text; a kernel by its name and source, so that another formula is another fact."""
    if isinstance(value, Kernel):
        return f"{value.__name__} {source_hash(value)}"
    if isinstance(value, np.dtype):
        return _dtype_name(value)
    if isinstance(value, tuple):
        return f"({', '.join(fact_text(name, each) for each in value)})"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, dtypes.dtype):
        return value.name
    if type(value).__module__.startswith("triton.language"):  # a dtype or a constexpr
        return str(value)
    raise TypeError(f"fact {name!r} of a key is a {type(value).__name__}; it takes kernels, dtypes, numbers and texts")


def module_of(function):
    """The module of a function by the name that other programs import it by, also where it is the program itself."""
    module = function.__module__
    is_program = module in ("__main__", "__mp_main__") or module.startswith(PRIVATE)
    return dotted_name(function.__code__.co_filename) if is_program else module


def dotted_name(path):
    """The name by which a file is imported as part of the packages it lies in."""
    folder, file = os.path.split(os.path.abspath(path))
    parts = [file.removesuffix(".py")]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        parts.insert(0, name)
    return ".".join(parts)


@functools.cache
def source_hash(kernel):
    """A hash of a kernel's code and of all it calls or refers to, whatever the comments and the lines it stands on."""
    found: dict = {}
    _collect(kernel, found)
    return digest_of(sorted(found.items()), 12)


def _collect(kernel, found):
    function = kernel.fn
    name = f"{module_of(function)}.{function.__qualname__}"
    if name in found:
        return
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    if isinstance(definition, ast.FunctionDef):
        definition.decorator_list = []  # a larger space does not make other code
        definition.name = "kernel"
        if ast.get_docstring(definition) is not None:
            definition.body = definition.body[1:]
    found[name] = ast.dump(tree)
    names = function.__globals__ | inspect.getclosurevars(function).nonlocals
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names:
            _refer(f"{name}.{node.id}", names[node.id], found)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            if isinstance(owner, types.ModuleType) and not owner.__name__.startswith("triton"):
                _refer(f"{name}.{node.value.id}.{node.attr}", getattr(owner, node.attr, None), found)


def _refer(name, value, found):
    """Note a global that a kernel's code refers to: another function of Triton's language, or a constant."""
    if isinstance(value, Kernel) or (hasattr(value, "fn") and hasattr(value, "cache_key")):
        if not value.fn.__module__.startswith("triton."):  # Triton's own change with its version
            _collect(value, found)
    elif hasattr(value, "value") and type(value).__name__ == "constexpr":
        found[name] = repr(value.value)
    elif isinstance(value, (bool, int, float, str)):
        found[name] = repr(value)


def describe_key(key):
    """A key in one line for people: kernel, dtypes, sizes, facts."""
    sizes = " ".join(f"{size.name}={size}" for size in key.sizes)
    facts = " ".join(f"{name}={text}" for name, text in key.facts)
    return f"{key.kernel.rpartition('.')[2]} [{', '.join(key.arrays)}] {sizes} {facts}".rstrip()
