"""The one dispatch point: every op call passes `apply` once, which runs it on its device and records it."""

from __future__ import annotations

from numpy import asarray as _asarray
from numpy import generic as _generic

from tritorch.autograd.anomaly_mode import remember
from tritorch.autograd.anomaly_mode import state as anomaly
from tritorch.autograd.grad_mode import intercepting, state
from tritorch.autograd.intercept import intercepted
from tritorch.autograd.planning import drop, noted, signature_of, wants_plan
from tritorch.autograd.variable import Variable, View, next_sequence
from tritorch.autotune.recovery import can_recover, run_again
from tritorch.ops.base import RESULT, Op
from tritorch.runtime.device import CPU
from tritorch.runtime.plans import ready as plans
from tritorch.runtime.quiet import restore, silence


def apply(cls, *args):
    """Run op `cls` on `args` (Tensors, numbers, anything it takes), recording the call if a gradient may be asked for.

    Tensors must share a device, except that zero-dimensional CPU tensors go anywhere, as numbers do.
    """
    if intercepting and state.interceptors:
        return intercepted(cls, args)
    arrays, device, wanted = [], None, False
    for arg in args:
        if isinstance(arg, Variable):
            if arg.device is not device:
                device = arg.device if device is None else _common_device(cls, args)
            if arg.requires or (arg.view_of is not None and arg.wants_gradient()):
                wanted = True
            arrays.append(arg.array)
        else:
            arrays.append(arg)
    if device is CPU and cls.views:  # computes nothing that NumPy could warn of
        results = cls.host(*arrays)
    elif device is CPU:
        before = silence()
        try:
            results = cls.host(*arrays)
        finally:
            restore(before)
    elif device is None:
        return _create(cls, args)
    else:
        results = on_device(cls, args, arrays, device)
    if type(results) is tuple:
        outputs = tuple([_wrap(result, device) for result in results])
    else:
        outputs = _new(_Tensor)
        outputs.array = _asarray(results) if isinstance(results, _generic) else results
        outputs.device, outputs.requires, outputs.view_of = device, False, None
    if cls.views:
        _mark_view(cls, args, outputs)
    if wanted and state.recording:
        record(cls, args, outputs)
    return outputs


def on_device(cls, args, arrays, device):
    """The results of kernels, by the plan of an earlier call that was alike where there is one."""
    signature = signature_of(cls, arrays) if device.is_cuda else None
    plan = plans.get(signature)
    if plan is None:
        return _run_kernels(cls, args, arrays, device, signature)
    try:
        return plan(*arrays)
    except Exception as error:
        drop(signature, error)
        return _run_kernels(cls, args, arrays, device)


_new = object.__new__
_Tensor: type = Variable  # what results are made as


def make_as(tensor_type):
    """Have results be of `tensor_type`."""
    global _Tensor
    _Tensor = Variable.made_as = tensor_type


def _wrap(array, device):
    tensor = _new(_Tensor)
    tensor.array = _asarray(array) if isinstance(array, _generic) else array
    tensor.device, tensor.requires, tensor.view_of = device, False, None
    return tensor


def _create(cls, args):
    if not cls.creates:
        raise _no_tensor(cls, args)
    device = args[-1]
    if device is CPU:
        return _wrap(cls.host(*args[:-1]), device)
    if not device.is_cuda:
        return _wrap(_run(cls, args), device)
    signature = signature_of(cls, args)
    plan = plans.get(signature)
    if plan is not None:
        try:
            return _wrap(plan(*args), device)
        except Exception as error:
            drop(signature, error)
    return _wrap(_run(cls, args, signature), device)


def _run_kernels(cls, args, arrays, device, signature=None):
    for position, arg in enumerate(args):
        if isinstance(arg, Variable) and arg.device is not device:
            arrays[position] = arg.array.item()
    return _run(cls, arrays, signature)


def _run(cls, values, signature=None):
    """The results by `forward`; with the signature of the call, noted for a plan where it is time for that."""
    run = cls.reference if cls.views else cls().forward  # views launch nothing, and have the same words everywhere
    try:
        if signature is None or not wants_plan(signature):
            return run(*values)
        return noted(cls, signature, values, run)
    except Exception as error:
        return _run_again(cls, values, error)


def _run_again(cls, arrays, error):
    """The results with other configs, where one that was found in a table or in the cache fails to launch."""
    if not can_recover(error):
        raise
    return run_again(error, lambda: cls().forward(*arrays), getattr(cls, "in_place", False))


def _common_device(cls, args):
    tensors = [arg for arg in args if isinstance(arg, Variable)]
    devices = list(dict.fromkeys(t.device for t in tensors if not (t.device is CPU and t.array.ndim == 0)))
    if len(devices) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, "
            f"{devices[0]} and {devices[1]}! (when checking argument for {cls.op_name})"
        )
    return devices[0]


def _no_tensor(cls, args):
    name = cls.names[0] if cls.names else "tensors"
    got = type(args[0]).__name__ if args else "nothing"
    return TypeError(f"{cls.op_name}(): argument '{name}' (position 1) must be Tensor, not {got}")


def _mark_view(cls, args, outputs):
    parent, rest = args[0], args[1:]
    if parent.version is None:
        parent.version = [0]
    if type(outputs) is tuple:
        raise TypeError(f"{cls.op_name}: a view op has one result")
    outputs.version = parent.version
    outputs.view_of = View(parent, cls, rest)


def record(cls, args, outputs):
    """Make the call a node: its edges, and only what `backward` reads of its arguments and results."""
    op = _new(cls)
    edges = []
    for arg in args:
        if isinstance(arg, Variable) and arg.requires:
            array = arg.array
            if arg.node is not None and arg.view_of is None:
                edges.append((arg.node, arg.slot, array.shape, array.dtype))
            else:
                edges.append((*arg.gradient_edge(), array.shape, array.dtype))
        else:
            edges.append(None)
    op.edges = edges
    op.sequence = next_sequence()
    saved = cls.saved_where(edges) if None in edges else cls.saved
    if saved:
        _save(op, args, saved)
    else:
        op.inputs = tuple([None if isinstance(arg, Variable) else arg for arg in args])
    if anomaly.enabled:
        remember(op)
    if type(outputs) is not tuple:
        if outputs.array.dtype.kind in _FLOATING:
            outputs.node, outputs.requires = op, True
        if RESULT in saved:
            op.results = (SavedOutput(outputs),)
        return
    for slot, output in enumerate(outputs):
        if output.array.dtype.kind in _FLOATING:
            output.node, output.slot, output.requires = op, slot, True
    if RESULT in saved:
        kept = outputs if cls.saved_results is None else [outputs[at] for at in cls.saved_results]
        op.results = tuple([SavedOutput(output) for output in kept])


_FLOATING = frozenset("fV")  # ml_dtypes' bfloat16 and float8 are of kind V


def _save(op, args, saved):
    inputs, versions = [], []
    for position, arg in enumerate(args):
        if not isinstance(arg, Variable):
            inputs.append(arg)
        elif position in saved:
            inputs.append(arg)
            versions.append((arg, 0 if arg.version is None else arg.version[0]))
        else:
            inputs.append(None)
    op.inputs, op.versions = tuple(inputs), versions


class SavedOutput:
    """A result kept for `backward`: its array and not the Tensor, which holds the node (no cycle)."""

    __slots__ = ("array", "device", "slot", "version", "written")

    def __init__(self, output):
        self.array, self.device, self.slot = output.array, output.device, output.slot
        self.version = output.counter()
        self.written = self.version[0]

    def unpack(self, op):
        """The result as a Tensor that continues the graph from `op`."""
        tensor = _wrap(self.array, self.device)
        tensor.version = self.version
        if self.array.dtype.kind in _FLOATING:
            tensor.node, tensor.slot, tensor.requires = op, self.slot, True
        return tensor


Op.apply = classmethod(apply)  # type: ignore[assignment, method-assign]  # ops below never import this room
