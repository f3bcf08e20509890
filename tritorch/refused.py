"""Functions that are not here: they can be imported, and say what to do instead when they are called."""

from __future__ import annotations


def refused(name, advice):
    """A function of PyTorch that raises NotImplementedError with advice."""

    def call(*args, **kwargs):
        raise NotImplementedError(f"{name}() is not in tritorch: {advice}")

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    call.__doc__ = f"Refused: {advice}"
    return call


def refuse_all(room, names, advice):
    """Those functions by name, for a module to take in."""
    return {name: refused(f"{room}.{name}", advice) for name in names}
