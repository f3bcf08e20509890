"""The dynamic graph: recorded while the code runs, walked backwards by an iterative engine."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from tritorch.autograd import engine
from tritorch.autograd import hooks as hooks
from tritorch.autograd.anomaly_mode import detect_anomaly as detect_anomaly
from tritorch.autograd.anomaly_mode import is_anomaly_check_nan_enabled as is_anomaly_check_nan_enabled
from tritorch.autograd.anomaly_mode import is_anomaly_enabled as is_anomaly_enabled
from tritorch.autograd.anomaly_mode import set_detect_anomaly as set_detect_anomaly
from tritorch.autograd.apply import apply as apply
from tritorch.autograd.function import Function as Function
from tritorch.autograd.grad_mode import enable_grad as enable_grad
from tritorch.autograd.grad_mode import inference_mode as inference_mode
from tritorch.autograd.grad_mode import is_grad_enabled as is_grad_enabled
from tritorch.autograd.grad_mode import is_inference_mode_enabled as is_inference_mode_enabled
from tritorch.autograd.grad_mode import no_grad as no_grad
from tritorch.autograd.grad_mode import set_grad_enabled as set_grad_enabled
from tritorch.autograd.grad_mode import state
from tritorch.autograd.gradcheck import gradcheck as gradcheck
from tritorch.autograd.gradcheck import gradgradcheck as gradgradcheck
from tritorch.autograd.variable import Variable
from tritorch.ops.base import TABLE
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, grad_variables=None, inputs=None):
    """Add the gradients of `tensors` to the `.grad` of the leaves, or only of `inputs`.

    `grad_variables` is the old name of `grad_tensors`.
    """
    if grad_variables is not None:
        warnings.warn(
            "`grad_variables` is deprecated. Use `grad_tensors` instead.", category=FutureWarning, stacklevel=2
        )
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please only "
                "use `grad_tensors`."
            )
        grad_tensors = grad_variables
    if state.transforms:
        raise RuntimeError(
            "backward() called inside a functorch transform. This is not supported, please use functorch.grad or "
            "functorch.vjp instead or call backward() outside of functorch transforms."
        )
    if create_graph:
        warnings.warn(
            "Using backward() with create_graph=True will create a reference cycle between the parameter and its "
            "gradient which can cause a memory leak. We recommend using autograd.grad when creating the graph to avoid "
            "this. If you have to use this function, make sure to reset the .grad fields of your parameters to None "
            "after use to break the cycle and avoid the leak.",
            stacklevel=3,
        )
    tensors = _as_tuple(tensors)
    seeds = _seeds(tensors, grad_tensors)
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        engine.run(tensors, seeds, None, retain, create_graph)
        return
    inputs = _as_tuple(inputs)
    if not inputs:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    found = _gradients(tensors, seeds, inputs, retain, create_graph)
    for tensor, gradient in zip(inputs, found, strict=True):
        if gradient is not None:
            engine.accumulate(tensor, gradient, create_graph)


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    only_inputs=True,
    allow_unused=None,
    is_grads_batched=False,
    materialize_grads=False,
):
    """The gradients of the sum of `outputs` by each of `inputs`; nothing is written to `.grad`.

    With `is_grads_batched`, `grad_outputs` have a batch as their first dimension, and so have the gradients.
    """
    outputs, inputs = _as_tuple(outputs), _as_tuple(inputs)
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for "
            "other parts of the graph, please use torch.autograd.backward.",
            category=FutureWarning,
            stacklevel=2,
        )
    if not inputs:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    for tensor in inputs:
        if not isinstance(tensor, Variable):
            kind = type(tensor).__name__
            raise RuntimeError(f"all inputs have to be Tensors or GradientEdges, but got {kind}")
        if not tensor.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    retain = create_graph if retain_graph is None else retain_graph
    if any(tensor.level is not None for tensor in outputs):
        found = __getattr__("functional").grad_of_examples(outputs, grad_outputs, inputs, retain, create_graph)
    elif is_grads_batched:
        batches = _as_tuple(grad_outputs) if isinstance(grad_outputs, (Variable, Sequence)) else (grad_outputs,)
        found = __getattr__("functional").grad_of_batches(outputs, batches, inputs, retain, create_graph)
    else:
        found = _gradients(outputs, _seeds(outputs, grad_outputs), inputs, retain, create_graph)
    if materialize_grads:
        return tuple(t.new_zeros(t.shape) if g is None else g for t, g in zip(inputs, found, strict=True))
    unused = next((at for at, gradient in enumerate(found) if gradient is None), None)
    if not allow_unused and unused is not None:
        raise RuntimeError(
            f"The differentiated Tensor at index {unused} appears to not have been used in the graph. "
            "Set allow_unused=True if this is the desired behavior."
        )
    return tuple(found)


def _gradients(outputs, seeds, inputs, retain_graph, create_graph):
    places = [tensor.gradient_edge() for tensor in inputs]
    targets = {place: engine.Target() for place in places}
    engine.run(outputs, seeds, targets, retain_graph, create_graph)
    return [targets[place].gradient for place in places]


def _as_tuple(value):
    return (value,) if isinstance(value, Variable) else tuple(value)


def _seeds(tensors, given):
    given = _as_tuple(given) if isinstance(given, (Variable, Sequence)) else (given,) * len(tensors)
    if len(given) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(given)} gradients")
    return [_seed(tensor, gradient) for tensor, gradient in zip(tensors, given, strict=True)]


def _seed(tensor, gradient):
    if not tensor.requires_grad:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if gradient is None:
        if tensor.array.size != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        array = tensor.array
        return tensor.made_alike(TABLE["full"].apply(array.shape, 1.0, array.dtype, tensor.device))
    if not isinstance(gradient, Variable):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
    if gradient.array.shape != tensor.array.shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} "
            f"and output[0] has a shape of {tensor.shape}."
        )
    return gradient
