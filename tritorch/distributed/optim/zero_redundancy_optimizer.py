"""ZeroRedundancyOptimizer: each rank keeps the state of some parameters, updates those, and sends them to the others.

Source: Rajbhandari et al., "ZeRO: memory optimizations toward training trillion parameter models", 2020, stage 1.
"""

from __future__ import annotations

import io

import numpy as np

from tritorch import creation
from tritorch import distributed as dist
from tritorch.distributed.algorithms.join import Join, Joinable, JoinHook
from tritorch.distributed.optim import buckets
from tritorch.optim.lbfgs import LBFGS
from tritorch.optim.optimizer import Optimizer
from tritorch.runtime.device import CPU
from tritorch.serialization import load, save
from tritorch.tensor import Tensor


class ZeroRedundancyOptimizer(Optimizer, Joinable):
    """An optimizer whose state is spread over the ranks of a group, with the results of `optimizer_class` to the bit.

    params            as of any optimizer, the same on all ranks
    optimizer_class   makes the optimizer of this rank's parameters, with `defaults`; each parameter has its own state
    process_group     the ranks among which parameters are spread; None for all
    parameters_as_bucket_view  moves parameters into one piece of memory a rank, which is sent without copies

    Every rank needs the gradients of all parameters or at least of its own, as DistributedDataParallel leaves them.
    `param_groups` are whole on every rank, so that schedulers work; `state` has this rank's parameters only.
    """

    optim: Optimizer | None = None  # of this rank's parameters

    def __init__(
        self, params, optimizer_class, process_group=None, parameters_as_bucket_view=False, overlap_with_ddp=False,
        **defaults,
    ):  # fmt: skip
        if overlap_with_ddp:
            raise ValueError(
                "ZeroRedundancyOptimizer: overlap_with_ddp=True is not supported: parameters are sent by "
                "step(), bucket by bucket"
            )
        self.process_group = dist.group.WORLD if process_group is None else process_group
        self.world_size, self.rank = dist.get_world_size(self.process_group), dist.get_rank(self.process_group)
        self.parameters_as_bucket_view = parameters_as_bucket_view
        self._loads = [0] * self.world_size  # elements that each rank updates
        self._rank_of: dict[int, int] = {}  # of a parameter, by its id
        self._buckets: list = []
        self._trained: list = []  # the parameters that the buckets were made of
        self._consolidated: dict | None = None  # state of all parameters by number, on the rank that asked for it
        super().__init__(_checked(params), defaults)
        self.optim = optimizer_class([self._own_part(group) for group in self.param_groups], **defaults)
        if isinstance(self.optim, LBFGS):
            raise ValueError("ZeroRedundancyOptimizer: LBFGS needs all parameters at once, which no rank updates")
        self.defaults, self.state, self.scalars = self.optim.defaults, self.optim.state, self.optim.scalars
        self._sync_param_groups(self.optim.param_groups, self.param_groups)
        self._arrange()

    def add_param_group(self, param_group):
        """Add a group of parameters, on every rank alike; parameters of the groups before stay where they are."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for each in sorted(group["params"], key=lambda parameter: -parameter.numel()):
            least = self._loads.index(min(self._loads))
            self._loads[least] += each.numel()
            self._rank_of[id(each)] = least
        if self.optim is not None:
            self.optim.add_param_group(self._own_part(group))
            self._sync_param_groups(self.optim.param_groups[-1:], [group])  # other groups' are older
            self._arrange()

    def _own_part(self, group):
        """A group with the parameters that this rank updates."""
        own = [self._rank_of[id(each)] == self.rank for each in group["params"]]
        chosen = {
            name: [each for each, is_own in zip(group[name], own, strict=True) if is_own]
            for name in ("params", "param_names")
            if name in group
        }
        return group | chosen

    @staticmethod
    def _sync_param_groups(source, destination):
        for one, other in zip(source, destination, strict=True):
            other.update((name, one[name]) for name in one if name not in ("params", "param_names"))

    # -------------------------------------------------------------------------------------------- steps

    def _arrange(self):
        """Put the parameters that are trained into buckets."""
        self._trained = self._trainable()
        of_rank: list = [[] for _ in range(self.world_size)]
        for each in self._trained:
            of_rank[self._rank_of[id(each)]].append(each)
        self._buckets = buckets.in_buckets(of_rank, self.parameters_as_bucket_view)

    def _trainable(self):
        return [each for group in self.param_groups for each in group["params"] if each.requires_grad]

    def _are_arranged(self):
        """Whether the buckets hold what is trained, where it lies."""
        trained = self._trainable()
        if len(trained) != len(self._trained) or any(a is not b for a, b in zip(trained, self._trained, strict=True)):
            return False
        return not self.parameters_as_bucket_view or all(each.has_views for each in self._buckets)

    def step(self, closure=None, **kwargs):
        """Update this rank's parameters and give all ranks the new values. Every rank has to call this."""
        Join.notify_join_context(self)
        self._sync_param_groups(self.param_groups, self.optim.param_groups)
        self.optim.found_inf = self.found_inf
        loss = self.optim.step(**kwargs) if closure is None else self.optim.step(closure, **kwargs)
        self._sync_param_groups(self.optim.param_groups, self.param_groups)
        if not self._are_arranged():
            self._arrange()
        buckets.broadcast(self._buckets, self.process_group)
        return loss

    def join_hook(self, **kwargs):
        """What a rank does that has no batches left: it takes the steps of the others, with the gradients it has."""
        return _StepHook(self)

    @property
    def join_device(self):
        """Of the first parameter."""
        return self._parameters()[0].device

    @property
    def join_process_group(self):
        """The ranks among which parameters are spread."""
        return self.process_group

    @property
    def can_skip(self):
        """Whether the optimizer of this rank's parameters can skip a step on the device."""
        return self.optim.can_skip

    # -------------------------------------------------------------------------------------------- state

    def _parameters(self):
        """All parameters by their numbers in a state_dict."""
        return [each for group in self.param_groups for each in group["params"]]

    def consolidate_state_dict(self, to=0):
        """Bring the state of all parameters to rank `to` of the group, on its CPU. Every rank has to call this."""
        self._consolidated = self._collected(self.rank == to)

    def gathered_state(self):
        """The state of all parameters, on every rank, on its CPU. Every rank has to call this."""
        parameters, found = self._parameters(), self._collected(True)
        return {parameters[number]: found[number] for number in sorted(found)}

    def _collected(self, wanted):
        """The state of all parameters by number, where it is wanted; None where not."""
        parameters, found = self._parameters(), {}
        numbers = {id(each): number for number, each in enumerate(parameters)}
        own = {numbers[id(each)]: value for each, value in self.state.items()}
        for source in range(self.world_size):
            data = _broadcast(own, source, self.process_group, parameters[0].device)
            if wanted:
                found.update(load(io.BytesIO(data.to(CPU).numpy().tobytes()), map_location="cpu"))
        return found if wanted else None

    def state_dict(self):
        """State of all parameters and groups, as the optimizer alone would give them, after `consolidate_state_dict`.

        It is the state at that time, with the groups of now.
        """
        if self._consolidated is None:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call "
                f"`consolidate_state_dict(to={self.rank})` on all ranks beforehand if you meant to save the global "
                "state."
            )
        own, parameters = self.state, self._parameters()
        self.state = {parameters[number]: self._consolidated[number] for number in sorted(self._consolidated)}
        try:
            return super().state_dict()
        finally:
            self.state = own

    def _adopted(self, value, parameter, name=None, wide=False):
        """A copy of loaded state, but nothing of parameters that other ranks update."""
        foreign = parameter is not None and self._rank_of[id(parameter)] != self.rank
        return None if foreign else super()._adopted(value, parameter, name, wide)

    def __setstate__(self, state):
        super().__setstate__(state)
        if self.optim is None:
            return
        own = [(key, value) for key, value in self.state.items() if value is not None]
        self.optim.state.clear()
        self.optim.state.update(own)
        self.state = self.optim.state
        groups = [self._own_part(group) for group in self.param_groups]
        self.optim.__setstate__({"state": self.state, "param_groups": groups})


class _StepHook(JoinHook):
    def __init__(self, optimizer):
        self.optimizer = optimizer

    def main_hook(self):
        self.optimizer.step()


def _checked(params):
    """The parameters as a list, of dense tensors or of groups."""
    if isinstance(params, Tensor):
        raise TypeError(f"`params` argument should be an iterable of Tensors, but got {params.type()}")
    try:
        found = list(params)
    except TypeError:
        raise TypeError(
            f"`params` argument should be an iterable of Tensors or dicts, but got {type(params).__name__}"
        ) from None
    if not found:
        raise ValueError("ZeroRedundancyOptimizer got an empty parameter list")
    groups = all(isinstance(each, dict) for each in found)
    if not groups and any(isinstance(each, dict) for each in found):
        raise TypeError("`params` argument should be an iterable of Tensors or dicts")
    if groups and any("params" not in each for each in found):
        raise ValueError(
            "Each parameter group passed-in via `params` must have a 'params' key mapping to the parameters in the "
            "group"
        )
    return found


def _broadcast(value, source, group, device):
    """The bytes of what rank `source` of the group gives, on every rank: a collective that GPUs have too."""
    rank = dist.get_global_rank(group, source)
    file = io.BytesIO()
    if dist.get_rank(group) == source:
        save(value, file)
    length = [file.tell()]
    dist.broadcast_object_list(length, rank, group=group)
    data = np.frombuffer(file.getvalue() or bytes(length[0]), np.uint8).copy()
    travelling = creation.from_numpy(data).to(device)
    dist.broadcast(travelling, rank, group=group)
    return travelling
