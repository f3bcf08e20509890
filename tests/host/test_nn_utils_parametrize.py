"""nn.utils: weight and spectral norm in both forms, parametrizations, orthogonal weights."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from small_layers import array, linear
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.nn.utils import parametrizations, parametrize

# ------------------------------------------------------------------------------------------------- weight norm


def test_weight_norm_learns_length_and_direction_apart():
    layer, x = linear(), torch.tensor([[1.0, 2.0, 3.0]])
    before, v = array(layer(x)), array(layer.weight)
    with pytest.warns(FutureWarning, match="deprecated in favor of"):
        nn.utils.weight_norm(layer)
    assert list(layer.state_dict()) == ["bias", "weight_g", "weight_v"]
    close(layer(x), before)
    layer(x).sum().backward()
    length = np.linalg.norm(v, axis=1, keepdims=True)
    grad = np.array([[1.0, 2, 3]] * 2)
    by_g = (grad * v / length).sum(1, keepdims=True)
    close(layer.weight_g.grad, by_g, gradient=True)
    close(layer.weight_v.grad, grad - by_g * v / length, gradient=True)
    nn.utils.remove_weight_norm(layer)
    assert list(layer.state_dict()) == ["bias", "weight"] and isinstance(layer.weight, nn.Parameter)
    with pytest.raises(ValueError, match="weight_norm of 'weight' not found"):
        nn.utils.remove_weight_norm(layer)


def test_the_new_weight_norm_loads_the_old_ones_state():
    x = torch.tensor([[1.0, 2.0, 3.0]])
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(linear(), dim=None)
    layer = parametrizations.weight_norm(nn.Linear(3, 2), dim=None)
    assert list(layer.state_dict()) == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1",
    ]  # fmt: skip
    layer.load_state_dict(old.state_dict())
    np.testing.assert_array_equal(array(layer(x)), array(old(x)))
    layer.weight = torch.ones(2, 3)
    close(layer.weight, 1.0)


# ------------------------------------------------------------------------------------------------- spectral norm


def test_spectral_norm_with_hooks():
    layer, x = nn.utils.spectral_norm(linear()), torch.ones(1, 3)
    assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    assert layer.state_dict()._metadata[""]["spectral_norm"] == {"weight.version": 1}
    for _ in range(20):
        layer(x)
    largest = np.linalg.svd(array(linear().weight))[1][0]
    close(layer.weight, array(linear().weight) / largest, gradient=True)
    layer.eval()
    u = layer.weight_u.clone()
    layer(x)
    np.testing.assert_array_equal(u.numpy(), layer.weight_u.numpy())
    other = nn.utils.spectral_norm(nn.Linear(3, 2)).eval()
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(array(other(x)), array(layer(x)))
    layer(x).sum().backward()
    assert layer.weight_orig.grad.shape == (2, 3)
    nn.utils.remove_spectral_norm(layer)
    assert list(layer.state_dict()) == ["bias", "weight"] and not layer._state_dict_hooks
    with pytest.raises(RuntimeError, match="two spectral_norm hooks"):
        nn.utils.spectral_norm(nn.utils.spectral_norm(linear()))


def test_spectral_norm_as_a_parametrization():
    layer = parametrizations.spectral_norm(linear())
    assert list(layer.state_dict())[1:] == [
        "parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v",
    ]  # fmt: skip
    close(torch.linalg.svdvals(layer.weight)[0], 1.0, gradient=True)
    transposed = parametrizations.spectral_norm(nn.ConvTranspose2d(2, 3, 2))
    assert transposed.parametrizations.weight[0]._u.shape == (3,)
    with pytest.raises(ValueError, match="has no parameter or buffer with name 'foo'"):
        parametrizations.spectral_norm(linear(), "foo")


# ------------------------------------------------------------------------------------------------- parametrize


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).transpose(-1, -2)

    def right_inverse(self, x):
        return x.triu()


class Double(nn.Module):
    def forward(self, x):
        return x * 2


class Sum(nn.Module):
    def forward(self, first, second):
        return first + second

    def right_inverse(self, x):
        return x / 2, x / 2


def test_a_parametrized_weight():
    layer = linear(2, 2)
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, nn.Linear)
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert array(layer.weight).tolist() == [[0, 1], [1, 3]]
    assert parametrize.is_parametrized(layer, "weight") and not parametrize.is_parametrized(layer, "bias")
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.parametrizations.weight.original.grad.tolist() == [[1, 2], [0, 1]]
    layer.weight = torch.full((2, 2), 5.0)
    assert array(layer.parametrizations.weight.original).tolist() == [[5, 5], [0, 5]]
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    assert "(weight): ParametrizationList(\n      (0): Symmetric()" in repr(layer)
    parametrize.register_parametrization(layer, "weight", Double())
    assert array(layer.weight).tolist() == [[10, 10], [10, 10]]
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and array(layer.weight).tolist() == [[10, 10], [10, 10]]
    assert list(layer.state_dict()) == ["bias", "weight"] and not hasattr(layer, "parametrizations")


def test_several_originals_buffers_and_what_is_left():
    layer = linear(2, 2)
    layer.register_buffer("extra", torch.ones(2))
    parametrize.register_parametrization(layer, "weight", Sum())
    parametrize.register_parametrization(layer, "extra", Double())
    assert layer.extra.tolist() == [2, 2] and "parametrizations.extra.original" in dict(layer.named_buffers())
    assert array(layer.parametrizations.weight.original1).tolist() == [[0, 0.5], [1, 1.5]]
    with pytest.raises(ValueError, match="Cannot leave unparametrized"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    parametrize.remove_parametrizations(layer, "extra", leave_parametrized=False)
    assert layer.extra.tolist() == [1, 1]
    parametrize.remove_parametrizations(layer, "weight")
    assert array(layer.weight).tolist() == [[0, 1], [2, 3]]


def test_copies_states_and_transfers():
    layer = parametrize.register_parametrization(linear(2, 2), "weight", Symmetric())
    copied = copy.deepcopy(layer)
    assert array(copied.weight).tolist() == array(layer.weight).tolist()
    assert copied.parametrizations.weight.original is not layer.parametrizations.weight.original
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(layer)
    other = parametrize.transfer_parametrizations_and_params(layer, nn.Linear(2, 2))
    assert array(other.weight).tolist() == array(layer.weight).tolist()
    fresh = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Symmetric())
    fresh.load_state_dict(layer.state_dict())
    assert array(fresh.weight).tolist() == array(layer.weight).tolist()


@pytest.mark.parametrize(
    "forward, inverse, text",
    [
        (lambda x: x.double(), None, "may not change the dtype of the tensor"),
        (lambda x: x.sum(), None, "may not change the shape of the tensor"),
        (lambda x: 3, None, "A parametrization must return a tensor. Got int."),
        (lambda x: x, lambda x: x.double(), "`right_inverse` outputs one tensor, it may not change the dtype"),
        (lambda x: x, lambda x: 3, "must return a Tensor or a Sequence of tensors .* Got int"),
        (lambda x: x, lambda x: [3], "Got element 0 of the sequence with type int"),
    ],
)
def test_wrong_parametrizations_are_refused(forward, inverse, text):
    made = nn.Module()
    made.forward = forward
    if inverse is not None:
        made.right_inverse = inverse
    with pytest.raises(ValueError, match=text):
        parametrize.register_parametrization(linear(2, 2), "weight", made)
    with pytest.raises(ValueError, match="does not have a parameter, a buffer, or a parametrized element"):
        parametrize.register_parametrization(linear(), "foo", Double())


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
@pytest.mark.parametrize("way", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("trivial", [True, False])
def test_orthogonal_weights_stay_so(way, shape, trivial):
    layer = nn.Linear(shape[1], shape[0])
    parametrizations.orthogonal(layer, orthogonal_map=way, use_trivialization=trivial)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        weight = layer.weight.detach()
        product = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
        close(product, np.eye(min(shape)), gradient=True)
        optimizer.zero_grad()
        (layer.weight**3).sum().backward()
        optimizer.step()
    assert (layer.weight - weight).abs().max() > 1e-4


def test_orthogonal_weights_can_be_assigned():
    target = torch.linalg.qr(torch.arange(9.0).reshape(3, 3) + torch.eye(3))[0]
    for way, trivial in (("matrix_exp", True), ("cayley", True), ("householder", True), ("householder", False)):
        layer = parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map=way, use_trivialization=trivial)
        layer.weight = target
        close(layer.weight, target.numpy())
    layer = parametrizations.orthogonal(nn.Linear(3, 3), use_trivialization=False)
    with pytest.raises(NotImplementedError, match="not possible to assign"):
        layer.weight = target
    with pytest.raises(ValueError, match="orthogonal_map has to be one of"):
        parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="foo")
