"""Training as a case: steps of a net from the same weights in either library, the losses of the first of them compared.

A step's time is the wall's: steps run one after the other as a training loop makes them, and the last is waited for.
On a GPU a row says more of each side, `theirs_` and `compiled_` before the names of the other library's:

    launches   kernels a step, by this library's launcher and the other's profiler (null where it sees none)
    idle       the share of a step in which the GPU has nothing to do: 1 - busy / step, where busy is what the step's
               work takes on the GPU when all of it is queued already, between two events, behind a fill of memory that
               lasts as long as Python takes to queue it
    peak_mib   the most memory that tensors hold in a step, weights, optimizer and slopes included, by the library's own
               count; what other sides hold meanwhile is not counted
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tritorch.autotune.problem import Work
from tritorch.bench.case import Case, short
from tritorch.bench.stopwatch import DeviceStopwatch
from tritorch.runtime import dtypes, launcher
from tritorch.runtime.kernel import recording_launches

COMPARED = 4  # steps whose losses are compared: the first says that the nets are equal, the others that they learn so


@dataclass(frozen=True)
class Training:
    """How a net is trained.

    sizes          what tells it from the same net elsewhere, for people
    net            net(lib) makes the module, whose forward takes the inputs and gives the loss
    inputs         an Input for each
    optimizer      optimizer(lib, parameters)
    count, unit    how many images or tokens a step has, and "images/s" or "tokens/s"
    flops          operations of a step
    terms          how many terms the longest sums have, which is how far losses may lie apart
    clip           the largest norm of all slopes together
    channels_last  whether images and filters lie so
    """

    sizes: str
    net: Callable
    inputs: tuple
    optimizer: Callable
    count: int
    unit: str
    flops: int
    terms: int
    clip: float | None = None
    channels_last: bool = False


@dataclass(frozen=True)
class TrainingCase(Case):
    """Steps of a Training; in bfloat16 under autocast, with weights in float32 as always."""

    is_whole: ClassVar[bool] = True
    training: Training | None = None

    @property
    def stored(self):
        """The dtype of weights and images."""
        return dtypes.float32

    def figure(self, seconds):
        """Images or tokens a second."""
        return self.training.count / seconds

    def results(self, step):
        """The losses of the first steps, without dropout, whose draws are each library's own."""
        return step.first_losses()

    def facts(self, device, sides, beside):
        """What a step takes, and on a GPU how it takes it."""
        found = {"step_ms": short(sides["ours"].seconds * 1e3)}
        for name, side in sides.items() if device.is_cuda else ():
            prefix = "" if name == "ours" else f"{name}_"
            found |= {f"{prefix}{key}": value for key, value in _on_gpu(device, side).items()}
        return found


def training_case(name, dtype, training, usual=True):
    """The case of a net in a dtype."""

    def step(lib, *tensors, wrap=None):
        return Steps(training, dtype == "bfloat16", lib, tensors, wrap)

    return TrainingCase(
        name=f"{name} {training.sizes}{' autocast' * (dtype == 'bfloat16')}",
        dtype=dtype,
        inputs=training.inputs,
        step=step,
        work=Work(training.flops, 0, dtype),
        length=training.terms,
        unit=training.unit,
        gives_gradients=True,
        needs_gpu=dtype != "float32",
        compiles=True,
        usual=usual,
        line=name,
        training=training,
    )


class Steps:
    """A net with its optimizer in a library: each call is a step, and gives the loss without waiting for it."""

    def __init__(self, training, half, lib, tensors, wrap=None):
        self.training, self.half, self.lib, self.tensors = training, half, lib, tensors
        self.net = training.net(lib).to(tensors[0].device)
        if training.channels_last:
            self.net = self.net.to(memory_format=lib.channels_last)
        start_alike(lib, self.net)
        self.loss = self.net if wrap is None else wrap(self.net)
        self.optimizer = training.optimizer(lib, self.net.parameters())

    def __call__(self):
        self.optimizer.zero_grad(set_to_none=True)
        with self._precision():
            loss = self.loss(*self.tensors)
        loss.backward()
        if self.training.clip is not None:
            self.lib.nn.utils.clip_grad_norm_(self.net.parameters(), self.training.clip)
        self.optimizer.step()
        return loss.detach()

    def _precision(self):
        if not self.half:
            return contextlib.nullcontext()
        return self.lib.autocast(self.tensors[0].device.type, dtype=self.lib.bfloat16)

    def first_losses(self):
        """The losses of some steps without dropout, in the precision in which products are computed."""
        drops = [each for each in self.net.modules() if isinstance(each, self.lib.nn.Dropout)]
        shares = [each.p for each in drops]
        for each in drops:
            each.p = 0.0
        losses = [self() for _ in range(COMPARED)]
        for each, share in zip(drops, shares, strict=True):
            each.p = share
        return [each.bfloat16() if self.half else each for each in losses]

    def held(self):
        """The bytes of weights, buffers, slopes and the optimizer's states."""
        parameters = list(self.net.parameters())
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        tensors = [*parameters, *self.net.buffers(), *(each.grad for each in parameters), *states]
        return sum(each.numel() * each.element_size() for each in tensors if hasattr(each, "element_size"))


def start_alike(lib, net):
    """Give a net weights that depend on its shapes only: normal by how many terms they weigh, biases zero."""
    random = np.random.default_rng(0)
    with lib.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1:
                shape = tuple(parameter.shape)
                values = random.standard_normal(shape, np.float32) * np.float32(math.prod(shape[1:]) ** -0.5)
                parameter.copy_(lib.from_numpy(values).to(parameter.device))
            elif "bias" in name:
                parameter.zero_()


# ------------------------------------------------------------------------------------------------------- on a GPU


class _Counter:
    """Counts what is appended to it."""

    count = 0

    def append(self, launch):
        """One more."""
        self.count += 1


def _on_gpu(device, side):
    """Launches, idle share and peak memory of a side's step."""
    return {"launches": _launches(side), "idle": _idle(device, side), "peak_mib": _peak(device, side)}


def _launches(side):
    if side.peer is not None:
        return side.peer.launches(side.step)
    with recording_launches(launches=_Counter()) as counter:
        side.step()
    return counter.count


def _idle(device, side):
    """1 - busy / step; None where launches do not reach a GPU."""
    if launcher.is_diverted():
        return None
    [busy] = DeviceStopwatch(device).turns([side.step])
    return short(min(max(1 - busy.p50 / side.seconds, 0.0), 1.0))


def _peak(device, side):
    """MiB, by the library's own count."""
    memory = side.lib.cuda
    memory.synchronize()
    held, before = side.step.held(), memory.memory_allocated(device.index)
    memory.reset_peak_memory_stats(device.index)
    side.step()
    return short((memory.max_memory_allocated(device.index) - before + held) / 2**20)
