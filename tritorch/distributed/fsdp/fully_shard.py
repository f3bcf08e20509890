"""fully_shard: the same units without a wrapper, by hooks on a module that stays what it is."""

from __future__ import annotations

from tritorch import distributed as dist
from tritorch.distributed.fsdp import state as states
from tritorch.distributed.fsdp.api import MixedPrecisionPolicy, StateDictType
from tritorch.distributed.fsdp.fully_sharded_data_parallel import own_parameters
from tritorch.distributed.fsdp.schedule import Schedule, cast_in
from tritorch.distributed.fsdp.unit import Layout, Unit


class FSDPModule:
    """What `fully_shard` adds to a module."""

    def _ready(self):
        if self._fsdp_schedule is None:
            inner = [each for each in self.modules() if isinstance(each, FSDPModule)]
            made = Schedule([each._fsdp_unit for each in inner if each._fsdp_unit is not None])
            made.root = self
            for each in inner:
                each._fsdp_schedule = made
        return self._fsdp_schedule

    def unshard(self, async_op=False):
        """Gather the parameters of this module's unit."""
        self._ready()
        if self._fsdp_unit is not None:
            self._fsdp_unit.unshard()

    def reshard(self):
        """Let go of the gathered parameters of this module's unit."""
        if self._fsdp_unit is not None:
            self._fsdp_unit.reshard()

    def set_requires_gradient_sync(self, requires_gradient_sync, *, recurse=True):
        """Whether backward reduces gradients; said for the whole model."""
        self._ready().sync = requires_gradient_sync

    def set_reshard_after_backward(self, reshard_after_backward, *, recurse=True):
        """Refused where it asks to keep parameters gathered after backward."""
        if not reshard_after_backward:
            raise NotImplementedError("set_reshard_after_backward(False): parameters are let go after backward")


def fully_shard(
    module, *, mesh=None, reshard_after_forward=None, shard_placement_fn=None, mp_policy=None, ignored_params=None
):
    """Spread the parameters of a module, less those of modules inside that were given to it before; gives the module.

    `mesh` is a process group, or None for all ranks. Parameters are gathered for forward and backward, and kept from
    one to the other with `reshard_after_forward=False`.
    """
    if shard_placement_fn is not None:
        raise NotImplementedError("fully_shard: shard_placement_fn is not supported; parameters are split as they lie")
    policy = mp_policy or MixedPrecisionPolicy()
    group = mesh or dist.group.WORLD
    left_out = {id(each) for each in ignored_params or ()}
    named = [(name, each) for name, each in own_parameters(module) if id(each) not in left_out]
    layout = Layout(group if dist.get_world_size(group) > 1 else None, None, policy.param_dtype, policy.reduce_dtype)
    unit = Unit(named, layout, reshard_after_forward is False) if named else None
    kind = type(module)
    module.__class__ = type(f"FSDP{kind.__name__}", (FSDPModule, kind), {"__doc__": kind.__doc__})
    module._fsdp_unit, module._fsdp_schedule = unit, None
    form = states.Form(StateDictType.SHARDED_STATE_DICT)
    module.register_state_dict_post_hook(states.saver(unit, lambda: form))
    module.register_load_state_dict_pre_hook(states.loader(unit, False))
    module.register_forward_pre_hook(_before(policy), with_kwargs=True)
    module.register_forward_hook(_after(policy))
    return module


def _before(policy):
    def hook(module, args, kwargs):
        schedule = module._ready()
        if schedule.root is module:
            schedule.begin()
        if policy.param_dtype is not None and policy.cast_forward_inputs:
            args, kwargs = cast_in((args, kwargs), policy.param_dtype)
        if module._fsdp_unit is not None:
            schedule.before_forward(module._fsdp_unit, (args, kwargs))
        return args, kwargs

    return hook


def _after(policy):
    def hook(module, args, outputs):
        if policy.output_dtype is not None:
            outputs = cast_in(outputs, policy.output_dtype)
        if module._fsdp_unit is not None:
            module._ready().after_forward(module._fsdp_unit, outputs)
        return outputs

    return hook
