"""Which ONNX nodes stand for which op: each translation enters itself here."""

from __future__ import annotations

from tritorch.ops.base import TABLE

TRANSLATIONS: dict[type, object] = {}


class UnsupportedOperatorError(RuntimeError):
    """An op of the model has no counterpart in ONNX, or none has been written."""


def translates(*names):
    """Say that a function `(graph, outputs, *arguments)` gives the Values of the named ops' results.

    `outputs` is the op's result (arrays' shapes and dtypes are read off it), `arguments` are those of the call with
    Values for Tensors.
    """

    def enter(function):
        for name in names:
            TRANSLATIONS[TABLE[name]] = function
        return function

    return enter
