"""nn.utils.prune: masks on parameters, one after another and over several parameters."""

from __future__ import annotations

import numpy as np
import pytest
from small_layers import array, linear

import tritorch as torch
from tritorch.nn.utils import prune


def signed():
    layer = linear(3, 4)
    with torch.no_grad():
        layer.weight.sub_(5.25)
    return layer


def zeros(layer):
    return (array(layer.weight) == 0).tolist()


def test_the_smallest_elements_are_pruned_and_stay_so_in_training():
    layer = prune.l1_unstructured(signed(), "weight", 0.25)
    assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_mask"] and prune.is_pruned(layer)
    expected = [[False] * 3, [False, True, True], [True, False, False], [False] * 3]
    assert zeros(layer) == expected
    layer(torch.ones(1, 3)).sum().backward()
    assert (array(layer.weight_orig.grad) == 0).tolist() == expected
    prune.l1_unstructured(layer, "weight", 1)
    assert sum(map(sum, zeros(layer))) == 4
    prune.ln_structured(layer, "weight", 1, 2, 0)
    assert sum(map(sum, zeros(layer))) == 5  # row 1 had two zeros already
    (hook,) = layer._forward_pre_hooks.values()
    assert len(hook) == 3
    prune.remove(layer, "weight")
    assert list(layer.state_dict()) == ["bias", "weight"] and not prune.is_pruned(layer)
    with pytest.raises(ValueError, match="has to be pruned before pruning can be removed"):
        prune.remove(layer, "weight")


def test_slices_random_elements_masks_and_scores():
    by_norm = prune.ln_structured(signed(), "weight", 2, n=1, dim=0)
    assert zeros(by_norm) == [[False] * 3, [True] * 3, [True] * 3, [False] * 3]
    rows = prune.random_structured(signed(), "weight", 0.5, dim=0)
    assert sorted(map(sum, zeros(rows))) == [0, 0, 3, 3]
    assert sum(map(sum, zeros(prune.random_unstructured(signed(), "weight", 5)))) == 5
    masked = prune.custom_from_mask(linear(), "bias", torch.tensor([1, 0]))
    assert masked.bias.tolist() == [1, 0]
    scored = prune.l1_unstructured(signed(), "weight", 2, importance_scores=torch.arange(12.0).reshape(4, 3))
    assert zeros(scored)[0] == [True, True, False] and sum(map(sum, zeros(scored))) == 2
    assert prune.identity(linear(), "bias").bias_mask.tolist() == [1, 1]


def test_pruning_several_parameters_together():
    first, second = signed(), linear(4, 2)
    with torch.no_grad():
        second.weight.mul_(0.01)
    prune.global_unstructured([(first, "weight"), (second, "weight")], pruning_method=prune.L1Unstructured, amount=8)
    assert np.array(zeros(second)).all() and not np.array(zeros(first)).any()
    with pytest.raises(TypeError, match='Only "unstructured" PRUNING_TYPE supported'):
        prune.global_unstructured([(first, "bias")], prune.LnStructured, amount=1, n=2)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda m: prune.l1_unstructured(m, "weight", -1), ValueError, "amount=-1 should either be a float"),
        (lambda m: prune.l1_unstructured(m, "weight", 1.5), ValueError, "in the range"),
        (lambda m: prune.l1_unstructured(m, "weight", 99), ValueError, "amount=99 should be smaller than"),
        (lambda m: prune.l1_unstructured(m, "weight", "a"), TypeError, "Invalid type for amount: a"),
        (lambda m: prune.ln_structured(m, "bias", 1, 2, 0), ValueError, "multidimensional tensors"),
        (lambda m: prune.ln_structured(m, "weight", 1, 2, 5), IndexError, "Invalid index 5 for tensor of size"),
        (lambda m: prune.l1_unstructured(m, "weight", 1, torch.ones(2)), AssertionError, "same shape as parameter"),
    ],
)
def test_wrong_amounts_are_refused_and_change_nothing(call, error, text):
    layer = linear()
    with pytest.raises(error, match=text):
        call(layer)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
