"""`export`: runs a model once on example inputs and writes what ran as an ONNX file."""

from __future__ import annotations

import enum
import warnings

import onnx

import tritorch
from tritorch.autograd import no_grad
from tritorch.onnx.graph import Value, value_info
from tritorch.onnx.registry import UnsupportedOperatorError
from tritorch.onnx.tracer import Tracer
from tritorch.runtime.files import whole_file
from tritorch.tensor import Tensor

OPSET = 18  # the oldest in which all reductions take their axes as inputs
_IR_VERSION = 9  # what onnxruntime 1.17 and later read

_state = {"exporting": False}


class TrainingMode(enum.Enum):
    """The mode the model runs in while it is exported."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


def is_in_onnx_export():
    """Whether the model is being run by `export`."""
    return _state["exporting"]


class ONNXProgram:
    """An exported model: `model_proto` is ONNX's own object."""

    def __init__(self, model_proto):
        self.model_proto = model_proto

    def save(self, destination):
        """Write the file."""
        _write(self.model_proto, destination)


def export(model, args=(), f=None, *, kwargs=None, export_params=True, verbose=False, training=TrainingMode.EVAL,
           input_names=None, output_names=None, opset_version=None, do_constant_folding=True, dynamic_axes=None,
           dynamic_shapes=None, keep_initializers_as_inputs=False, dynamo=None, external_data=True,
           **ignored):  # fmt: skip
    """Write `model` as an ONNX file `f` (a path or a file object; None only returns it), by running it once on `args`.

    args is what the model takes: a tensor, or a tuple, whose last member may be a dictionary of keyword arguments.
    The file holds the ops that ran, so Python's `if` and `for` are as the example went. dynamic_axes = {name: {dim:
    label}} or {name: [dim, ...]} lets sizes change; the model is then run a second time with other sizes, and refused
    if a constant of the graph depends on them. Parameters keep their state_dict names. Opset 18 or newer.
    Raises UnsupportedOperatorError for an op without a translation.
    """
    args, kwargs = _arguments(args, kwargs)
    opset = _opset(opset_version)
    mode = None if training is TrainingMode.PRESERVE else training is TrainingMode.TRAINING
    axes = _axes(dynamic_axes, dynamic_shapes)
    made, names = _graph(model, args, kwargs, mode, input_names, output_names, axes)
    if axes:
        _check_dynamic(made, model, args, kwargs, mode, (input_names, output_names), names, axes)
    if keep_initializers_as_inputs:
        made.input.extend(
            onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in made.initializer
        )
    proto = onnx.helper.make_model(
        made, producer_name="tritorch", producer_version=tritorch.__version__, ir_version=_IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )  # fmt: skip
    onnx.checker.check_model(proto)
    if verbose:
        print(onnx.printer.to_text(proto))
    if f is not None:
        _write(proto, f)
    return ONNXProgram(proto)


_export = export


def _opset(asked):
    if asked is None:
        return OPSET
    if asked < OPSET:
        warnings.warn(
            f"onnx.export(): opset_version {asked} was asked for, and {OPSET} is the oldest written: the file has "
            f"opset {OPSET}",
            stacklevel=3,
        )
        return OPSET
    newest = onnx.defs.onnx_opset_version()
    if asked > newest:
        raise ValueError(f"onnx.export(): opset_version must be at most {newest}, but got {asked}")
    return asked


def _arguments(args, kwargs):
    args = args if isinstance(args, (tuple, list)) else (args,)
    kwargs = dict(kwargs or {})
    if args and isinstance(args[-1], dict) and not kwargs:
        args, kwargs = args[:-1], args[-1]
    return tuple(args), kwargs


def _axes(dynamic_axes, dynamic_shapes):
    """{name: {dim: label}} of whatever form was given."""
    if dynamic_shapes is not None:
        raise NotImplementedError("onnx.export(): dynamic_shapes is not supported; use dynamic_axes")
    found = {}
    for name, dims in (dynamic_axes or {}).items():
        if not isinstance(dims, dict):
            dims = {dim: f"{name}_dynamic_axes_{at}" for at, dim in enumerate(dims, 1)}
        found[name] = {int(dim): str(label) for dim, label in dims.items()}
    return found


def _flat(value):
    """The tensors of a nest, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _flat(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)


def _graph(model, args, kwargs, mode, input_names, output_names, axes):
    """The graph of one run, and its inputs' names."""
    inputs = list(_flat((args, kwargs)))
    names = _names(input_names, len(inputs), "input", inputs)
    state = model.state_dict(keep_vars=True) if hasattr(model, "state_dict") else {}
    tracer = Tracer(state)
    for name, tensor in zip(names, inputs, strict=True):
        tracer.know(tensor, Value(tracer.graph, name, tensor.array.shape, tensor.array.dtype))
    outputs = list(_flat(_run(model, args, kwargs, mode, tracer)))
    output_names = _names(output_names, len(outputs), "output", outputs)
    for name, tensor in zip(output_names, outputs, strict=True):
        node = onnx.helper.make_node("Identity", [tracer.value(tensor).name], [name], name=f"give_{name}")
        tracer.graph.nodes.append(node)
    return onnx.helper.make_graph(
        tracer.graph.nodes, type(model).__name__,
        [value_info(name, each.array, axes.get(name, {})) for name, each in zip(names, inputs, strict=True)],
        [value_info(name, each.array, axes.get(name, {})) for name, each in zip(output_names, outputs, strict=True)],
        list(tracer.graph.initializers.values()),
    ), names  # fmt: skip


def _names(given, count, stem, tensors):
    given = list(given or [])
    if len(given) > count:
        raise ValueError(f"onnx.export(): got {len(given)} {stem} names for {count} {stem}s")
    return given + [f"{stem}_{at}" for at in range(len(given), count)]


def _run(model, args, kwargs, mode, tracer):
    modes = {module: module.training for module in model.modules()} if hasattr(model, "modules") else {}
    if mode is not None and modes:
        model.train(mode)
    _state["exporting"] = True
    try:
        with no_grad(), tracer:
            return model(*args, **kwargs)
    finally:
        _state["exporting"] = False
        for module, training in modes.items():
            module.training = training


def _check_dynamic(graph, model, args, kwargs, mode, names, input_names, axes):
    """Run the model on inputs whose dynamic sizes are one larger: the graphs must be equal."""
    inputs = iter(input_names)

    def grown(value):
        if isinstance(value, Tensor):
            for dim in axes.get(next(inputs), {}):
                value = tritorch.cat([value, value.narrow(dim, 0, 1)], dim)
            return value
        if isinstance(value, dict):
            return {key: grown(each) for key, each in value.items()}
        return type(value)(map(grown, value)) if isinstance(value, (list, tuple)) else value

    other, _ = _graph(model, grown(args), grown(kwargs), mode, *names, axes)
    for mine, theirs in zip(graph.node, other.node, strict=False):
        if mine != theirs:
            raise _depends(mine.op_type)
    for mine, theirs in zip(graph.initializer, other.initializer, strict=False):
        if mine.dims != theirs.dims or mine.raw_data != theirs.raw_data:
            reader = next((node.op_type for node in graph.node if mine.name in node.input), "a node")
            raise _depends(reader)


def _depends(kind):
    return UnsupportedOperatorError(
        f"onnx.export(): dynamic_axes cannot be kept: a constant that {kind} reads, or the node itself, depends on the "
        "size of the example"
    )


def _write(proto, destination):
    data = proto.SerializeToString()
    if hasattr(destination, "write"):
        destination.write(data)
        return
    with whole_file(destination) as file:
        file.write(data)
