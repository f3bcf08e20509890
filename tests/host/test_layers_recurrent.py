"""Recurrent layers: shapes, packed sequences, states, replaced weights, and what they refuse."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

NETS = (nn.RNN, nn.GRU, nn.LSTM)


@pytest.mark.parametrize("kind, first, both", [*itertools.product(NETS, (False, True), (False, True))])
def test_shapes(kind, first, both):
    net = kind(3, 4, num_layers=2, batch_first=first, bidirectional=both)
    width, count = (8, 4) if both else (4, 2)
    x = torch.ones(*((5, 6, 3) if first else (6, 5, 3)))
    output, last = net(x)
    assert output.shape == (*x.shape[:2], width)
    assert all(each.shape == (count, 5, 4) for each in (last if kind is nn.LSTM else (last,)))
    output, last = net(torch.ones(6, 3))  # one sequence, without a batch
    assert output.shape == (6, width)
    assert all(each.shape == (count, 4) for each in (last if kind is nn.LSTM else (last,)))


@pytest.mark.parametrize("kind", NETS)
def test_packed_sequences_are_run_as_each_alone(kind):
    net, lengths = kind(3, 4, num_layers=2, bidirectional=True), [2, 5, 4]
    x = torch.randn(5, 3, 3)
    packed, last = net(pack_padded_sequence(x, lengths, enforce_sorted=False))
    assert isinstance(packed, PackedSequence)
    padded, sizes = pad_packed_sequence(packed)
    assert sizes.tolist() == lengths
    for row, length in enumerate(lengths):
        output, state = net(x[:length, row])
        close(padded[:length, row], output.detach().numpy())
        for each, own in zip(*((last, state) if kind is nn.LSTM else ((last,), (state,))), strict=True):
            close(each[:, row], own.detach().numpy())


@pytest.mark.parametrize("kind", NETS)
def test_a_given_state_goes_with_its_sequence(kind):
    net, x = kind(3, 4), torch.randn(5, 3, 3)
    state = tuple(torch.randn(1, 3, 4) for _ in range(2)) if kind is nn.LSTM else torch.randn(1, 3, 4)
    packed, _ = net(pack_padded_sequence(x, [3, 5, 4], enforce_sorted=False), state)
    padded, _ = pad_packed_sequence(packed)
    alone = tuple(each[:, :1] for each in state) if kind is nn.LSTM else state[:, :1]
    close(padded[:3, :1], net(x[:3, :1], alone)[0].detach().numpy())


@pytest.mark.parametrize(
    "make",
    [
        lambda: (nn.RNN(3, 4, nonlinearity="relu"), nn.RNNCell(3, 4, nonlinearity="relu")),
        lambda: (nn.GRU(3, 4), nn.GRUCell(3, 4)),
        lambda: (nn.LSTM(3, 4, dtype=torch.float64), nn.LSTMCell(3, 4, dtype=torch.float64)),
    ],
)
def test_cells_are_steps_of_nets(make):
    net, cell = make()
    cell.load_state_dict(dict(zip(cell.state_dict(), net.state_dict().values(), strict=True)))
    x, state = torch.randn(5, 2, 3, dtype=cell.weight_ih.dtype), None
    for step in x:
        state = cell(step, state)
    output, _ = net(x)
    hidden = state[0] if isinstance(state, tuple) else state
    close(output[-1], hidden.detach().numpy())
    one = cell(x[0, 0])
    assert (one[0] if isinstance(one, tuple) else one).shape == (4,)


def test_projections():
    net = nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    output, (hidden, cell) = net(torch.ones(5, 1, 3))
    assert output.shape == (5, 1, 4) and hidden.shape == (4, 1, 2) and cell.shape == (4, 1, 4)
    assert net.weight_ih_l1.shape == (16, 4) and net.weight_hr_l0_reverse.shape == (2, 4)
    assert [len(each) for each in net.all_weights] == [5] * 4


def test_a_replaced_weight_is_used():
    net, x = nn.GRU(3, 4), torch.randn(5, 1, 3)
    twin = copy.deepcopy(net)
    net.weight_hh_l0 = nn.Parameter(torch.zeros(12, 4))
    assert not torch.equal(net(x)[0], twin(x)[0]) and net.all_weights[0][1] is net.weight_hh_l0
    del twin._parameters["weight_hh_l0"]  # as weight dropping scripts do
    twin.weight_hh_l0 = torch.zeros(12, 4)
    assert torch.equal(net(x)[0], twin(x)[0])
    net.flatten_parameters()


def test_dropout_between_layers_only_while_training():
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last recurrent layer"):
        nn.LSTM(3, 4, dropout=0.5)
    net, x = nn.LSTM(3, 40, 2, dropout=0.5), torch.randn(5, 2, 3)
    assert not torch.equal(net(x)[0], net(x)[0])
    net.eval()
    assert torch.equal(net(x)[0], net(x)[0])


def x():
    return torch.ones(5, 3, 4)


ERRORS = [
    (lambda: nn.LSTM(4.0, 5), TypeError, "input_size should be of type int, got: float"),
    (lambda: nn.GRU(4, 0), ValueError, "hidden_size must be greater than zero"),
    (lambda: nn.GRU(4, 5, 0), ValueError, "num_layers must be greater than zero"),
    (lambda: nn.GRU(4, 5, dropout=1.5), ValueError, "dropout should be a number in range [0, 1]"),
    (lambda: nn.GRU(4, 5, batch_first=1), TypeError, "batch_first should be of type bool, got: int"),
    (lambda: nn.RNN(4, 5, nonlinearity="x"), ValueError, "Unknown nonlinearity 'x'. Select from 'tanh' or 'relu'."),
    (lambda: nn.RNN(4, 5, proj_size=2), ValueError, "proj_size argument is only supported for LSTM"),
    (lambda: nn.LSTM(4, 5, proj_size=5), ValueError, "proj_size has to be smaller than hidden_size"),
    (lambda: nn.RNNBase("X", 4, 5), ValueError, "Unrecognized RNN mode: X"),
    (lambda: nn.LSTM(4, 5)(x()[0, 0]), ValueError, "LSTM: Expected input to be 2D or 3D, got 1D instead"),
    (lambda: nn.LSTM(3, 5)(x()), RuntimeError, "input.size(-1) must be equal to input_size. Expected 3, got 4"),
    (lambda: nn.LSTM(4, 5)(x().double()), ValueError, "RNN input dtype (torch.float64) does not match weight dtype"),
    (lambda: nn.GRU(4, 5)(x(), torch.ones(1, 3, 6)), RuntimeError, "Expected hidden size (1, 3, 5), got [1, 3, 6]"),
    (
        lambda: nn.LSTM(4, 5)(x(), (torch.ones(1, 3, 5), torch.ones(1, 3, 6))),
        RuntimeError,
        "Expected hidden[1] size (1, 3, 5), got [1, 3, 6]",
    ),
    (
        lambda: nn.GRU(4, 5)(x(), torch.ones(1, 5)),
        RuntimeError,
        "For batched 3-D input, hx should also be 3-D but got 2-D tensor",
    ),
    (
        lambda: nn.LSTM(4, 5)(x()[0], (torch.ones(1, 3, 5), torch.ones(1, 3, 5))),
        RuntimeError,
        "For unbatched 2-D input, hx and cx should also be 2-D but got (3-D, 3-D) tensors",
    ),
    (lambda: nn.GRUCell(4, 5)(x()), ValueError, "GRUCell: Expected input to be 1D or 2D, got 3D instead"),
    (lambda: nn.GRUCell(4, 5)(x()[0], x()), ValueError, "GRUCell: Expected hidden to be 1D or 2D, got 3D instead"),
    (lambda: nn.LSTMCell(4, 5)(x()[0], x()[0]), TypeError, "argument 'hx' (position 2) must be tuple of Tensors"),
    (lambda: nn.RNNCell(4, 5, nonlinearity="x")(x()[0]), RuntimeError, "Unknown nonlinearity: x"),
]


@pytest.mark.parametrize("use, error, text", ERRORS)
def test_errors(use, error, text):
    with pytest.raises(error) as caught:
        use()
    assert text in str(caught.value)


def test_a_small_net_learns_to_count():
    torch.manual_seed(2)
    net, readout = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*net.parameters(), *readout.parameters()], lr=0.05)
    x = torch.tensor(np.random.default_rng(0).integers(0, 2, (32, 6, 1)).astype("f4"))
    for _ in range(100):
        loss = nn.functional.mse_loss(readout(net(x)[0][:, -1]), x.sum(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
