"""Gradient checkpointing: what a function saves for its gradients is not kept but computed again when it is needed.

Each tensor that would be saved is replaced by a Holder. The first Holder that the engine asks for its tensor makes the
function run once more, on the same arguments, with the random numbers and the autocast of the first time; its n-th
saved tensor is that of the n-th Holder. The graph is the one of the first run, so gradients are the same to the bit,
and `autograd.grad`, hooks and second derivatives work. Source: Chen et al., "Training Deep Nets with Sublinear Memory
Cost", 2016.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref

from tritorch import random
from tritorch.amp.autocast_mode import autocast_states
from tritorch.autograd import engine
from tritorch.autograd.grad_mode import enable_grad, is_grad_enabled, no_grad
from tritorch.autograd.saved import active_hooks, saved_tensors_hooks
from tritorch.autograd.variable import Variable, graphs
from tritorch.ops.base import Node


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function did not do what the first did."""


class _Stop(Exception):
    """Nothing more is needed of a second run."""


class _Settings:
    early_stop: bool | None = None
    debug: bool | None = None


@contextlib.contextmanager
def set_checkpoint_early_stop(enable):
    """Inside, say for all checkpoints whether a second run stops as soon as all it is run for was computed."""
    before, _Settings.early_stop = _Settings.early_stop, bool(enable)
    try:
        yield
    finally:
        _Settings.early_stop = before


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled):
    """Inside, say for all checkpoints whether `debug` is on; None leaves it to each. It has no effect here."""
    before, _Settings.debug = _Settings.debug, enabled
    try:
        yield
    finally:
        _Settings.debug = before


def noop_context_fn():
    """Two contexts that do nothing, for the first and the second run."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def _metadata(tensor):
    return {"shape": tensor.shape, "dtype": tensor.dtype, "device": tensor.device}


_CHECKS = {"default": _metadata, "none": lambda tensor: None}
_HINT = (
    "Tip: To see a more detailed error message, either pass `debug=True` to `torch.utils.checkpoint.checkpoint(...)` "
    "or wrap the code block with `with torch.utils.checkpoint.set_checkpoint_debug_enabled(True):` to enable debug "
    "mode globally."
)


class _Holder:
    """What stands for a saved tensor: its number and version, and for a short while the tensor of the second run."""

    __slots__ = ("__weakref__", "counter", "metadata", "number", "tensor", "version")

    def __init__(self, number, tensor, metadata):
        self.number, self.metadata, self.tensor = number, metadata, None
        self.counter = tensor.counter()
        self.version = self.counter[0]


class _Arguments(Node):
    """The arguments, saved as a node saves them: versions are checked, and hooks that stand around pack the tensors."""

    def __init__(self, args):
        self.inputs = tuple(args)
        self.versions = [(each, each._version) for each in args if isinstance(each, Variable)]

    def name(self):
        return "CheckpointBackward"

    def values(self):
        """The arguments as they were."""
        engine.check_saved(self)
        found = self.inputs
        if self.packed is not None:
            self.packed.put_back(self)
        return found


class _Frame:
    """One checkpointed call: how to run it again, and the holders of what it saved."""

    def __init__(self, function, args, kwargs, recompute_context, settings):
        self.function, self.context = function, recompute_context
        self.preserve_rng, self.check, self.early_stop = settings
        names = tuple(kwargs)
        self.count, self.names = len(args), names
        self.arguments = _Arguments((*args, *kwargs.values()))
        hooks = active_hooks()
        if hooks is not None:
            hooks.pack(self.arguments)
        self.random = random.get_rng_state() if self.preserve_rng else None
        self.autocast = autocast_states()
        self.holders = []

    # The first run

    def pack(self, tensor):
        """A holder in the place of a tensor."""
        holder = _Holder(len(self.holders), tensor, self.check(tensor))
        self.holders.append(weakref.ref(holder))
        return holder

    def unpack(self, holder):
        """The tensor of a holder, computed again with those of all others unless that was just done."""
        if holder.tensor is None:
            self.recompute()
        if holder.tensor is None:
            raise self._different_number(holder.number)
        tensor, holder.tensor = holder.tensor, None
        if holder.counter[0] != holder.version:  # the second run wrote over it as well
            raise engine.version_error(tensor, holder.counter[0], holder.version, self.arguments)
        return tensor

    # The second run

    def recompute(self):
        """Run the function again and give each living holder its tensor."""
        values = self.arguments.values()
        args, kwargs = values[: self.count], dict(zip(self.names, values[self.count :], strict=True))
        again, before = _SecondRun(self), graphs.frozen
        graphs.frozen = True
        try:
            with contextlib.ExitStack() as contexts:
                if self.preserve_rng:
                    contexts.enter_context(random.fork_rng())
                    random.set_rng_state(self.random)
                for make in self.autocast:
                    contexts.enter_context(make())
                contexts.enter_context(enable_grad())
                contexts.enter_context(self.context)
                contexts.enter_context(again)
                with contextlib.suppress(_Stop):
                    self.function(*args, **kwargs)
        finally:
            graphs.frozen = before
        if again.count < len(self.holders):
            raise self._different_number(again.count)
        if again.different:
            listed = "\n".join(again.different)
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                f"during the forward pass.\n{listed}.\n{_HINT}"
            )

    def _different_number(self, count):
        return CheckpointError(
            "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
            f"recomputation.\nNumber of tensors saved during forward: {len(self.holders)}\n"
            f"Number of tensors saved during recomputation: {count}.\n{_HINT}"
        )


class _SecondRun(saved_tensors_hooks):
    """Hands what is saved to the holders of the first run, in order."""

    def __init__(self, frame):
        self.frame, self.count, self.different = frame, 0, []

    def unpack_hook(self, tensor):
        """What was packed: the tensor itself."""
        return tensor

    def pack_hook(self, tensor):
        """Keep a tensor for its holder, and stop after the last."""
        holders, number = self.frame.holders, self.count
        if number >= len(holders):
            raise CheckpointError(
                "torch.utils.checkpoint: trying to save more tensors during recomputation than during the original "
                f"forward pass.\n{_HINT}"
            )
        self.count += 1
        holder = holders[number]()
        if holder is not None:
            found = self.frame.check(tensor)
            if found != holder.metadata:
                self.different.append(
                    f"tensor at position {number}:\nsaved metadata: {holder.metadata}\nrecomputed metadata: {found}"
                )
            holder.tensor = tensor
        if self.count == len(holders) and self.frame.early_stop and not self.different:
            raise _Stop
        return tensor


def checkpoint(
    function,
    *args,
    use_reentrant=None,
    context_fn=noop_context_fn,
    determinism_check="default",
    debug=False,
    early_stop=True,
    **kwargs,
):
    """function(*args, **kwargs), whose intermediate tensors are computed again in the backward pass.

    use_reentrant      True: without a tensor that requires a gradient among `args`, nothing inside gets one
    preserve_rng_state whether the second run draws the random numbers of the first; True unless given
    context_fn         gives two contexts, for the first and the second run
    determinism_check  "default" compares shapes, dtypes and devices of the two runs, "none" nothing
    early_stop         whether the second run ends when all was computed that it is run for
    """
    if use_reentrant is None:
        _warn_about_variant("torch.utils.checkpoint")
        use_reentrant = True
    preserve_rng = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug is not False:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        if not _any_requires_grad(args):
            if is_grad_enabled():
                check_backward_validity(args)
            with no_grad():
                return function(*args)
    if determinism_check not in _CHECKS:
        raise ValueError(f"determinism_check should be one of {list(_CHECKS)}, but got {determinism_check}")
    debug = debug if _Settings.debug is None else _Settings.debug
    if debug and context_fn is not noop_context_fn:
        raise ValueError("debug=True is incompatible with non-default context_fn")
    first, second = context_fn()
    if not is_grad_enabled():
        return function(*args, **kwargs)
    early_stop = early_stop if _Settings.early_stop is None else _Settings.early_stop
    settings = preserve_rng, _CHECKS[determinism_check], early_stop and not use_reentrant
    frame = _Frame(function, args, kwargs, second, settings)
    with saved_tensors_hooks(frame.pack, frame.unpack), first:
        return function(*args, **kwargs)


def _any_requires_grad(values):
    return any(isinstance(each, Variable) and each.requires_grad for each in values)


def check_backward_validity(inputs):
    """Warn where none of the inputs requires a gradient."""
    if not _any_requires_grad(inputs):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=3)


def _warn_about_variant(name):
    warnings.warn(
        f"{name}: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, calling checkpoint "
        "without use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to "
        "preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on "
        "the differences between the two variants.",
        stacklevel=3,
    )


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    """The functions of a Sequential, or a list, in `segments` parts, each of which is checkpointed but the last."""
    if use_reentrant is None:
        _warn_about_variant("torch.utils.checkpoint.checkpoint_sequential")
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)

    def part(start, end):
        def run(value):
            for function in functions[start : end + 1]:
                value = function(value)
            return value

        return run

    size, end = len(functions) // segments, -1
    for start in range(0, size * (segments - 1), size):
        end = start + size - 1
        input = checkpoint(part(start, end), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return part(end + 1, len(functions) - 1)(input)


def detach_variable(inputs):
    """Each tensor of a tuple without its history, requiring a gradient where it did."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(
        each.detach().requires_grad_(each.requires_grad) if isinstance(each, Variable) else each for each in inputs
    )
