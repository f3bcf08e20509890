"""State dicts of models and optimizers under the names that parameters have without any wrapper, sharded or whole.

They fit models of the same layers however these are spread: plain, in DistributedDataParallel or fully sharded, with a
plain optimizer or a ZeroRedundancyOptimizer. `save` writes them and `load` fills them.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from tritorch import distributed as dist
from tritorch.creation import zeros_like
from tritorch.distributed.shards import ShardedTensor, shard_of
from tritorch.optim.optimizer import Optimizer
from tritorch.runtime.device import CPU
from tritorch.tensor import Tensor

WRAPPERS = ("_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod")  # members of modules around another


@dataclass
class StateDictOptions:
    """How state dicts are made and taken.

    full_state_dict       gather sharded tensors: whole ones on every rank, with `cpu_offload` on rank 0 only
    cpu_offload           tensors on the CPU
    ignore_frozen_params  leave parameters out that need no gradient
    strict                as of `load_state_dict`
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    strict: bool = True


def get_model_state_dict(model, *, submodules=None, options=None):
    """The state dict of a model under its plain names. Every rank has to call this."""
    options = options or StateDictOptions()
    plain = _plain_names(model)
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    left_out = {plain(name) for name in frozen} if options.ignore_frozen_params else ()
    with _in_parts(model):
        state = {plain(name): value for name, value in model.state_dict().items()}
    return _offered({name: value for name, value in state.items() if name not in left_out}, options)


def get_optimizer_state_dict(model, optimizers, *, submodules=None, options=None):
    """State and groups of the optimizers of a model, with the names of parameters in the place of numbers.

    An optimizer that has no state yet gives that of a first step, for `load` to fill, and stays without. State that
    other ranks keep is not here, but with `full_state_dict`. Every rank has to call this.
    """
    options = options or StateDictOptions()
    names = _names_of_parameters(model)
    state, groups = {}, []
    for optimizer in _several(optimizers):
        for parameter, own in _state_of(optimizer).items():
            shard = shard_of(parameter)
            state[names[id(parameter)]] = {key: _as_shard(value, parameter, shard) for key, value in own.items()}
        for group in optimizer.param_groups:
            plain = {name: value for name, value in group.items() if name not in ("params", "param_names")}
            groups.append(plain | {"params": [names[id(each)] for each in group["params"]]})
    if options.full_state_dict:
        state = _gathered_state(state, _several(optimizers), names)
    return _offered({"state": state, "param_groups": groups}, options)


def get_state_dict(model, optimizers, *, submodules=None, options=None):
    """The state dicts of a model and of its optimizers."""
    return (
        get_model_state_dict(model, options=options),
        get_optimizer_state_dict(model, optimizers, options=options),
    )


def set_model_state_dict(model, model_state_dict, *, options=None):
    """Load what `get_model_state_dict` gave; gives the missing and the unexpected names."""
    options = options or StateDictOptions()
    plain = _plain_names(model)
    with _in_parts(model):  # for the names alone
        wrapped = {plain(name): name for name in model.state_dict()}
    state = {wrapped.get(name, name): value for name, value in model_state_dict.items()}
    return model.load_state_dict(state, strict=options.strict)


def set_optimizer_state_dict(model, optimizers, optim_state_dict, *, options=None):
    """Load what `get_optimizer_state_dict` gave, into optimizers of the same parameters in any order and groups."""
    names = _names_of_parameters(model)
    saved = {name: group for group in optim_state_dict["param_groups"] for name in group["params"]}
    for optimizer in _several(optimizers):
        state, groups, count = {}, [], 0
        for group in optimizer.param_groups:
            found = [names[id(each)] for each in group["params"]]
            for number, name in enumerate(found, count):
                if name in optim_state_dict["state"]:
                    own = optim_state_dict["state"][name]
                    state[number] = {key: _local(value, group["params"][number - count]) for key, value in own.items()}
            options_of = next((saved[name] for name in found if name in saved), group)
            plain = {name: value for name, value in options_of.items() if name not in ("params", "param_names")}
            groups.append(plain | {"params": list(range(count, count + len(found)))})
            count += len(found)
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def set_state_dict(model, optimizers, *, model_state_dict, optim_state_dict, options=None):
    """Load the state dicts of a model and of its optimizers; gives the missing and unexpected names of the model."""
    set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return set_model_state_dict(model, model_state_dict, options=options)


# -------------------------------------------------------------------------------------------- names


def _plain_names(model):
    """A function that takes the members of wrappers out of a name."""
    from tritorch.nn.parallel import DataParallel, DistributedDataParallel

    around = {
        name for name, module in model.named_modules() if isinstance(module, (DataParallel, DistributedDataParallel))
    }

    def plain(name):
        parts, kept = name.split("."), []
        for at, part in enumerate(parts):
            is_wrapped = part == "module" and ".".join(parts[:at]) in around
            if not is_wrapped and part not in WRAPPERS:
                kept.append(part)
        return ".".join(kept)

    return plain


def _in_parts(model):
    """Inside, wrappers that can choose give sharded tensors in the `state_dict` of a model."""
    wrapper = next((each for each in model.modules() if hasattr(type(each), "state_dict_type")), None)
    if wrapper is None:
        return nullcontext()
    from tritorch.distributed.fsdp import StateDictType

    return wrapper.state_dict_type(model, StateDictType.SHARDED_STATE_DICT)


def _names_of_parameters(model):
    plain = _plain_names(model)
    return {id(each): plain(name) for name, each in model.named_parameters()}


def _several(optimizers):
    return (optimizers,) if isinstance(optimizers, Optimizer) else tuple(optimizers)


# -------------------------------------------------------------------------------------------- state


def _state_of(optimizer):
    """The state of an optimizer by parameters, or what a first step would make of it."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    if optimizer.state or any(each.grad is not None for each in parameters):
        return dict(optimizer.state)
    rates = [group.get("lr") for group in optimizer.param_groups]
    for each in parameters:
        if each.requires_grad:
            each.grad = zeros_like(each)
    for group in optimizer.param_groups:
        if "lr" in group:
            group["lr"] = group["lr"] * 0  # so that weight decay changes nothing either
    try:
        optimizer.step()
        return dict(optimizer.state)
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            if rate is not None:
                group["lr"] = rate
        optimizer.state.clear()
        optimizer.zero_grad()


def _as_shard(value, parameter, shard):
    """A buffer of a sharded parameter as a part of the whole."""
    if shard is None or not isinstance(value, Tensor) or value.shape != parameter.shape or not value.ndim:
        return value
    return ShardedTensor(value, shard)


def _local(value, parameter):
    """What an optimizer keeps of a value: the part of its parameter."""
    if isinstance(value, ShardedTensor):
        return value.to_local()
    shard = shard_of(parameter)
    if shard is None or not isinstance(value, Tensor) or tuple(value.shape) != tuple(shard.shape) or not value.ndim:
        return value
    part = value.reshape(-1)[shard.offset : shard.offset + parameter.numel()]
    return part.reshape(parameter.shape)


def _gathered_state(state, optimizers, names):
    """The state of all parameters, where each rank keeps some."""
    from tritorch.distributed.optim import ZeroRedundancyOptimizer

    for optimizer in optimizers:
        if isinstance(optimizer, ZeroRedundancyOptimizer):
            everything = optimizer.gathered_state()
            state |= {names[id(parameter)]: own for parameter, own in everything.items()}
    return state


def _offered(value, options):
    """Nested values as the options want them."""
    if isinstance(value, ShardedTensor) and options.full_state_dict:
        value = value.full_tensor()
    kept = not (options.full_state_dict and options.cpu_offload and dist.is_initialized() and dist.get_rank() > 0)
    if isinstance(value, dict):
        made = {key: _offered(each, options) for key, each in value.items()}
        return made if kept else {}
    if isinstance(value, list):
        return [_offered(each, options) for each in value]
    if options.cpu_offload and isinstance(value, ShardedTensor):
        return ShardedTensor(value.local.to(CPU), value.shard)
    return value.to(CPU) if options.cpu_offload and isinstance(value, Tensor) else value
