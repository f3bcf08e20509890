"""OptimizedModule: what `torch.compile` gives for a module."""

from __future__ import annotations

from tritorch.nn.modules.module import Module


class OptimizedModule(Module):
    """Calls `_orig_mod`, and has its attributes and methods; keys of its state dict begin with `_orig_mod.`."""

    def __init__(self, module):
        super().__init__()
        del self.__dict__["training"]  # is that of the module
        self._modules["_orig_mod"] = module

    def forward(self, *args, **kwargs):
        """What the module computes."""
        return self._orig_mod(*args, **kwargs)

    @property
    def training(self):
        return self._modules["_orig_mod"].training

    @training.setter
    def training(self, value):
        if "_orig_mod" in self.__dict__.get("_modules", {}):
            self._modules["_orig_mod"].training = value

    def __getattr__(self, name):
        if name == "_orig_mod":
            return self.__dict__["_modules"]["_orig_mod"]
        return getattr(self._orig_mod, name)

    def __setattr__(self, name, value):
        if name == "training" or name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name):
        delattr(self._orig_mod, name)

    def __len__(self):
        return len(self._orig_mod)

    def __dir__(self):
        return sorted({*super().__dir__(), *dir(self._orig_mod)})
