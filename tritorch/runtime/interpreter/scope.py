"""The scope in which triton.language means the interpreter: patched on entry, put back as it was on exit."""

from __future__ import annotations

import types
from dataclasses import replace

import triton.language as tl
from triton.runtime import interpreter as stock
from triton.runtime.jit import JITFunction

from tritorch.runtime import debug
from tritorch.runtime.interpreter import state
from tritorch.runtime.interpreter.builder import Builder, numpy_dtype
from tritorch.runtime.interpreter.collective import associative_scan, reduce
from tritorch.runtime.interpreter.libdevice import patch_libdevice
from tritorch.runtime.interpreter.rewrite import body_of
from tritorch.runtime.interpreter.shapes import patch_shapes
from tritorch.runtime.language import triton_lock

_MISSING = object()


class Changes:
    """What differs inside the scope: found once by letting Triton patch itself, then only applied and taken back."""

    def __init__(self):
        self._originals, self._values = {}, {}
        try:
            _patch(self)
        finally:
            for target, name, original in self._originals.values():
                _restore(target, name, original)
        self._modules, self._others = [], []
        for target in {id(each[0]): each[0] for each in self._originals.values()}.values():
            self._sort(target)

    def set_attr(self, target, name, value):
        """Set an attribute and remember what was there; the name is Triton's, whose patchers call it."""
        key = id(target), name
        if key not in self._originals:
            self._originals[key] = target, name, vars(target).get(name, _MISSING)
        self._values[key] = value
        setattr(target, name, value)

    def _sort(self, target):
        named = [(key, each) for key, each in self._originals.items() if each[0] is target]
        new = {each[1]: self._values[key] for key, each in named}
        old = {each[1]: each[2] for _, each in named}
        if isinstance(target, types.ModuleType) and _MISSING not in old.values():
            self._modules.append((vars(target), new, old))  # one update of the dictionary instead of many setattr
        else:
            self._others.extend((target, name, new[name], old[name]) for name in new)

    def apply(self):
        """Make triton.language mean the interpreter."""
        for names, new, _ in self._modules:
            names.update(new)
        for target, name, value, _ in self._others:
            setattr(target, name, value)
        stock.interpreter_builder.__class__ = Builder

    def undo(self):
        """Put everything back."""
        stock.interpreter_builder.__class__ = Builder.__base__
        for names, _, old in self._modules:
            names.update(old)
        for target, name, _, value in self._others:
            _restore(target, name, value)


def _restore(target, name, value):
    if value is _MISSING:
        delattr(target, name)
    else:
        setattr(target, name, value)


def _patch(changes):
    builder = stock.interpreter_builder
    for language in (tl, tl.core):
        stock._patch_builtin(language, builder, changes)
        stock._patch_builtin(language.tensor, builder, changes)
        stock._patch_lang_tensor(language.tensor, changes)
        stock._patch_lang_core(language, changes)
    for language in (tl, tl.core):  # after both: patching the second puts Triton's sequential ones on the first
        changes.set_attr(language, "reduce", reduce)
        changes.set_attr(language, "associative_scan", associative_scan)
    stock._patch_builtin(tl.math, builder, changes)
    stock._patch_builtin(tl.core.tensor_descriptor_base, builder, changes)
    # Triton 3.6 asks NumPy for the int of an array of one element, which NumPy 2.4 refuses.
    changes.set_attr(tl.tensor, "__index__", lambda self: int(self.handle.data.item()))
    # Without debug nothing reads what sanitize_overflow computes in each integer operation, in a third of the time of
    # tests of kernels; with it, Philox and hashes would fail, which overflow on purpose.
    changes.set_attr(builder, "options", replace(builder.options, debug=debug.enabled, sanitize_overflow=False))
    changes.set_attr(JITFunction, "__call__", lambda self, *args, **keywords: body_of(self)(*args, **keywords))
    changes.set_attr(stock, "_get_np_dtype", numpy_dtype)
    patch_libdevice(changes)
    patch_shapes(changes)


class Scope:
    """Reentrant; one thread at a time is inside, and nothing is compiled meanwhile."""

    def __init__(self):
        self._changes = None

    def __enter__(self):
        triton_lock.acquire()
        try:
            if self._changes is None:
                self._changes = Changes()
            if state.depth == 0:
                self._changes.apply()
            state.depth += 1
        except BaseException:
            triton_lock.release()
            raise
        return self

    def __exit__(self, *_):
        state.depth -= 1
        if state.depth == 0:
            self._changes.undo()
        triton_lock.release()


scope = Scope()
