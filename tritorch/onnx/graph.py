"""The ONNX graph while it is being built: named values, nodes and initializers."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Value:
    """Something a node reads or gives: its name, and shape and dtype where they are known; an array if constant."""

    def __init__(self, graph, name, shape=None, dtype=None, array=None):
        self.graph, self._name, self.array = graph, name, array
        self.shape = shape if array is None else array.shape
        self.dtype = dtype if array is None else array.dtype

    @property
    def name(self):
        """The name; a constant enters the graph when something first asks for its name."""
        if self._name is None or (self.array is not None and self._name not in self.graph.initializers):
            self._name = self.graph.initializer(self.array, self._name)
        return self._name


class Graph:
    """Nodes in the order in which they ran, and the arrays they read."""

    def __init__(self):
        self.nodes, self.initializers, self.counts = [], {}, {}
        self.domain = None  # the name of the op being translated, for the names of its nodes

    def fresh(self, stem):
        """A name nobody has yet."""
        number = self.counts[stem] = self.counts.get(stem, -1) + 1
        return f"{stem}_{number}"

    def initializer(self, array, name=None):
        """Put an array into the graph; returns its name."""
        name = name or self.fresh("constant")
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def constant(self, array, dtype=None):
        """A constant value."""
        return Value(self, None, array=np.asarray(array, dtype))

    def indices(self, *numbers):
        """A constant vector of int64, as axes and sizes are given to nodes."""
        return self.constant(np.array(numbers, np.int64))

    def node(self, kind, *inputs, outputs=1, **attributes):
        """Add a node that reads values (None: an input left out) and gives one new value, or a tuple of several."""
        names = ["" if each is None else each.name for each in inputs]
        while names and not names[-1]:
            names.pop()
        results = [self.fresh(self.domain or kind.lower()) for _ in range(outputs)]
        node = helper.make_node(kind, names, results, name=self.fresh(kind), **attributes)
        self.nodes.append(node)
        made = tuple(Value(self, name) for name in results)
        return made[0] if outputs == 1 else made

    def cast(self, value, dtype):
        """The value in another dtype."""
        dtype = np.dtype(dtype)
        if value.dtype == dtype:
            return value
        if value.array is not None:
            return self.constant(value.array.astype(dtype))
        found = self.node("Cast", value, to=type_of(dtype))
        found.shape, found.dtype = value.shape, dtype
        return found

    def reshape(self, value, *sizes):
        """The value in another shape; 0 keeps a size, -1 is worked out."""
        return self.node("Reshape", value, self.indices(*sizes))

    def transpose(self, value, *order):
        """The value with its dimensions in another order."""
        if value.array is not None:
            return self.constant(value.array.transpose(order))
        return self.node("Transpose", value, perm=list(order))


def type_of(dtype):
    """ONNX's number of a NumPy dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def value_info(name, array, axes):
    """The description of an input or output; `axes` names the dimensions that may change."""
    shape = [axes.get(dim, size) for dim, size in enumerate(array.shape)]
    return onnx.helper.make_tensor_value_info(name, type_of(array.dtype), shape)
