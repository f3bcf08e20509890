"""DistributedDataParallel: a module that each of several processes runs on its own data, with averaged gradients."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

from tritorch import distributed as dist
from tritorch.autograd import is_grad_enabled
from tritorch.distributed.algorithms.join import Join, Joinable, JoinHook
from tritorch.distributed.group import resolve
from tritorch.nn.modules.module import Module
from tritorch.nn.parallel.data_parallel import brought_to
from tritorch.nn.parallel.reducer import Reducer
from tritorch.nn.parallel.replicas import broadcast_flat, check_alike
from tritorch.runtime.device import Device
from tritorch.utils.nests import tensors_in

_MEBIBYTE = 1 << 20


class DistributedDataParallel(Module, Joinable):
    """`module`, whose gradients become their mean over all ranks of `process_group` during backward.

    Parameters and buffers are those of the group's first rank to begin with. Gradients are reduced in buckets of
    `bucket_cap_mb` MiB while backward goes on; the gradient of a batch that is spread evenly over the ranks is that of
    the whole batch if the loss is a mean. `find_unused_parameters` looks in each forward which parameters lead to the
    outputs; `static_graph` promises that it is always the same ones, and allows a parameter several gradients in a
    backward. With `gradient_as_bucket_view` gradients lie in the buckets and are not copied. `device_ids` names one
    GPU, to which inputs are brought. Keys of the state dict begin with "module.".

    Source: Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, 2020.
    """

    _divide_by_active = False  # in a `join` that asked for it

    def __init__(
        self, module, device_ids=None, output_device=None, dim=0, broadcast_buffers=True, init_sync=True,
        process_group=None, bucket_cap_mb=None, find_unused_parameters=False, check_reduction=False,
        gradient_as_bucket_view=False, static_graph=False,
    ):  # fmt: skip
        super().__init__()
        self.process_group = resolve(process_group)
        if isinstance(module, DistributedDataParallel):
            raise RuntimeError("DistributedDataParallel cannot wrap a module that is wrapped already")
        self._ignored = frozenset(getattr(module, "_ddp_params_and_buffers_to_ignore", ()))
        named = [(name, each) for name, each in module.named_parameters() if name not in self._ignored]
        trained = _trained(named)
        if not trained:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters that require a "
                "gradient."
            )
        self.module, self.dim = module, dim
        self.device = trained[0][1].device
        self.device_ids, self.output_device = self._devices(device_ids, output_device, named)
        self.broadcast_buffers, self.find_unused_parameters = broadcast_buffers, find_unused_parameters
        self.gradient_as_bucket_view, self.static_graph = gradient_as_bucket_view, static_graph
        self.bucket_bytes_cap = int((25 if bucket_cap_mb is None else bucket_cap_mb) * _MEBIBYTE)
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self._find_buffers()
        if init_sync and not self._alone():
            check_alike(named, self.process_group)
            broadcast_flat([each for _, each in named] + self.modules_buffers, self.process_group)
        self._named, self.reducer = trained, None
        if not self._alone():
            self._make_reducer()

    def _alone(self):
        return dist.get_world_size(self.process_group) == 1

    def _find_buffers(self):
        """The buffers as they are now: modules may put others in their place."""
        self.modules_buffers = [each for name, each in self.module.named_buffers() if name not in self._ignored]

    def _make_reducer(self):
        self.reducer = Reducer(
            self._named, self.process_group, self.bucket_bytes_cap, self.gradient_as_bucket_view,
            self.find_unused_parameters, self.static_graph,
        )  # fmt: skip

    def _devices(self, device_ids, output_device, named):
        """The GPU that inputs are brought to, as a list of one, and where outputs are: None for host tensors."""
        if not device_ids:
            if output_device is not None:
                raise ValueError(
                    "DistributedDataParallel device_ids and output_device arguments only work with single-device/"
                    f"multiple-device GPU modules or CPU modules, but got device_ids {device_ids}, output_device "
                    f"{output_device}, and module parameters { ({str(each.device) for _, each in named}) }."
                )
            return None, None
        if len(device_ids) > 1:
            raise ValueError("device_ids can only be None or contain a single element.")
        if self.device.type != "cuda":
            raise ValueError(
                f"DistributedDataParallel device_ids are GPUs, but got device_ids {device_ids} and module parameters "
                f"on {self.device}."
            )
        index = device_ids[0].index if isinstance(device_ids[0], Device) else int(device_ids[0])
        return [index], index if output_device is None else output_device

    # ------------------------------------------------------------------------------------------------- forward

    def forward(self, *inputs, **kwargs):
        """What the module computes; its backward reduces the gradients."""
        syncing = is_grad_enabled() and self.require_backward_grad_sync
        active = Join.notify_join_context(self) if syncing else None
        if self.require_forward_param_sync:
            self._sync_buffers()
        if self.device_ids:
            inputs, kwargs = brought_to(self.device, (inputs, kwargs))
        outputs = self.module(*inputs, **kwargs)
        self.require_forward_param_sync = syncing
        if self.reducer is not None:
            if syncing:
                self.reducer.prepare(tensors_in(outputs), active if self._divide_by_active else None)
            elif is_grad_enabled():  # else it has no backward, and one that is still to come is another forward's
                self.reducer.armed = False
        return outputs

    def _sync_buffers(self):
        if not self.broadcast_buffers or self._alone():
            return
        self._find_buffers()
        if self.modules_buffers:
            broadcast_flat(self.modules_buffers, self.process_group)

    def will_sync_module_buffers(self):
        """Whether the next forward makes buffers those of the first rank."""
        return self.require_forward_param_sync and self.broadcast_buffers and len(self.modules_buffers) > 0

    @contextmanager
    def no_sync(self):
        """Inside, gradients add up on each rank alone; the first backward whose forward is outside reduces the sum."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    def register_comm_hook(self, state, hook):
        """Let `hook(state, bucket)` reduce each bucket: it returns a Future of the averaged flat tensor."""
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self.reducer is None:
            self._make_reducer()
        if self.reducer.hook is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        self.reducer.hook = state, hook

    def _set_static_graph(self):
        """Promise that the graph is the same in each step."""
        self.static_graph = True
        if self.reducer is not None:
            self.reducer.static = True
        if self.find_unused_parameters:
            warnings.warn(
                "You passed find_unused_parameters=true to DistributedDataParallel, `_set_static_graph` will detect "
                "unused parameters automatically, so you do not need to set find_unused_parameters=true, just be sure "
                "these unused parameters will not change during training loop while calling `_set_static_graph`.",
                stacklevel=2,
            )

    # ---------------------------------------------------------------------------------------------- uneven inputs

    def join(self, divide_by_initial_world_size=True, enable=True, throw_on_early_termination=False):
        """A context in which ranks may have different numbers of batches: those that are through count as zeros.

        Without `divide_by_initial_world_size` the mean is over the ranks that are not through.
        """
        return Join(
            [self], enable, throw_on_early_termination, divide_by_initial_world_size=divide_by_initial_world_size
        )

    def join_hook(self, divide_by_initial_world_size=True, **kwargs):
        """What a rank does that is through."""
        self._divide_by_active = not divide_by_initial_world_size
        return _ThroughHook(self)

    @property
    def join_device(self):
        """Where the module's gradients are."""
        return self.device

    @property
    def join_process_group(self):
        """The ranks that train."""
        return self.process_group

    # ------------------------------------------------------------------------------------------------- copies

    def __getstate__(self):
        state = dict(self.__dict__)
        for name in ("process_group", "reducer", "_named"):
            del state[name]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        self.process_group, self.reducer = resolve(None), None
        self._named = _trained(each for each in self.module.named_parameters() if each[0] not in self._ignored)
        if not self._alone():
            self._make_reducer()


class _ThroughHook(JoinHook):
    """Shadows the steps of the others with gradients of zero; takes the weights of a rank that trained to the end."""

    def __init__(self, wrapped):
        self.wrapped = wrapped

    def main_hook(self):
        """The buffers of the first rank, then a reduction of each bucket."""
        self.wrapped._sync_buffers()
        if self.wrapped.reducer is not None:
            self.wrapped.reducer.shadow()
        self.wrapped.require_forward_param_sync = True

    def post_hook(self, is_last_joiner):
        """Everybody gets the weights of the last rank that trained."""
        group = self.wrapped.process_group
        found = [None] * dist.get_world_size(group)
        dist.all_gather_object(found, bool(is_last_joiner), group=group)
        self.wrapped._find_buffers()
        weights = [each for _, each in self.wrapped._named]
        broadcast_flat(weights + self.wrapped.modules_buffers, group, source=found.index(True))


def _trained(named):
    return [(name, each) for name, each in named if each.requires_grad]
