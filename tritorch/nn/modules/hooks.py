"""Hooks of modules: what is called before and after `forward` and when gradients pass."""

from __future__ import annotations

from collections import OrderedDict

from tritorch.autograd.hooks import RemovableHandle, add_hook
from tritorch.ops.base import TABLE
from tritorch.tensor import Tensor

Boundary = TABLE["boundary"]
_global_pre: OrderedDict = OrderedDict()
_global_post: OrderedDict = OrderedDict()
everywhere: list = []  # not empty: every call looks at the global hooks


def register_module_forward_pre_hook(hook):
    """Call `hook(module, args)` before every forward of every module."""
    everywhere.append(True)
    return add_hook(_global_pre, hook)


def register_module_forward_hook(hook, *, always_call=False):
    """Call `hook(module, args, output)` after every forward of every module."""
    everywhere.append(True)
    return add_hook(_global_post, hook)


class ModuleHooks:
    """The part of Module that registers hooks and runs them."""

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call `hook(module, args)` before forward; what it returns, if anything, replaces the arguments."""
        return _register(self._forward_pre_hooks, hook, prepend, with_kwargs)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """Call `hook(module, args, output)` after forward; what it returns, if anything, replaces the output."""
        return _register(self._forward_hooks, hook, prepend, with_kwargs)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Call `hook(module, grad_output)` before gradients pass the module; a result replaces them."""
        return _register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Call `hook(module, grad_input, grad_output)` when gradients left the module; a result replaces grad_input."""
        return _register(self._backward_hooks, hook, prepend)

    register_backward_hook = register_full_backward_hook

    def _register_state_dict_hook(self, hook):
        return add_hook(self._state_dict_hooks, hook)

    register_state_dict_post_hook = _register_state_dict_hook

    def register_state_dict_pre_hook(self, hook):
        """Call `hook(module, prefix, keep_vars)` before `state_dict` collects."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook):
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return add_hook(self._load_state_dict_pre_hooks, lambda *args: hook(self, *args))

    def _register_load_state_dict_pre_hook(self, hook, with_module=False):
        if with_module:
            return self.register_load_state_dict_pre_hook(hook)
        return add_hook(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook):
        """Call `hook(module, incompatible_keys)` after loading."""
        return add_hook(self._load_state_dict_post_hooks, hook)

    def _call_with_hooks(self, args, kwargs):
        for hook in (*_global_pre.values(), *self._forward_pre_hooks.values()):
            args, kwargs = _run_pre_hook(self, hook, args, kwargs)
        passage = None
        if self._backward_hooks or self._backward_pre_hooks:
            passage = _Passage(self)
            args = passage.enter(args)
        output = self.forward(*args, **kwargs)
        for hook in (*_global_post.values(), *self._forward_hooks.values()):
            if getattr(hook, "with_kwargs", False):
                replaced = hook(self, args, kwargs, output)
            else:
                replaced = hook(self, args, output)
            if replaced is not None:
                output = replaced
        return output if passage is None else passage.leave(output)


class _WithKeywords:
    """A hook that wants the keyword arguments too."""

    with_kwargs = True

    def __init__(self, hook):
        self.hook = hook

    def __call__(self, *args):
        return self.hook(*args)


def _register(hooks, hook, prepend, with_kwargs=False) -> RemovableHandle:
    handle = add_hook(hooks, _WithKeywords(hook) if with_kwargs else hook)
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _run_pre_hook(module, hook, args, kwargs):
    if getattr(hook, "with_kwargs", False):
        replaced = hook(module, args, kwargs)
        if replaced is None:
            return args, kwargs
        if not (isinstance(replaced, tuple) and len(replaced) == 2):
            raise RuntimeError(
                f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {replaced}."
            )
        return replaced
    replaced = hook(module, args)
    if replaced is None:
        return args, kwargs
    return replaced if isinstance(replaced, tuple) else (replaced,), kwargs


class _Passage:
    """One call of a module with backward hooks: gradients of outputs come in, those of inputs go out."""

    def __init__(self, module):
        self.module, self.grad_output, self.enters = module, None, False

    def enter(self, args):
        """The arguments, behind a boundary that runs the hooks."""
        places = [at for at, each in enumerate(args) if isinstance(each, Tensor)]
        if not any(args[at].requires_grad for at in places):
            return args
        self.enters, self.places, self.count = True, places, len(args)
        passed = Boundary.apply(self.finish, *[args[at] for at in places])
        args = list(args)
        for at, each in zip(places, passed, strict=True):
            args[at] = each
        return tuple(args)

    def leave(self, output):
        """The output, behind a boundary that notes its gradients."""
        several = isinstance(output, (tuple, list))
        outputs = list(output) if several else [output]
        places = [at for at, each in enumerate(outputs) if isinstance(each, Tensor)]
        if not any(outputs[at].requires_grad for at in places):
            return output
        for at, each in zip(places, Boundary.apply(self.begin, *[outputs[at] for at in places]), strict=True):
            outputs[at] = each
        return type(output)(outputs) if several else outputs[0]

    def begin(self, grads):
        """Gradients of the outputs: run the pre-hooks, and without gradients of inputs all hooks."""
        for hook in tuple(self.module._backward_pre_hooks.values()):
            grads = _replaced(hook(self.module, grads), grads)
        self.grad_output = grads
        if not self.enters:
            for hook in tuple(self.module._backward_hooks.values()):
                hook(self.module, (None,), grads)
        return grads

    def finish(self, grads):
        """Gradients of the inputs: run the hooks."""
        grad_input = [None] * self.count
        for at, each in zip(self.places, grads, strict=False):
            grad_input[at] = each
        grad_input = tuple(grad_input)
        for hook in tuple(self.module._backward_hooks.values()):
            grad_input = _replaced(hook(self.module, grad_input, self.grad_output), grad_input)
        return tuple(grad_input[at] for at in self.places)


def _replaced(result, grads):
    if result is None:
        return grads
    return result if isinstance(result, tuple) else (result,)
