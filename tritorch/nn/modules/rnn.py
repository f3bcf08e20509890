"""Recurrent nets over sequences, packed or not, and their cells, which take one step."""

from __future__ import annotations

import math
import numbers
import warnings

from tritorch import creation
from tritorch.autograd.grad_mode import state as grad_state
from tritorch.nn import init
from tritorch.nn.modules.module import Module
from tritorch.nn.parameter import Parameter
from tritorch.ops.base import EXPORTS
from tritorch.tensor import Tensor

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_NETS = {
    "LSTM": EXPORTS["lstm"],
    "GRU": EXPORTS["gru"],
    "RNN_TANH": EXPORTS["rnn_tanh"],
    "RNN_RELU": EXPORTS["rnn_relu"],
}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: weights of all layers and directions, and checks of what they are given."""

    def __init__(self, mode, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, proj_size=0, device=None, dtype=None):  # fmt: skip
        super().__init__()
        _check_sizes(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._flat_weights_names, self._all_weights = [], []
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[: 2 if bidirectional else 1]:
                self._add_layer(layer, suffix, device, dtype)
        self.reset_parameters()

    def _add_layer(self, layer, suffix, device, dtype):
        """The weights of one layer in one direction."""
        rows, state = _GATES[self.mode] * self.hidden_size, self.proj_size or self.hidden_size
        columns = state * (2 if self.bidirectional else 1) if layer else self.input_size
        shapes = {"weight_ih": (rows, columns), "weight_hh": (rows, state)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        names = [f"{name}_l{layer}{suffix}" for name in shapes]
        for name, shape in zip(names, shapes.values(), strict=True):
            setattr(self, name, Parameter(creation.empty(shape, device=device, dtype=dtype)))
        self._flat_weights_names += names
        self._all_weights.append(names)

    @property
    def _flat_weights(self):
        """All weights, read by name, so that whatever replaced one of them is used."""
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @property
    def all_weights(self):
        """The weights of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self):
        """Nothing to do: the weights need not lie in one piece."""

    def reset_parameters(self):
        """Uniform within 1 / sqrt(hidden_size), all in the order of the parameters."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    # -------------------------------------------------------------------------------------------- checks

    def check_input(self, input, batch_sizes):
        """Refuse an input of the wrong dtype, number of dimensions or width."""
        weight = self._flat_weights[0]
        # Under a transform of the calls, such as autocast, the dtypes that meet are not the ones seen here.
        if not grad_state.interceptors and weight is not None and input.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). Convert input: "
                f"input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )
        expected = 3 if batch_sizes is None else 2
        if input.dim() != expected:
            raise RuntimeError(f"input must have {expected} dimensions, got {input.dim()}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )

    def _states(self, input, batch_sizes):
        """How many states there are, and for how many sequences."""
        batch = input.shape[0 if self.batch_first else 1] if batch_sizes is None else int(batch_sizes[0])
        return self.num_layers * (2 if self.bidirectional else 1), batch

    def get_expected_hidden_size(self, input, batch_sizes):
        """(layers * directions, batch, width) of the hidden state."""
        return (*self._states(input, batch_sizes), self.proj_size or self.hidden_size)

    def check_hidden_size(self, hx, expected_hidden_size, msg="Expected hidden size {}, got {}"):
        """Refuse a state of another size."""
        if hx.shape != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.shape)))

    def check_forward_args(self, input, hidden, batch_sizes):
        """Refuse an input or a state of the wrong size."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx, permutation):
        """The state with its sequences in another order."""
        return hx if permutation is None else hx.index_select(1, permutation)

    # -------------------------------------------------------------------------------------------- running

    def forward(self, input, hx=None):
        """The outputs of all steps and the last states, of (time, batch, width), (time, width) or a PackedSequence."""
        if isinstance(input, tuple) and hasattr(input, "batch_sizes"):
            return self._packed(input, hx)
        if input.dim() not in (2, 3):
            tensor = " tensor" if self.mode.startswith("RNN") else ""
            name = self.mode.partition("_")[0]
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D{tensor} instead")
        batched = input.dim() == 3
        if hx is not None:
            self._check_dims_of_state(hx, batched)
        if not batched:
            input = input.unsqueeze(0 if self.batch_first else 1)
            hx = hx if hx is None else _each(hx, lambda state: state.unsqueeze(1))
        hx = self._first_state(input, None) if hx is None else hx
        self.check_forward_args(input, hx, None)
        output, last = self._run(input, hx, None)
        if batched:
            return output, last
        return output.squeeze(0 if self.batch_first else 1), _each(last, lambda state: state.squeeze(1))

    def _packed(self, input, hx):
        data, batch_sizes, sorted_indices, unsorted_indices = input
        # A state that is given is in the order of the sequences before they were sorted.
        hx = self._first_state(data, batch_sizes) if hx is None else self.permute_hidden(hx, sorted_indices)
        self.check_forward_args(data, hx, batch_sizes)
        output, last = self._run(data, hx, batch_sizes)
        packed = type(input)(output, batch_sizes, sorted_indices, unsorted_indices)
        return packed, self.permute_hidden(last, unsorted_indices)

    def _first_state(self, input, batch_sizes):
        size = self.get_expected_hidden_size(input, batch_sizes)
        return creation.zeros(size, dtype=input.dtype, device=input.device)

    def _check_dims_of_state(self, hx, batched):
        dims = 3 if batched else 2
        if hx.dim() != dims:
            kind = "batched" if batched else "unbatched"
            raise RuntimeError(f"For {kind} {dims}-D input, hx should also be {dims}-D but got {hx.dim()}-D tensor")

    def _run(self, input, hx, batch_sizes):
        net, settings = _NETS[self.mode], (self.num_layers, self.dropout, self.training, self.bidirectional)
        if batch_sizes is None:
            output, *last = net(input, hx, self._flat_weights, self.bias, *settings, self.batch_first)
        else:
            output, *last = net(input, batch_sizes, hx, self._flat_weights, self.bias, *settings)
        return output, last[0] if len(last) == 1 else tuple(last)

    def extra_repr(self):
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0,
                    "bidirectional": False}  # fmt: skip
        shown = [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *shown])


def _each(states, function):
    """`function` of the state, or of each where there are two."""
    return tuple(map(function, states)) if isinstance(states, (tuple, list)) else function(states)


def _check_sizes(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size):
    if isinstance(dropout, bool) or not isinstance(dropout, numbers.Number) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )
    wanted = {"input_size": (input_size, int), "hidden_size": (hidden_size, int), "bias": (bias, bool),
              "batch_first": (batch_first, bool)}  # fmt: skip
    for name, (value, kind) in wanted.items():
        if not isinstance(value, kind):
            raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def _without_projection(kwargs):
    if "proj_size" in kwargs:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or ReLU for `nonlinearity="relu"`. Source: Elman, 1990.

    RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, device=None, dtype=None).
    """

    def __init__(self, *args, **kwargs):
        _without_projection(kwargs)
        if len(args) > 3:
            self.nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            self.nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{self.nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{self.nonlinearity.upper()}", *args, **kwargs)


class GRU(RNNBase):
    """h' = (1 - z) n + z h, with gates r and z and the new n from r h. Source: Cho et al., 2014.

    GRU(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    device=None, dtype=None); the rows of its weights are those of r, z, n.
    """

    def __init__(self, *args, **kwargs):
        _without_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


class LSTM(RNNBase):
    """c' = f c + i g, h' = o tanh(c'), with gates i, f, o and the new g. Source: Hochreiter, Schmidhuber, 1997.

    LSTM(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    proj_size=0, device=None, dtype=None); the rows of its weights are those of i, f, g, o. With `proj_size` h' is
    projected to that width (Sak et al., 2014).
    """

    def __init__(self, *args, **kwargs):
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input, batch_sizes):
        """(layers * directions, batch, hidden_size)."""
        return (*self._states(input, batch_sizes), self.hidden_size)

    def check_forward_args(self, input, hidden, batch_sizes):
        """Refuse an input or one of the two states of the wrong size."""
        self.check_input(input, batch_sizes)
        size = self.get_expected_hidden_size(input, batch_sizes)
        self.check_hidden_size(hidden[0], size, "Expected hidden[0] size {}, got {}")
        size = self.get_expected_cell_size(input, batch_sizes)
        self.check_hidden_size(hidden[1], size, "Expected hidden[1] size {}, got {}")

    def permute_hidden(self, hx, permutation):
        """Both states with their sequences in another order."""
        return hx if permutation is None else tuple(each.index_select(1, permutation) for each in hx)

    def _first_state(self, input, batch_sizes):
        sizes = self.get_expected_hidden_size(input, batch_sizes), self.get_expected_cell_size(input, batch_sizes)
        return tuple(creation.zeros(size, dtype=input.dtype, device=input.device) for size in sizes)

    def _check_dims_of_state(self, hx, batched):
        dims = 3 if batched else 2
        if hx[0].dim() != dims or hx[1].dim() != dims:
            kind = "batched" if batched else "unbatched"
            raise RuntimeError(
                f"For {kind} {dims}-D input, hx and cx should also be {dims}-D but got ({hx[0].dim()}-D, "
                f"{hx[1].dim()}-D) tensors"
            )


class RNNCellBase(Module):
    """What the cells share: the weights of one step."""

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None):
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), "bias_ih": rows, "bias_hh": rows}
        for name, shape in shapes.items():
            wanted = bias or name.startswith("weight")
            made = Parameter(creation.empty(shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, made)
        self.reset_parameters()

    def reset_parameters(self):
        """Uniform within 1 / sqrt(hidden_size), all in the order of the parameters."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _step(self, step, input, states):
        """`step` on rows, for one vector too; `states` are zeros where none are given."""
        batched = input.dim() == 2
        input = input if batched else input.unsqueeze(0)
        if states is None:
            zeros = creation.zeros(input.shape[0], self.hidden_size, dtype=input.dtype, device=input.device)
            states = (zeros, zeros)
        elif not batched:
            states = tuple(state.unsqueeze(0) for state in states)
        found = step(input, states, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return found if batched else _each(found, lambda state: state.squeeze(0))

    def _check_dims(self, tensor, what):
        if tensor.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected {what} to be 1D or 2D, got {tensor.dim()}D instead")

    def extra_repr(self):
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return text if nonlinearity == "tanh" else f"{text}, nonlinearity={nonlinearity}"


def _of_one_state(cell):
    return lambda input, states, *weights: cell(input, states[0], *weights)


class RNNCell(RNNCellBase):
    """One step of an RNN."""

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        """The next state from (batch, input_size), or (input_size), and the state before."""
        self._check_dims(input, "input")
        if hx is not None:
            self._check_dims(hx, "hidden")
        cells = {"tanh": EXPORTS["rnn_tanh_cell"], "relu": EXPORTS["rnn_relu_cell"]}
        if self.nonlinearity not in cells:
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(_of_one_state(cells[self.nonlinearity]), input, hx if hx is None else (hx,))


class GRUCell(RNNCellBase):
    """One step of a GRU."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        """The next state from (batch, input_size), or (input_size), and the state before."""
        self._check_dims(input, "input")
        if hx is not None:
            self._check_dims(hx, "hidden")
        return self._step(_of_one_state(EXPORTS["gru_cell"]), input, hx if hx is None else (hx,))


class LSTMCell(RNNCellBase):
    """One step of an LSTM."""

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        """The next hidden and cell state from (batch, input_size), or (input_size), and those before."""
        self._check_dims(input, "input")
        if isinstance(hx, Tensor):
            raise TypeError("lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor")
        for number, state in enumerate(hx or ()):
            self._check_dims(state, f"hx[{number}]")
        return self._step(EXPORTS["lstm_cell"], input, hx if hx is None else tuple(hx))
