"""nn.utils: clipping, packing sequences, fusing layers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from small_layers import array, linear
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.autograd.intercept import Interceptor
from tritorch.nn.utils import rnn

# ------------------------------------------------------------------------------------------------- clipping


def with_gradients(dtype=torch.float32):
    made = []
    for number, shape in enumerate([(3,), (2, 2), ()], 1):
        parameter = torch.ones(shape, dtype=dtype).requires_grad_()
        parameter.grad = torch.full(shape, float(number), dtype=dtype)
        made.append(parameter)
    return [*made, torch.ones(2).requires_grad_()]


@pytest.mark.parametrize("kind", [2.0, 1, 3, float("inf"), "inf", 0.5])
def test_gradients_are_scaled_to_a_norm(kind):
    parameters = with_gradients()
    flat = np.array([1.0] * 3 + [2] * 4 + [3])
    expected = (
        np.linalg.norm(flat, float(kind)) if float(kind) > 1 else (flat ** float(kind)).sum() ** (1 / float(kind))
    )
    total = nn.utils.clip_grad_norm_(iter(parameters), 1.0, kind)
    close(total, expected)
    clipped = np.concatenate([each.grad.numpy().ravel() for each in parameters[:3]])
    close(torch.tensor(clipped), flat / expected)


def test_small_gradients_stay_and_those_that_are_not_finite_can_be_refused():
    parameters = with_gradients()
    assert nn.utils.clip_grad_norm_(parameters, 100.0).item() == pytest.approx(28**0.5)
    assert parameters[1].grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    parameters[0].grad[0] = float("nan")
    with pytest.raises(RuntimeError, match=r"total norm of order 2\.0 for gradients from `parameters` is non-finite"):
        nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    half = with_gradients(torch.bfloat16)
    assert nn.utils.clip_grad_norm_(half, 1.0).dtype is torch.bfloat16


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
def test_all_gradients_take_few_launches(device):
    calls = []

    class Counting(Interceptor):
        def intercept(self, cls, args):
            calls.append(cls.op_name)
            return cls.apply(*args)

    parameters = [torch.ones(5, device=device, requires_grad=True) for _ in range(20)]
    for number, each in enumerate(parameters):
        each.grad = torch.full((5,), float(number), device=device)
    before = parameters[3].grad._version
    with Counting():
        nn.utils.clip_grad_norm_(parameters, 1.0)
    assert calls == ["clip_by_norm"]
    assert parameters[3].grad._version == before + 1
    close(parameters[3].grad, [3 / (5 * 2470) ** 0.5] * 5)


def test_norm_and_scaling_apart():
    parameters = with_gradients()
    total = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    nn.utils.clip_grads_with_norm_(parameters, 1.0, total)
    close(parameters[2].grad, 3 / 28**0.5)
    assert nn.utils.get_total_norm(torch.ones(4)).item() == 2.0
    with pytest.warns(FutureWarning, match="is now deprecated"):
        nn.utils.clip_grad_norm(parameters, 1.0)


# ------------------------------------------------------------------------------------------------- sequences


def test_packing_orders_steps_and_unpacking_undoes_it():
    x = torch.arange(24.0).reshape(2, 3, 4)
    packed = rnn.pack_padded_sequence(x, [2, 3], batch_first=True, enforce_sorted=False)
    assert isinstance(packed, tuple) and packed._fields[0] == "data"
    assert packed.batch_sizes.tolist() == [2, 2, 1] and packed.sorted_indices.tolist() == [1, 0]
    assert packed.data[:, 0].tolist() == [12.0, 0.0, 16.0, 4.0, 20.0]
    padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True, padding_value=-1.0, total_length=4)
    assert lengths.tolist() == [2, 3] and padded.shape == (2, 4, 4)
    np.testing.assert_array_equal(padded[0, :2].numpy(), x[0, :2].numpy())
    np.testing.assert_array_equal(padded[1, :3].numpy(), x[1].numpy())
    assert (padded[0, 2:] == -1).all() and (padded[1, 3:] == -1).all()
    with pytest.raises(ValueError, match="Expected total_length to be at least the length of the longest"):
        rnn.pad_packed_sequence(packed, total_length=2)


def test_gradients_pass_packing():
    x = torch.ones(3, 2, 1, requires_grad=True)
    output, _ = rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, torch.tensor([3, 1])))
    (output * torch.arange(6.0).reshape(3, 2, 1)).sum().backward()
    assert x.grad.squeeze(-1).tolist() == [[0.0, 1.0], [2.0, 0.0], [4.0, 0.0]]


def test_padding_lists():
    parts = [torch.ones(2), torch.full((3,), 2.0)]
    assert rnn.pad_sequence(parts, batch_first=True).tolist() == [[1, 1, 0], [2, 2, 2]]
    assert rnn.pad_sequence(parts, True, -1.0, "left").tolist() == [[-1, 1, 1], [2, 2, 2]]
    assert rnn.pad_sequence(parts).shape == (3, 2)
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    assert [each.tolist() for each in rnn.unpack_sequence(packed)] == [[1, 1], [2, 2, 2]]
    assert [len(each) for each in rnn.unpad_sequence(torch.ones(3, 2), torch.tensor([3, 1]))] == [3, 1]


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda x: rnn.pack_padded_sequence(x, [2, 3], batch_first=True), "must be sorted in decreasing order"),
        (lambda x: rnn.pack_padded_sequence(x, [3, 0], batch_first=True), "has to be greater than 0"),
        (lambda x: rnn.pack_padded_sequence(x, [3], batch_first=True), r"got 1 \(batch_size=2\)"),
        (lambda x: rnn.pack_padded_sequence(x, torch.ones(1, 2), True), "1D CPU int64 tensor, but got 2D cpu Float"),
        (lambda x: rnn.pack_padded_sequence(x, [4, 2], True), "Expected every length to be at most 3"),
        (lambda x: rnn.pad_sequence([]), "received an empty list of sequences"),
        (lambda x: rnn.pad_sequence(3), "Expected iterable for input sequences"),
        (lambda x: rnn.pad_sequence([x], padding_side="up"), "to be one of left or right, but got up"),
    ],
)
def test_wrong_sequences_are_refused(call, text):
    with pytest.raises(RuntimeError, match=text):
        call(torch.arange(24.0).reshape(2, 3, 4))


def test_packed_sequences_move_and_copy():
    packed = rnn.pack_sequence([torch.ones(3), torch.ones(2)], enforce_sorted=False)
    assert packed.to("cpu") is packed and packed.cpu() is packed and not packed.is_cuda
    assert packed.double().data.dtype is torch.float64 and packed.long().batch_sizes.tolist() == [2, 2, 1]
    moved = packed.to("interpreter")
    assert moved.data.device.type == "interpreter" and moved.batch_sizes.device.type == "cpu"
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert type(other) is rnn.PackedSequence and other.data.tolist() == packed.data.tolist()
    made = rnn.PackedSequence(torch.ones(3), torch.tensor([2, 1]), torch.tensor([1, 0]))
    assert made.unsorted_indices.tolist() == [1, 0]


# ------------------------------------------------------------------------------------------------- the rest


def test_batch_norm_is_taken_into_the_layer_before_it():
    for layer, norm, x in (
        (nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), torch.randn(4, 2, 5, 5)),
        (nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3), torch.randn(4, 2, 5, 5)),
        (nn.Linear(4, 3), nn.BatchNorm1d(3), torch.randn(5, 4)),
    ):
        norm(layer(x))
        with torch.no_grad():
            norm.weight.copy_(torch.arange(1.0, 4.0))
        layer.eval(), norm.eval()
        if isinstance(layer, nn.Linear):
            fused = nn.utils.fuse_linear_bn_eval(layer, norm)
        else:
            fused = nn.utils.fuse_conv_bn_eval(layer, norm, isinstance(layer, nn.ConvTranspose2d))
        close(fused(x), array(norm(layer(x))), gradient=True)
        with pytest.raises(AssertionError, match="Fusion only for eval!"):
            (nn.utils.fuse_linear_bn_eval if isinstance(layer, nn.Linear) else nn.utils.fuse_conv_bn_eval)(
                layer.train(), norm
            )


def test_modules_without_their_first_values_use_no_random_numbers():
    before = torch.get_rng_state().tolist()
    layer = nn.utils.skip_init(nn.Linear, 3, 2, bias=False)
    assert layer.weight.shape == (2, 3) and torch.get_rng_state().tolist() == before
    with pytest.raises(RuntimeError, match="Module must support a 'device' arg"):
        nn.utils.skip_init(nn.ReLU)


def test_layouts_and_other_parameters():
    layer = nn.utils.convert_conv2d_weight_memory_format(nn.Conv2d(4, 3, 2), torch.channels_last)
    assert layer(torch.ones(1, 4, 3, 3)).shape == (1, 3, 2, 2)
    with pytest.warns(FutureWarning, match="Please use `torch.func.functional_call`"):
        found = nn.utils.stateless.functional_call(linear(), {"weight": torch.zeros(2, 3)}, (torch.ones(1, 3),))
    assert found.tolist() == [[1, 1]]
