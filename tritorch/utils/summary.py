"""`summary(model)`: the layers of a model as a table, with shapes, parameters and multiplications."""

from __future__ import annotations

from dataclasses import dataclass, field

from tritorch import creation
from tritorch.autograd import no_grad
from tritorch.autograd.intercept import Interceptor
from tritorch.tensor import Tensor


@dataclass
class Layer:
    """One module of the tree: where it stands, what it holds, and what passed it."""

    name: str
    kind: str
    depth: int
    parameters: int
    trainable: int
    repeated: bool  # stands in the tree a second time: counted once
    module: object = field(repr=False)
    output_shape: list | None = None
    multiplications: int = 0
    output_bytes: int = 0


class Summary:
    """The layers of a model and their totals; `str()` of it is the table."""

    def __init__(self, layers, input_bytes, parameter_bytes, ran):
        self.layers, self.ran = layers, ran
        self.input_bytes, self.parameter_bytes = input_bytes, parameter_bytes
        self.total_params, self.trainable_params = layers[0].parameters, layers[0].trainable
        self.total_mult_adds = sum(layer.multiplications for layer in layers)
        self.output_bytes = sum(layer.output_bytes for layer in layers)

    def __str__(self):
        titles = ["Layer (type)", "Output Shape", "Param #", "Mult-Adds"] if self.ran else ["Layer (type)", "Param #"]
        rows = [self._row(layer) for layer in self.layers]
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                 for row in (titles, *rows)]  # fmt: skip
        rule = "=" * max(map(len, lines))
        return "\n".join([rule, lines[0], rule, *lines[1:], rule, *self._totals(), rule])

    __repr__ = __str__

    def _row(self, layer):
        name = "    " * layer.depth + (f"{layer.name} ({layer.kind})" if layer.name else layer.kind)
        count = "(again)" if layer.repeated else f"{layer.parameters:,}" if layer.parameters else "--"
        if not self.ran:
            return [name, count]
        shape = "--" if layer.output_shape is None else str(layer.output_shape)
        return [name, shape, count, f"{layer.multiplications:,}" if layer.multiplications else "--"]

    def _totals(self):
        yield f"Total params: {self.total_params:,}"
        yield f"Trainable params: {self.trainable_params:,}"
        yield f"Non-trainable params: {self.total_params - self.trainable_params:,}"
        if self.ran:
            yield f"Total mult-adds: {self.total_mult_adds:,}"
            sizes = self.input_bytes, self.output_bytes, self.parameter_bytes
            for what, size in zip(("Input", "Outputs of layers", "Params"), sizes, strict=True):
                yield f"{what} size (MB): {size / 1e6:.2f}"


def summary(model, input_size=None, *, input_data=None, dtypes=None, device=None, depth=3, verbose=1, **kwargs):
    """The modules of `model` down to `depth`, with their numbers of parameters; prints the table and returns it.

    With `input_size` (a shape with its batch, or a list of shapes) or `input_data` (a tensor, or a tuple or dictionary
    of what `forward` takes) the model runs once, in eval mode and without gradients, and the table also has the shapes
    that came out and the multiplications of each layer, not counting those of the layers shown inside it. `dtypes` are
    those of the inputs made from sizes (float by default); other keyword arguments go to `forward`. verbose=0 prints
    nothing.
    """
    layers, by_module = _tree(model, depth)
    args, kwargs = _inputs(model, input_size, input_data, dtypes, device, kwargs)
    ran = bool(args or kwargs)
    if ran:
        _run(model, args, kwargs, by_module)
    given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
    found = Summary(layers, sum(map(_bytes, given)), sum(map(_bytes, model.parameters())), ran)
    if verbose:
        print(found)
    return found


def _tree(model, depth):
    """The layers shown, in order, and which of them each module of the model counts for."""
    layers, by_module = [], {}

    def visit(name, module, level, shown):
        first = module not in by_module
        if level <= depth:
            counts = [(each.numel(), each.requires_grad) for each in module.parameters()]
            shown = Layer(
                name, type(module).__name__, level, sum(count for count, _ in counts),
                sum(count for count, learned in counts if learned), not first, module,
            )  # fmt: skip
            layers.append(shown)
        if not first:
            return
        by_module[module] = shown
        for child_name, child in module._modules.items():  # named_children() leaves out what stands there twice
            if child is not None:
                visit(child_name, child, level + 1, shown)

    visit("", model, 0, None)
    return layers, by_module


def _inputs(model, input_size, input_data, dtypes, device, kwargs):
    if input_data is not None:
        if isinstance(input_data, dict):
            return (), {**input_data, **kwargs}
        return (tuple(input_data) if isinstance(input_data, (list, tuple)) else (input_data,)), kwargs
    if input_size is None:
        return (), kwargs
    sizes = [input_size] if all(isinstance(each, int) for each in input_size) else list(input_size)
    where = device or next((each.device for each in model.parameters()), None)
    dtypes = dtypes or [None] * len(sizes)
    if len(dtypes) != len(sizes):
        raise ValueError(f"summary(): got {len(sizes)} input sizes but {len(dtypes)} dtypes")
    return tuple(
        creation.ones(*size, dtype=dtype, device=where) for size, dtype in zip(sizes, dtypes, strict=True)
    ), kwargs


class _Counting(Interceptor):
    """Adds the multiplications of each op call to the innermost layer that is running."""

    def __init__(self, top):
        self.running = [top]

    def intercept(self, cls, args):
        output = cls.apply(*args)
        self.running[-1].multiplications += cls.multiplications(output, *args)
        return output


def _run(model, args, kwargs, by_module):
    counting, handles = _Counting(by_module[model]), []
    for module, layer in by_module.items():
        handles += [module.register_forward_pre_hook(_enter(counting, layer)),
                    module.register_forward_hook(_leave(counting, layer, module))]  # fmt: skip
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with no_grad(), counting:
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def _enter(counting, layer):
    def enter(module, args):
        counting.running.append(layer)

    return enter


def _leave(counting, layer, own):
    def leave(module, args, output):
        counting.running.pop()
        results = [each for each in (output if isinstance(output, (tuple, list)) else (output,)) if _is(each)]
        if layer.module is own and results:
            layer.output_shape = list(results[0].shape)
        if not any(True for _ in own.children()):
            layer.output_bytes += sum(map(_bytes, results))

    return leave


def _is(value):
    return isinstance(value, Tensor)


def _bytes(tensor):
    return tensor.numel() * tensor.element_size()
