"""Hooks of modules: called before and after `forward`, when gradients pass, and when something is registered."""

from __future__ import annotations

import warnings
from collections import OrderedDict

from tritorch.autograd.hooks import RemovableHandle, add_hook
from tritorch.nn.modules.passage import Passage, passes

HOOKS = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class _Everywhere:
    """The hooks of all modules, under the names that a module's own have."""

    def __init__(self):
        for name in HOOKS[:7]:
            setattr(self, name, OrderedDict())
        self._is_full_backward_hook = None
        self.parameters, self.buffers, self.modules = OrderedDict(), OrderedDict(), OrderedDict()

    def called(self):
        """Whether any of them is for calls."""
        return self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks


everywhere = _Everywhere()


def _add_forward(owner, hook, prepend, with_kwargs, always_call):
    notes = (owner._forward_hooks_with_kwargs, owner._forward_hooks_always_called)
    handle = _add(owner._forward_hooks, hook, prepend, notes)
    for note, wanted in zip(notes, (with_kwargs, always_call), strict=True):
        if wanted:
            note[handle.id] = True
    return handle


def _add(hooks, hook, prepend=False, notes=()):
    handle = RemovableHandle(hooks, notes)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _add_backward(owner, hook, full, where, prepend=False):
    if owner._is_full_backward_hook is not None and owner._is_full_backward_hook is not full:
        raise RuntimeError(
            f"Cannot use both regular backward hooks and full backward hooks {where}. Please use only one of them."
        )
    owner._is_full_backward_hook = full
    return _add(owner._backward_hooks, hook, prepend)


def register_module_forward_pre_hook(hook):
    """Call `hook(module, args)` before every forward of every module."""
    return _add(everywhere._forward_pre_hooks, hook)


def register_module_forward_hook(hook, *, with_kwargs=False, always_call=False):
    """Call `hook(module, args, output)` after every forward of every module."""
    return _add_forward(everywhere, hook, False, with_kwargs, always_call)


def register_module_full_backward_pre_hook(hook):
    """Call `hook(module, grad_output)` before gradients pass any module."""
    return _add(everywhere._backward_pre_hooks, hook)


def register_module_full_backward_hook(hook):
    """Call `hook(module, grad_input, grad_output)` when gradients left any module."""
    return _add_backward(everywhere, hook, True, "as a global Module hook")


def register_module_backward_hook(hook):
    """The old name of register_module_full_backward_hook, which it does the same as."""
    return _add_backward(everywhere, hook, False, "as a global Module hook")


def register_module_parameter_registration_hook(hook):
    """Call `hook(module, name, parameter)` when a parameter is registered; what it returns is taken instead."""
    return _add(everywhere.parameters, hook)


def register_module_buffer_registration_hook(hook):
    """Call `hook(module, name, buffer)` when a buffer is registered; what it returns is taken instead."""
    return _add(everywhere.buffers, hook)


def register_module_module_registration_hook(hook):
    """Call `hook(module, name, submodule)` when a module is registered; what it returns is taken instead."""
    return _add(everywhere.modules, hook)


def registered(hooks, module, name, value):
    """What a module keeps under `name`, as the registration hooks leave it."""
    for hook in hooks.values():
        replaced = hook(module, name, value)
        value = value if replaced is None else replaced
    return value


class ModuleHooks:
    """The part of Module that registers hooks and runs them."""

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call `hook(module, args)` before forward; what it returns, if anything, replaces the arguments.

        With `with_kwargs` it is `hook(module, args, kwargs)`, which returns None or both.
        """
        handle = _add(self._forward_pre_hooks, hook, prepend, (self._forward_pre_hooks_with_kwargs,))
        if with_kwargs:
            self._forward_pre_hooks_with_kwargs[handle.id] = True
        return handle

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """Call `hook(module, args, output)` after forward; what it returns, if anything, replaces the output.

        With `with_kwargs` it is `hook(module, args, kwargs, output)`; with `always_call` it is called, with None for
        the output, where forward or another hook raised.
        """
        return _add_forward(self, hook, prepend, with_kwargs, always_call)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Call `hook(module, grad_output)` before gradients pass the module; a result replaces them."""
        return _add(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Call `hook(module, grad_input, grad_output)` when gradients left the module; a result replaces grad_input."""
        return _add_backward(self, hook, True, "on a single Module", prepend)

    def register_backward_hook(self, hook):
        """The old name of register_full_backward_hook: it sees the gradients of the module's inputs, too."""
        return _add_backward(self, hook, False, "on a single Module")

    def _register_state_dict_hook(self, hook):
        """Call `hook(module, state_dict, prefix, metadata)` on a state dict; what it returns replaces it."""
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook):
        """Call `hook(module, state_dict, prefix, metadata)` on a state dict, which it may change in place."""

        def checked(*args):
            if hook(*args) is not None:
                raise RuntimeError("state_dict post-hook must return None")

        return add_hook(self._state_dict_hooks, checked)

    def register_state_dict_pre_hook(self, hook):
        """Call `hook(module, prefix, keep_vars)` before `state_dict` collects."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook):
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(self, hook, with_module=False):
        return add_hook(self._load_state_dict_pre_hooks, WithModule(hook) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook):
        """Call `hook(module, incompatible_keys)` after loading; it may change the two lists in place."""
        return add_hook(self._load_state_dict_post_hooks, hook)

    # -------------------------------------------------------------------------------------------- running them

    def _call_with_hooks(self, args, kwargs):
        called = set()  # the hooks that an error does not call again
        try:
            return self._run_with_hooks(args, kwargs, called)
        except Exception:
            for owner in (everywhere, self):
                for number, hook in list(owner._forward_hooks.items()):
                    if number in owner._forward_hooks_always_called and number not in called:
                        _call_after_error(owner, number, hook, (self, args, kwargs, None))
            raise

    def _run_with_hooks(self, args, kwargs, called):
        for owner in (everywhere, self):
            for number, hook in list(owner._forward_pre_hooks.items()):
                if number in owner._forward_pre_hooks_with_kwargs:
                    args, kwargs = _both(hook(self, args, kwargs), args, kwargs)
                else:
                    args = _as_tuple(hook(self, args), args)
        passage = Passage(self, everywhere) if passes(self, everywhere) else None
        if passage is not None:
            args = passage.enter(args)
        output = self.forward(*args, **kwargs)
        for owner in (everywhere, self):
            for number, hook in list(owner._forward_hooks.items()):
                called.add(number)
                replaced = _call_after(owner, number, hook, (self, args, kwargs, output))
                output = output if replaced is None else replaced
        return output if passage is None else passage.leave(output)


class WithModule:
    """A hook before loading that knows its module; the module gives itself, so that copies give theirs."""

    def __init__(self, hook):
        self.hook = hook

    def __call__(self, module, *args):
        return self.hook(module, *args)


def _both(replaced, args, kwargs):
    if replaced is None:
        return args, kwargs
    if isinstance(replaced, tuple) and len(replaced) == 2:
        return replaced
    raise RuntimeError(f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {replaced}.")


def _as_tuple(replaced, args):
    if replaced is None:
        return args
    return replaced if isinstance(replaced, tuple) else (replaced,)


def _call_after(owner, number, hook, call):
    module, args, kwargs, output = call
    if number in owner._forward_hooks_with_kwargs:
        return hook(module, args, kwargs, output)
    return hook(module, args, output)


def _call_after_error(owner, number, hook, call):
    try:
        _call_after(owner, number, hook, call)
    except Exception as error:
        warnings.warn(
            f"{'global ' if owner is everywhere else ''}module forward hook with ``always_call=True`` raised an "
            f"exception that was silenced as another error was raised in forward: {error}",
            stacklevel=5,
        )
