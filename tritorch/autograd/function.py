"""Function: an op whose forward and backward a user writes on Tensors."""

from __future__ import annotations

import functools

from tritorch.autograd.anomaly_mode import remember
from tritorch.autograd.anomaly_mode import state as anomaly
from tritorch.autograd.engine import FREED
from tritorch.autograd.grad_mode import no_grad, state
from tritorch.autograd.saved import PACKED, active_hooks
from tritorch.autograd.variable import Variable, next_sequence
from tritorch.ops.base import Node
from tritorch.ops.creation import Full


class FunctionContext(Node):
    """What `forward` leaves for `backward`, and the node of the graph; the `ctx` of both."""

    def __init__(self, function, needs):
        self.function, self.needs_input_grad = function, needs
        self.edges = []
        self.materialize_grads = True
        self.not_differentiable, self.dirty, self.to_save, self.zeros = (), (), (), ()

    def name(self):
        return f"{self.function.__name__}Backward"

    def save_for_backward(self, *tensors):
        """Keep tensors for `backward`, where they are `ctx.saved_tensors`."""
        for position, each in enumerate(tensors):
            if each is not None and not isinstance(each, Variable):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {position} is of type "
                    f"{type(each).__name__}"
                )
        self.to_save = tensors

    def mark_non_differentiable(self, *tensors):
        """Say which outputs carry no gradient."""
        self.not_differentiable = tensors

    def mark_dirty(self, *tensors):
        """Say which inputs `forward` wrote in place."""
        self.dirty = tensors

    def set_materialize_grads(self, value):
        """Whether `backward` gets zeros, the default, or None for outputs without a gradient."""
        self.materialize_grads = bool(value)

    @property
    def saved_tensors(self):
        if self.results is FREED:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                "already been freed). Specify retain_graph=True if you need to access them again."
            )
        if self.results is PACKED:
            self.packed.unpack(self)
        return tuple([_unpacked(each, self) for each in self.inputs])

    def backward(self, *grads):
        """The user's backward, given zeros for outputs without a gradient, checked for its number of results."""
        grads = list(grads) + [None] * (len(self.zeros) - len(grads))
        if self.materialize_grads:
            grads = [make() if grad is None else grad for grad, make in zip(grads, self.zeros, strict=True)]
        found = self.function.backward(self, *grads)
        found = found if isinstance(found, tuple) else (found,)
        if len(found) < len(self.edges) or any(extra is not None for extra in found[len(self.edges) :]):
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients "
                f"(expected {len(self.edges)}, got {len(found)})"
            )
        wrong = next((each for each in found if each is not None and not isinstance(each, Variable)), None)
        if wrong is not None:
            raise RuntimeError(f"expected Variable or None (got {type(wrong).__name__})")
        return found


class _SavedResult:
    """An output that `forward` saved: its array, since the output itself holds the node."""

    def __init__(self, tensor):
        self.array, self.device = tensor.array, tensor.device
        self.version = tensor.counter()
        self.written, self.slot = self.version[0], 0


def _unpacked(each, node):
    if not isinstance(each, _SavedResult):
        return each
    tensor = Variable.made_as.__new__(Variable.made_as)
    tensor.array, tensor.device, tensor.version = each.array, each.device, each.version
    tensor.node, tensor.slot, tensor.requires = node, each.slot, True
    return tensor


class Function:
    """Subclass it with static methods `forward(ctx, *args)` and `backward(ctx, *grads)`; call it with `apply`.

    Under `vmap` it needs a static method `setup_context(ctx, args, output)` apart from `forward(*args)`, and either
    `generate_vmap_rule = True`, or a static method `vmap(info, in_dims, *args)` that gives (outputs, out_dims).
    """

    generate_vmap_rule = False

    def __call__(self, *args, **kwargs):
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            "function with static forward method. (Example: "
            "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def forward(*args, **kwargs):
        """The result: a tensor or a tuple."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx, *grads):
        """One gradient for each argument of `forward`, None where there is none."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @staticmethod
    def vmap(info, in_dims, *args):
        """The outputs for a batch of `info.batch_size` examples, which is at `in_dims` of the arguments; and where."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod "
                                  "or set generate_vmap_rule=True.")  # fmt: skip

    @classmethod
    def apply(cls, *args, **kwargs):
        """Run `forward` without recording its inside, and record the call as one node."""
        if state.transforms:
            levels = [arg.level for arg in args if isinstance(arg, Variable) and arg.level is not None]
            if levels:
                return max(levels, key=lambda level: level.depth).apply_function(cls, args)
        needs = tuple([isinstance(arg, Variable) and arg.requires_grad for arg in args])
        ctx = FunctionContext(cls, needs)
        separate = getattr(cls, "setup_context", None)
        with no_grad():
            if separate is None:
                results = cls.forward(ctx, *args, **kwargs)
            else:
                results = cls.forward(*args, **kwargs)
                separate(ctx, args, results)
        outputs = results if isinstance(results, tuple) else (results,)
        record = state.recording and any(needs)
        outputs = [_output(each, args, ctx, record) for each in outputs]
        if record:
            _record(ctx, args, outputs)
        return tuple(outputs) if isinstance(results, tuple) else outputs[0]


def _output(each, args, ctx, record):
    """An input returned as it is becomes another tensor, so that it can have this node."""
    if not isinstance(each, Variable):
        return each
    is_dirty = any(each is tensor for tensor in ctx.dirty)
    if record and not is_dirty and any(each is arg for arg in args):
        return each.detach()
    return each


def _record(ctx, args, outputs):
    for arg, needed in zip(args, ctx.needs_input_grad, strict=True):
        edge = (*arg.gradient_edge(), arg.array.shape, arg.array.dtype) if needed else None
        ctx.edges.append(edge)
    ctx.sequence = next_sequence()
    if anomaly.enabled:
        remember(ctx)
    # Sizes and not the outputs themselves, which hold this node.
    ctx.zeros = tuple(
        functools.partial(_zeros, each.array.shape, each.array.dtype, each.device)
        if isinstance(each, Variable)
        else _none
        for each in outputs
    )
    saved, versions = [], []
    for tensor in ctx.to_save:
        if isinstance(tensor, Variable) and any(tensor is output for output in outputs):
            saved.append(_SavedResult(tensor))
        else:
            saved.append(tensor)
            if isinstance(tensor, Variable):
                versions.append((tensor, tensor._version))
    for slot, output in enumerate(outputs):
        if not isinstance(output, Variable) or not output.is_floating_point():
            continue
        if any(output is tensor for tensor in ctx.not_differentiable):
            continue
        output.node, output.slot, output.requires = ctx, slot, True
    results = [each for each in saved if isinstance(each, _SavedResult)]
    for each in results:
        each.slot = next(slot for slot, output in enumerate(outputs) if output.array is each.array)
    ctx.inputs, ctx.versions, ctx.results = tuple(saved), versions or None, tuple(results)
    hooks = active_hooks()
    if hooks is not None:
        hooks.pack(ctx)


def _zeros(shape, dtype, device):
    return Full.apply(shape, 0, dtype, device)


def _none():
    return None


def once_differentiable(function):
    """Mark a `backward` whose own gradient is not defined: it runs unrecorded."""

    @functools.wraps(function)
    def backward(ctx, *grads):
        with no_grad():
            return function(ctx, *grads)

    return staticmethod(backward) if isinstance(function, staticmethod) else backward
