"""State of models and optimizers whose parameters are spread: whole, or in parts, and back into them."""

from __future__ import annotations

import contextlib

from tritorch.autograd.grad_mode import no_grad
from tritorch.distributed.fsdp.api import FullStateDictConfig, StateDictType
from tritorch.distributed.shards import ShardedTensor, shard_of
from tritorch.tensor import Tensor

WRAPPED = "_fsdp_wrapped_module"
_PREFIX = f"{WRAPPED}."


def clean(name):
    """A dotted name without those of wrappers."""
    return name.replace(_PREFIX, "")


class Form:
    """In which form a module gives its state; an attribute of wrappers, so that it can differ between them."""

    def __init__(self, kind=StateDictType.FULL_STATE_DICT, config=None, optim_config=None):
        self.kind, self.config, self.optim_config = kind, config or FullStateDictConfig(), optim_config


def saver(unit, form):
    """A hook that makes entries of a state_dict what `form()` asks for."""

    @no_grad()
    def hook(module, state, prefix, metadata):
        for key in [key for key in state if key.startswith(prefix + _PREFIX)]:
            state[prefix + key[len(prefix + _PREFIX) :]] = state.pop(key)
        if unit is None:
            return
        asked = form()
        is_whole = asked.kind is StateDictType.FULL_STATE_DICT
        with gathered([unit], writeback=False) if is_whole else contextlib.nullcontext():
            for number, (parameter, names) in enumerate(unit.names.items()):
                value = _entry(unit, number, parameter, asked)
                state.update({prefix + name: value for name in names if prefix + name in state})

    return hook


def _entry(unit, number, parameter, asked):
    if asked.kind is StateDictType.FULL_STATE_DICT:
        value = parameter.detach().clone()
        return value.cpu() if asked.config.offload_to_cpu else value
    value = unit.pieces[number].data
    if asked.config.offload_to_cpu:
        value = value.cpu()
    shard = shard_of(parameter)
    return value if shard is None or asked.kind is StateDictType.LOCAL_STATE_DICT else ShardedTensor(value, shard)


def loader(unit, is_wrapper):
    """A hook that takes this rank's part of what a state_dict has, in whichever form it is."""

    def hook(module, state, prefix, *rest):
        if unit is not None:
            unit.reshard()
            for number, names in enumerate(unit.names.values()):
                for name in names:
                    if prefix + name in state:
                        state[prefix + name] = local_part(unit, number, state[prefix + name])
        if is_wrapper:
            for key in [key for key in state if key.startswith(prefix)]:
                state[prefix + _PREFIX + key[len(prefix) :]] = state.pop(key)

    return hook


def local_part(unit, number, value):
    """This rank's part of a whole tensor or of a ShardedTensor; what is none stays as it is."""
    if isinstance(value, ShardedTensor):
        own = shard_of(unit.parameters[number])
        if own is not None and own.offset == value.shard.offset and value.local.numel() == unit.pieces[number].numel():
            return value.local.reshape(-1)
        value = value.full_tensor()
    if isinstance(value, Tensor) and tuple(value.shape) == unit.shapes[number]:
        return unit.part_of(number, value)
    return value


# ------------------------------------------------------------------------------------------------ optimizers


def places(module):
    """For each parameter of a model its name, its unit and its number there."""
    found = {}
    for name, each in module.named_modules():
        unit = getattr(each, "_fsdp_unit", None)
        if unit is not None:
            prefix = clean(f"{name}." if name else "")
            for number, (parameter, names) in enumerate(unit.names.items()):
                found[parameter] = (prefix + names[0], unit, number)
    for name, parameter in module.named_parameters():
        found.setdefault(parameter, (clean(name), None, None))
    return found


def optimizer_state(module, optimizer, whole, to_cpu):
    """An optimizer's state by names of parameters, as whole tensors or ShardedTensors. Every rank has to call this."""
    where = places(module)
    for _, unit, _ in where.values():
        if unit is not None:
            unit.reshard()
    state = {}
    groups = []
    for group in optimizer.param_groups:
        groups.append({**group, "params": [where[each][0] for each in group["params"]]})
        for parameter in group["params"]:
            if parameter in optimizer.state:
                state[where[parameter][0]] = {
                    key: _gathered(value, parameter, whole, to_cpu) for key, value in optimizer.state[parameter].items()
                }
    return {"state": state, "param_groups": groups}


def _gathered(value, parameter, whole, to_cpu):
    if not isinstance(value, Tensor):
        return value
    shard = shard_of(parameter)
    if shard is not None and value.dim() and value.shape == parameter.shape:
        sharded = ShardedTensor(value.detach(), shard)
        value = sharded.full_tensor() if whole else sharded
    else:
        value = value.detach().clone()
    return value.cpu() if to_cpu and isinstance(value, Tensor) else value


def optimizer_state_to_load(module, optimizer, state_dict):
    """What `optimizer.load_state_dict` takes, of state by names of parameters or by their numbers."""
    where = places(module)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state = {}
    for position, parameter in enumerate(parameters):
        name, unit, number = where[parameter]
        given = state_dict["state"].get(name, state_dict["state"].get(position))
        if given is None:
            continue
        if unit is not None:
            unit.reshard()
            given = {key: local_part(unit, number, value) for key, value in given.items()}
        state[position] = given
    groups, position = [], 0
    for own, given in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
        count = len(own["params"])
        groups.append({**given, "params": list(range(position, position + count))})
        position += count
    return {"state": state, "param_groups": groups}


@contextlib.contextmanager
def gathered(units, writeback):
    """Inside, parameters of the units have all their elements; what is written to them stays with `writeback`."""
    plain = [(each, each.layout.param_dtype) for each in units]
    for each in units:
        each.reshard()
        each.layout.param_dtype = None  # in the dtype in which they are kept
        each.unshard()
    try:
        yield
    finally:
        for each, dtype in plain:
            if writeback:
                each.write_back()
            each.layout.param_dtype = dtype
            each.reshard()
