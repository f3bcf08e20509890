"""Whether a program says itself on which device its tensors are: read off its text and that of its own modules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_WORDS = {"device", "cuda", "cpu", "accelerator", "mps", "xpu"}
_DEVICES = re.compile(r"(cuda|cpu|mps|xpu)(:\d+)?")


def moves_tensors(file, folder):
    """Whether the program in `file`, or a module it imports from `folder`, speaks of devices."""
    seen, waiting = set(), [Path(file)]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # in a zip file, or an error that Python will show when it comes to it
        if any(map(_speaks_of_devices, ast.walk(tree))):
            return True
        waiting += [found for name in _imported(tree, path) for found in _files(Path(folder), name)]
    return False


def _speaks_of_devices(node):
    if isinstance(node, ast.Attribute):
        return node.attr in _WORDS
    if isinstance(node, ast.Name):
        return node.id in _WORDS
    if isinstance(node, ast.keyword):
        return node.arg in _WORDS
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(_DEVICES.fullmatch(node.value))


def _imported(tree, path):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(folder, name):
    """The files of a module, if it lies in the folder."""
    place = folder.joinpath(*name.split("."))
    return [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
