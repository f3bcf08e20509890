"""The tracer: watches one run of a model and writes down the ONNX nodes that do the same."""

from __future__ import annotations

from tritorch.autograd.intercept import Interceptor
from tritorch.autograd.variable import Variable
from tritorch.onnx.graph import Graph, Value
from tritorch.onnx.registry import TRANSLATIONS, UnsupportedOperatorError
from tritorch.ops.formula import Formula
from tritorch.runtime import transfer


class Tracer(Interceptor):
    """Knows tensors by their arrays, so that what shares an array (`detach`, `data`) is one value.

    What does not depend on an input of the model is a constant, and ops on constants leave no nodes.
    """

    def __init__(self, named):
        self.graph = Graph()
        self.values = {}  # id of an array -> (the array, the version it was seen at, its Value)
        self.named = {id(tensor.array): name for name, tensor in named.items()}
        self.tainted = {}  # id of a version counter, which all views share -> the counter: memory that inputs reached

    def know(self, tensor, value):
        """Say which value a tensor is."""
        self.values[id(tensor.array)] = tensor.array, tensor.counter()[0], value

    def value(self, tensor):
        """The value of a tensor; one never seen, or last written with constants, is a constant."""
        counter = tensor.counter()
        found = self.values.get(id(tensor.array))
        if found is not None and found[1] == counter[0]:
            return found[2]
        if id(counter) in self.tainted or (found is not None and found[2].array is None):
            raise UnsupportedOperatorError(
                "onnx.export: a tensor that depends on the input was written in place through an index or a view, "
                "which cannot be exported; use torch.where, torch.cat or masked_fill instead"
            )
        value = Value(self.graph, self.named.get(id(tensor.array)), array=transfer.to_host(tensor.array).copy())
        self.know(tensor, value)
        return value

    def intercept(self, cls, args):
        """Run the op, and write down what it does unless all it reads is constant."""
        outputs = cls.apply(*args)
        values = [self.value(arg) if isinstance(arg, Variable) else arg for arg in args]
        if all(value.array is not None for value in values if isinstance(value, Value)):
            return outputs
        translation = TRANSLATIONS.get(cls)
        if translation is None and isinstance(getattr(cls, "value", None), Formula) and cls.value.host is None:
            return self._by_formula(cls, args, outputs)
        if translation is None:
            raise _untranslated(cls)
        self.graph.domain = cls.op_name
        results = translation(self.graph, outputs, *values)
        made = outputs if type(outputs) is tuple else (outputs,)
        results = results if type(results) is tuple else (results,)
        for output, result in zip(made, results, strict=False):
            if result is not None:
                self.know(output, Value(self.graph, result.name, output.array.shape, output.array.dtype))
        for output in made[len(results) :]:
            self.know(output, _Missing(cls.op_name))
        return outputs

    def _by_formula(self, cls, args, outputs):
        """Write a pointwise op down as the ops its formula consists of."""
        try:
            with self:
                made = cls.value.fn(*args)
        except (TypeError, ValueError) as error:  # the formula calls what only kernels have
            raise _untranslated(cls) from error
        if not isinstance(made, Variable):
            raise _untranslated(cls)
        found = self.graph.cast(self.value(made), outputs.array.dtype)
        self.know(outputs, Value(self.graph, found.name, outputs.array.shape, outputs.array.dtype))
        return outputs

    def written(self, tensor, result):
        """A tensor now has the value of what was written over it; its views, and what it views, have an unknown one."""
        value, counter = self.value(result), tensor.counter()
        before = self.values.get(id(tensor.array))
        if value.array is None or (before is not None and before[2].array is None):
            self.tainted[id(counter)] = counter
        if value.array is None:
            self.know(tensor, value)


def _untranslated(cls):
    return UnsupportedOperatorError(
        f"onnx.export: no translation of the op {cls.op_name!r} to ONNX. One can be added with "
        f"@tritorch.onnx.translates({cls.op_name!r})"
    )


class _Missing(Value):
    """A result that the ONNX node does not give."""

    def __init__(self, op):
        self.op, self.array, self.shape, self.dtype = op, None, None, None

    @property
    def name(self):
        raise UnsupportedOperatorError(f"onnx.export: the second result of {self.op!r} is not in the ONNX graph")
