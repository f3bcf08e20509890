"""torch.fx's names: no module is traced here. `wrap`, which libraries put on functions, passes; the rest is refused."""

from __future__ import annotations

from tritorch.nn import Module
from tritorch.refused import refuse_all

globals().update(
    refuse_all(
        "fx",
        ("symbolic_trace", "replace_pattern", "Tracer", "Interpreter", "Transformer", "Graph"),
        "a model runs as its Python code; see what its modules give by forward hooks, or export it with tritorch.onnx.",
    )
)


class Proxy:
    """What stands for a value while a module is traced: nothing is one here."""


class Node:
    """A step of a traced module: nothing is one here."""


class GraphModule(Module):
    """A module made of a trace: nothing is one here."""


def wrap(fn_or_name):
    """The function, or its name, itself: whether it is traced into makes no difference where nothing is traced."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    return fn_or_name
