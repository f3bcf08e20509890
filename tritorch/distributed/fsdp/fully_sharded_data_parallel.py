"""FullyShardedDataParallel: a module whose parameters, gradients and optimizer state are spread over ranks."""

from __future__ import annotations

import contextlib

from tritorch import distributed as dist
from tritorch.autograd import engine
from tritorch.autograd.grad_mode import no_grad
from tritorch.distributed.fsdp import state as states
from tritorch.distributed.fsdp.api import CONFIGS, BackwardPrefetch, MixedPrecision, ShardingStrategy, StateDictType
from tritorch.distributed.fsdp.clipping import clip_units
from tritorch.distributed.fsdp.schedule import Schedule, cast_in
from tritorch.distributed.fsdp.unit import Layout, Unit
from tritorch.distributed.fsdp.wrap import wrap_children
from tritorch.nn.modules.module import Module
from tritorch.nn.parallel.replicas import broadcast_flat

_KEEPS = (ShardingStrategy.SHARD_GRAD_OP, ShardingStrategy.NO_SHARD, ShardingStrategy._HYBRID_SHARD_ZERO2)
_HYBRID = (ShardingStrategy.HYBRID_SHARD, ShardingStrategy._HYBRID_SHARD_ZERO2)


class FullyShardedDataParallel(Module):
    """A module whose parameters are gathered for its forward and backward, and else lie in parts on the ranks.

    auto_wrap_policy   chooses modules inside that become units of their own, gathered one after the other
    mixed_precision    dtypes of gathered parameters, of reductions, of buffers
    ignored_modules    modules whose parameters stay whole on every rank, and are not reduced
    device_id          where the module is moved to before
    sync_module_states has all ranks begin with parameters and buffers of rank 0 of the group

    The module's Parameters stay the same objects, under their names: an optimizer made afterwards sees this rank's part
    of each, as a tensor of one dimension, whatever `use_orig_params` says. Without it, parameters that a backward did
    not use have gradients of zeros, as one flat parameter would; with it they have none.
    """

    def __init__(
        self, module, process_group=None, sharding_strategy=None, cpu_offload=None, auto_wrap_policy=None,
        backward_prefetch=BackwardPrefetch.BACKWARD_PRE, mixed_precision=None, ignored_modules=None,
        param_init_fn=None, device_id=None, sync_module_states=False, forward_prefetch=False, limit_all_gathers=True,
        use_orig_params=False, ignored_states=None, device_mesh=None,
    ):  # fmt: skip
        super().__init__()
        if cpu_offload or device_mesh is not None:
            name = "cpu_offload" if cpu_offload else "device_mesh"
            raise NotImplementedError(f"FullyShardedDataParallel: {name} is not supported; leave it out")
        strategy = sharding_strategy or ShardingStrategy.FULL_SHARD
        group, replicas = _groups(strategy, process_group)
        precision = mixed_precision or MixedPrecision()
        ignored = {inner for each in ignored_modules or () for inner in each.modules()}
        left_out = {id(each) for inner in ignored for each in inner.parameters()}
        left_out |= {id(each) for each in ignored_states or () if not isinstance(each, Module)}
        settings = {
            "process_group": process_group, "sharding_strategy": strategy, "mixed_precision": mixed_precision,
            "backward_prefetch": backward_prefetch, "forward_prefetch": forward_prefetch,
            "use_orig_params": use_orig_params, "ignored_modules": ignored_modules, "ignored_states": ignored_states,
        }  # fmt: skip
        _prepare(module, param_init_fn, device_id)
        if sync_module_states:
            _sync(module, process_group, left_out)
        if auto_wrap_policy is not None:
            wrap = type(self)
            wrap_children(module, auto_wrap_policy, lambda each, **own: wrap(each, **{**settings, **own}), ignored)
        self._fsdp_wrapped_module = module
        self.sharding_strategy, self.mixed_precision, self.process_group = strategy, precision, process_group
        named = [(name, each) for name, each in own_parameters(module) if id(each) not in left_out]
        layout = Layout(group, replicas, precision.param_dtype, precision.reduce_dtype)
        self._fsdp_unit = Unit(named, layout, strategy in _KEEPS, not use_orig_params) if named else None
        self._ahead = forward_prefetch, backward_prefetch is not None
        self._schedule, self._form = None, states.Form()
        if precision.buffer_dtype is not None:
            for each in module.buffers():
                each.data = cast_in(each.data, precision.buffer_dtype)
        self.register_state_dict_post_hook(states.saver(self._fsdp_unit, lambda: self._form))
        self.register_load_state_dict_pre_hook(states.loader(self._fsdp_unit, True))

    # -------------------------------------------------------------------------------------------- as the module

    @property
    def module(self):
        """The module inside."""
        return self._fsdp_wrapped_module

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__(states.WRAPPED), name)

    def __getitem__(self, key):
        return self.module[key]

    def named_parameters(self, *args, **kwargs):
        """Names and parameters, under the names that they have without wrappers."""
        for name, each in super().named_parameters(*args, **kwargs):
            yield states.clean(name), each

    def named_buffers(self, *args, **kwargs):
        """Names and buffers, under the names that they have without wrappers."""
        for name, each in super().named_buffers(*args, **kwargs):
            yield states.clean(name), each

    @staticmethod
    def fsdp_modules(module, root_only=False):
        """The wrappers in a module, itself included; with `root_only` those inside no other."""
        found = [each for each in module.modules() if isinstance(each, FullyShardedDataParallel)]
        if root_only:
            inner = {id(below) for each in found for below in each.modules() if below is not each}
            found = [each for each in found if id(each) not in inner]
        return found

    def _ready(self):
        """The schedule of the outermost wrapper, made at its first forward, and shared by all inside."""
        if self._schedule is None:
            wrappers = self.fsdp_modules(self)
            made = Schedule([each._fsdp_unit for each in wrappers if each._fsdp_unit is not None], *self._ahead)
            made.root = self
            for each in wrappers:
                each._schedule = made
        return self._schedule

    @property
    def _is_root(self):
        return self._ready().root is self

    def forward(self, *args, **kwargs):
        """The module's forward, with its parameters gathered."""
        schedule, unit, precision = self._ready(), self._fsdp_unit, self.mixed_precision
        if self._is_root:
            schedule.begin()
        casts = precision.cast_root_forward_inputs if self._is_root else precision.cast_forward_inputs
        if casts and precision.param_dtype is not None:
            args, kwargs = cast_in((args, kwargs), precision.param_dtype)
        if unit is None:
            return self.module(*args, **kwargs)
        schedule.before_forward(unit, (args, kwargs))
        outputs = self.module(*args, **kwargs)
        schedule.after_forward(unit, outputs)
        return outputs

    # -------------------------------------------------------------------------------------------- training

    @contextlib.contextmanager
    def no_sync(self):
        """Inside, backward keeps gradients of this rank whole and apart; the next one outside reduces their sum."""
        schedule = self._ready()
        if not self._is_root:
            raise RuntimeError(
                "`no_sync()` on inner FSDP instances is not supported. Please call `no_sync()` on root FSDP."
            )
        before, schedule.sync = schedule.sync, False
        try:
            yield
        finally:
            schedule.sync = before

    @no_grad()
    def clip_grad_norm_(self, max_norm, norm_type=2.0):
        """Scale all gradients so that their norm over all ranks is at most `max_norm`; gives the norm before."""
        return clip_units(self, self._ready().units, max_norm, float(norm_type))

    @staticmethod
    @contextlib.contextmanager
    def summon_full_params(
        module, recurse=True, writeback=True, rank0_only=False, offload_to_cpu=False, with_grads=False
    ):
        """Inside, parameters are whole on every rank; what is written to them stays with `writeback`."""
        if with_grads or (rank0_only and writeback):
            what = "with_grads=True" if with_grads else "writeback=True and rank0_only=True"
            raise NotImplementedError(f"summon_full_params: {what} is not supported")
        if engine.current.run is not None:
            raise AssertionError("Cannot manually unshard parameters during forward/backward")
        wrappers = FullyShardedDataParallel.fsdp_modules(module) if recurse else [module]
        with states.gathered([each._fsdp_unit for each in wrappers if each._fsdp_unit is not None], writeback):
            yield

    # -------------------------------------------------------------------------------------------- state

    @staticmethod
    def set_state_dict_type(module, state_dict_type, state_dict_config=None, optim_state_dict_config=None):
        """Say in which form `state_dict` gives the state of all wrappers in a module; gives what was said before."""
        plain, optim = CONFIGS[state_dict_type]
        if state_dict_config is not None and type(state_dict_config) is not plain:
            raise RuntimeError(f"Expected state_dict_config of type {plain} but got {type(state_dict_config)}")
        wrappers = FullyShardedDataParallel.fsdp_modules(module)
        before = wrappers[0]._form if wrappers else states.Form()
        made = states.Form(state_dict_type, state_dict_config or plain(), optim_state_dict_config or optim())
        for each in wrappers:
            each._form = made
        return before

    @staticmethod
    @contextlib.contextmanager
    def state_dict_type(module, state_dict_type, state_dict_config=None, optim_state_dict_config=None):
        """Inside, `state_dict` gives this form."""
        wrappers = FullyShardedDataParallel.fsdp_modules(module)
        before = [each._form for each in wrappers]
        FullyShardedDataParallel.set_state_dict_type(
            module, state_dict_type, state_dict_config, optim_state_dict_config
        )
        try:
            yield
        finally:
            for each, form in zip(wrappers, before, strict=True):
                each._form = form

    def state_dict(self, *args, **kwargs):
        """The state in the form that `set_state_dict_type` said, whole if it said nothing. A collective."""
        found = super().state_dict(*args, **kwargs)
        alone = getattr(self._form.config, "rank0_only", False) and kwargs.get("destination") is None
        if alone and dist.get_rank(self._fsdp_group()):
            found.clear()
        return found

    def _fsdp_group(self):
        return self.process_group[0] if isinstance(self.process_group, tuple) else self.process_group

    @staticmethod
    def optim_state_dict(model, optim, optim_state_dict=None, group=None):
        """An optimizer's state by names of parameters, in the form that `set_state_dict_type` said. A collective."""
        form = next((each._form for each in FullyShardedDataParallel.fsdp_modules(model)), states.Form())
        whole = form.kind is StateDictType.FULL_STATE_DICT
        found = states.optimizer_state(model, optim, whole, form.optim_config and form.optim_config.offload_to_cpu)
        return {} if getattr(form.optim_config, "rank0_only", False) and dist.get_rank(group) else found

    @staticmethod
    def full_optim_state_dict(model, optim, optim_input=None, rank0_only=True, group=None):
        """An optimizer's state by names of parameters, whole, on rank 0 or on all ranks. A collective."""
        found = states.optimizer_state(model, optim, True, True)
        return {} if rank0_only and dist.get_rank(group) else found

    @staticmethod
    def optim_state_dict_to_load(
        model, optim, optim_state_dict, is_named_optimizer=False, load_directly=False, group=None
    ):
        """This rank's part of a state by names of parameters, as `optim.load_state_dict` takes it."""
        found = states.optimizer_state_to_load(model, optim, optim_state_dict)
        if load_directly:
            optim.load_state_dict(found)
        return found


def _groups(strategy, group):
    """The ranks that hold one copy, and those that hold the same part of other copies."""
    if strategy in _HYBRID:
        if not isinstance(group, tuple):
            raise ValueError(
                f"{strategy}: process_group has to be a tuple of two groups, that of a copy and that over the copies"
            )
        return group
    if dist.get_world_size(group) == 1:
        return None, None
    return (
        (None, group or dist.group.WORLD)
        if strategy is ShardingStrategy.NO_SHARD
        else (group or dist.group.WORLD, None)
    )


def own_parameters(module):
    """Names and parameters that no unit inside has, each under all its names."""
    units = [getattr(inner, "_fsdp_unit", None) for inner in module.modules()]
    taken = {id(each) for unit in units if unit is not None for each in unit.parameters}
    for name, each in module.named_parameters(remove_duplicate=False):
        if id(each) not in taken:
            yield name, each


def _prepare(module, initialise, device):
    if initialise is not None:
        for each in module.modules():
            if any(own.is_meta for own in each.parameters(recurse=False)):
                initialise(each)
    if device is not None:
        module.to(device)


def _sync(module, group, left_out):
    tensors = [
        each
        for each in (*module.parameters(), *module.buffers())
        if id(each) not in left_out and getattr(each, "shard", None) is None
    ]
    for some in group if isinstance(group, tuple) else (group,):
        broadcast_flat(tensors, some)
