"""Hooks of optimizers: around every step, and around saving and loading their state."""

from __future__ import annotations

import functools
from collections import OrderedDict
from itertools import chain

from tritorch.autograd.hooks import add_hook

_global_pre_hooks: OrderedDict = OrderedDict()
_global_post_hooks: OrderedDict = OrderedDict()


def register_optimizer_step_pre_hook(hook):
    """Call `hook(optimizer, args, kwargs)` before every step of every optimizer, and before its own hooks.

    Arguments begin with the optimizer. A pair (args, kwargs) that the hook returns takes their place.
    """
    return add_hook(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook):
    """Call `hook(optimizer, args, kwargs)` after every step of every optimizer, and after its own hooks."""
    return add_hook(_global_post_hooks, hook)


def hooked(step):
    """A `step` with the hooks around it; a step that calls that of its base class runs them once.

    An optimizer around another one, which never called the constructor of its base class, has none.
    """

    @functools.wraps(step)
    def wrapper(*args, **kwargs):
        self = args[0]
        if self.__dict__.get("_stepping") or "_optimizer_step_pre_hooks" not in self.__dict__:
            return step(*args, **kwargs)
        for hook in chain(tuple(_global_pre_hooks.values()), tuple(self._optimizer_step_pre_hooks.values())):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
        self._stepping = True
        try:
            result = step(*args, **kwargs)
        finally:
            self._stepping = False
        for hook in chain(tuple(self._optimizer_step_post_hooks.values()), tuple(_global_post_hooks.values())):
            hook(self, args, kwargs)
        return result

    wrapper.hooked = True
    return wrapper


class Hooked:
    """What registers the hooks of one optimizer, and wraps every `step` that a class below it defines."""

    _HOOKS = (
        "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_optimizer_state_dict_pre_hooks",
        "_optimizer_state_dict_post_hooks", "_optimizer_load_state_dict_pre_hooks",
        "_optimizer_load_state_dict_post_hooks",
    )  # fmt: skip

    def __init_subclass__(cls, **rest):
        super().__init_subclass__(**rest)
        step = cls.__dict__.get("step")
        if step is not None and not hasattr(step, "hooked"):
            cls.step = hooked(step)

    def _make_hooks(self):
        for name in self._HOOKS:
            self.__dict__.setdefault(name, OrderedDict())

    def register_step_pre_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` before every step; a pair that it returns takes the arguments' place."""
        return add_hook(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` after every step."""
        return add_hook(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """Call `hook(optimizer)` before `state_dict`, before the other hooks if `prepend`."""
        return _add(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """Call `hook(optimizer, state_dict)` after `state_dict`; what it returns, if anything, is given instead."""
        return _add(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """Call `hook(optimizer, state_dict)` before `load_state_dict`; what it returns, if anything, is loaded."""
        return _add(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """Call `hook(optimizer)` after `load_state_dict`."""
        return _add(self._optimizer_load_state_dict_post_hooks, hook, prepend)


def _add(hooks, hook, first):
    handle = add_hook(hooks, hook)
    if first:
        hooks.move_to_end(handle.id, last=False)
    return handle
