"""Policies: which modules inside a model become units of their own."""

from __future__ import annotations

from tritorch.nn.modules.container import ModuleDict, ModuleList


class ModuleWrapPolicy:
    """Every module of the given classes."""

    def __init__(self, module_classes):
        self.classes = tuple(module_classes)

    def __call__(self, module, recurse, *args, **kwargs):
        return recurse or isinstance(module, self.classes)


class CustomPolicy:
    """Every module for which `lambda_fn(module)` is true, or a dict of settings that its unit has."""

    def __init__(self, lambda_fn):
        self.chosen = lambda_fn


def transformer_auto_wrap_policy(module, recurse, nonwrapped_numel, transformer_layer_cls):
    """Every module of the given layer classes."""
    return recurse or isinstance(module, tuple(transformer_layer_cls))


def lambda_auto_wrap_policy(module, recurse, nonwrapped_numel, lambda_fn):
    """Every module for which `lambda_fn(module)` is true."""
    return recurse or lambda_fn(module)


def always_wrap_policy(*args, **kwargs):
    """Every module."""
    return True


def size_based_auto_wrap_policy(
    module, recurse, nonwrapped_numel, min_num_params=int(1e8), force_leaf_modules=None, exclude_wrap_modules=None
):
    """Every module with at least `min_num_params` elements that no unit inside it has taken."""
    leaves = size_based_auto_wrap_policy.FORCE_LEAF_MODULES if force_leaf_modules is None else force_leaf_modules
    excluded = (
        size_based_auto_wrap_policy.EXCLUDE_WRAP_MODULES if exclude_wrap_modules is None else exclude_wrap_modules
    )
    is_large = nonwrapped_numel >= min_num_params
    if recurse:
        return is_large and not isinstance(module, tuple(leaves))
    return is_large and not isinstance(module, tuple(excluded))


def _attention():
    from tritorch.nn.modules.attention import MultiheadAttention

    return {MultiheadAttention}


size_based_auto_wrap_policy.FORCE_LEAF_MODULES = _attention()  # type: ignore[attr-defined]
size_based_auto_wrap_policy.EXCLUDE_WRAP_MODULES = {ModuleList, ModuleDict}  # type: ignore[attr-defined]


def wrap_children(module, policy, wrap, ignored):
    """Wrap what `policy` chooses inside `module`, innermost first; gives the count of elements that units took."""
    taken = 0
    for name, child in list(module.named_children()):
        if child in ignored:
            continue
        sizes = {id(each): each.numel() for each in child.parameters()}
        size, settings = sum(sizes.values()), {}
        inner = 0
        if isinstance(policy, CustomPolicy) or policy(module=child, recurse=True, nonwrapped_numel=size):
            inner = wrap_children(child, policy, wrap, ignored)
        if isinstance(policy, CustomPolicy):
            chosen = policy.chosen(child)
            settings = chosen if isinstance(chosen, dict) else {}
            chosen = chosen is not False and chosen is not None
        else:
            chosen = policy(module=child, recurse=False, nonwrapped_numel=size - inner)
        if chosen and not isinstance(child, (ModuleList, ModuleDict)):
            setattr(module, name, wrap(child, **settings))
            inner = size
        taken += inner
    return taken
