"""Modules as functions of their parameters: functional_call, and the state of many as one."""

from __future__ import annotations

from contextlib import contextmanager

from tritorch.ops.base import EXPORTS

_ROOMS = ("_parameters", "_buffers")


def functional_call(module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """module(*args, **kwargs) with the parameters and buffers that are given, by dotted name, in place of its own.

    Several dicts must have no name in common. What is not given is the module's own; with `strict` all must be given.
    Names that stand for one tensor are all replaced where one is given, unless `tie_weights` is False. Buffers that the
    module assigns are written to the dict.
    """
    given = _joined(parameter_and_buffer_dicts)
    places = _places(module)
    _check_names(module, places, given, strict)
    whole = dict(given)
    if tie_weights:
        _add_tied(places, whole, given)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(places, whole, given):
        return module(*args, **(kwargs or {}))


def _joined(dicts):
    if isinstance(dicts, dict):
        return dicts
    if not isinstance(dicts, (list, tuple)):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(dicts)}"
        )
    if not all(isinstance(each, dict) for each in dicts):
        kinds = [type(each) for each in dicts]
        raise ValueError(f"Expected all elements of parameter_and_buffer_dicts to be dictionaries, got {kinds}")
    names = [name for each in dicts for name in each]
    repeated = [name for number, name in enumerate(names) if name in names[:number]]
    if repeated:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return {name: value for each in dicts for name, value in each.items()}


def _places(module):
    """For each dotted name the dict of a module that holds the tensor, and its key there."""
    found = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for room in _ROOMS:
            members = part.__dict__[room]
            for name, value in members.items():
                if value is not None:
                    found[f"{prefix}.{name}" if prefix else name] = members, name
    return found


def _check_names(module, places, given, strict):
    if not strict:
        return
    tensors = {id(members[name]) for full, (members, name) in places.items() if full in given}
    unexpected = sorted(name for name in given if name not in places)
    missing = sorted(
        full for full, (members, name) in places.items() if full not in given and id(members[name]) not in tensors
    )
    lines = [
        f"\n\t{text} key(s): {', '.join(map(repr, names))}."
        for text, names in (("Unexpected", unexpected), ("Missing", missing))
        if names
    ]
    if lines:
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:{''.join(lines)}")


def _add_tied(places, whole, given):
    """Give what was given for one name of a tensor to its other names."""
    by_tensor = {id(places[name][0][places[name][1]]): value for name, value in given.items() if name in places}
    for full, (members, name) in places.items():
        if full not in whole and id(members[name]) in by_tensor:
            whole[full] = by_tensor[id(members[name])]


@contextmanager
def _replaced(places, whole, given):
    """Inside, the module has the given tensors; what it put in their place is written to `given` at the end."""
    before = []
    for full, value in whole.items():
        if full in places:
            members, name = places[full]
            before.append((full, members, name, members[name]))
            members[name] = value
    try:
        yield
    finally:
        for full, members, name, own in before:
            if full in given and members[name] is not whole[full]:
                given[full] = members[name]
            members[name] = own


def stack_module_state(models):
    """The parameters and the buffers of modules of one class, stacked: two dicts, for `functional_call` under `vmap`.

    The stacked parameters are leaves, which want gradients where those of all modules do.
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    models = list(models)
    if not (all(each.training for each in models) or not any(each.training for each in models)):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if not all(type(each) is type(models[0]) for each in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    all_parameters = [dict(each.named_parameters()) for each in models]
    all_buffers = [dict(each.named_buffers()) for each in models]
    return tuple(
        {name: _stacked(name, [each[name] for each in every]) for name in every[0]}
        for every in (all_parameters, all_buffers)
    )


def _stacked(name, tensors):
    wanted = [each.requires_grad for each in tensors]
    if any(wanted) and not all(wanted):
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    made = EXPORTS["stack"]([each.detach() for each in tensors])
    return made.requires_grad_() if all(wanted) else made
