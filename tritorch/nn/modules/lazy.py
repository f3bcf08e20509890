"""LazyModuleMixin: modules that take the shapes of their parameters from the first input they see."""

from __future__ import annotations

from tritorch.nn.parameter import is_lazy

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin:
    """Put before a module's class: parameters may be uninitialised until the first call.

    A subclass makes its parameters as UninitializedParameter and says in `initialize_parameters(input)` how the first
    input makes them; where it names a `cls_to_become`, its instances then become that class.
    """

    cls_to_become: type | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(LazyModuleMixin._lazy_load_hook, with_module=True)
        self._initialize_hook = self.register_forward_pre_hook(LazyModuleMixin._infer_parameters, with_kwargs=True)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        for name, value in self._local_state():
            destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()

    def _lazy_load_hook(self, state_dict, prefix, *_):
        """Give what waits for a shape the one that the state dict has."""
        for name, value in self._local_state():
            found = state_dict.get(prefix + name)
            if is_lazy(value) and found is not None and not is_lazy(found):
                value.materialize(found.shape)

    def initialize_parameters(self, *args, **kwargs):
        """Make the parameters from the first input; every subclass writes its own."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self):
        """Whether any parameter or buffer of this module, not of those inside, waits for its shape."""
        return any(is_lazy(each) for each in (*self._parameters.values(), *self._buffers.values()))

    def _infer_parameters(self, args, kwargs=None):
        self.initialize_parameters(*args, **(kwargs or {}))
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        self._initialize_hook.remove()
        self._load_hook.remove()
        del self._initialize_hook, self._load_hook
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become
