"""Cross entropy of a linear layer by parts of its rows, against the same of all rows at once."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch.nn import functional as F
from tritorch.ops.loss import linear_cross_entropy as parts
from tritorch.ops.loss.linear_cross_entropy import LinearCrossEntropy
from tritorch.runtime import dtypes
from tritorch.runtime.guarded import guarded_memory
from tritorch.runtime.kernel import recording_launches
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

ROWS, WIDTH, CLASSES = 37, 12, 50


@pytest.fixture(autouse=True)
def _on_the_interpreter(monkeypatch):
    torch.set_default_device("interpreter")
    monkeypatch.setattr(parts, "BYTES", 0)
    monkeypatch.setattr(parts, "LEAST", 8)  # of 37 rows: four parts of eight, and one of five


def numbers(*shape):
    return np.random.default_rng(len(shape) + shape[0]).standard_normal(shape)


def arguments(kind, biased=True):
    tensors = [numbers(ROWS, WIDTH), numbers(CLASSES, WIDTH), numbers(CLASSES) if biased else None]
    made = [None if each is None else torch.tensor(each).to(kind).requires_grad_() for each in tensors]
    target = torch.tensor(np.random.default_rng(1).integers(0, CLASSES, ROWS))
    weight = torch.tensor(np.random.default_rng(2).uniform(0.5, 1.5, CLASSES)).to(kind)
    return *made, target, weight


def same(found, expected, kind):
    relative, absolute = tolerance(kind.numpy, gradient=True, length=ROWS * CLASSES)
    scale = max(np.abs(expected).max(), 1)
    np.testing.assert_allclose(found, expected, rtol=relative, atol=absolute * scale)


@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("biased, weighted, smoothing", [(True, False, 0.0), (False, True, 0.2)])
def test_parts_give_what_all_rows_give(reduction, biased, weighted, smoothing, kind):
    found, expected = [], []
    for results, exact in ((found, False), (expected, True)):
        x, w, b, target, weight = arguments(dtypes.float64 if exact else kind, biased)
        weight = weight if weighted else None
        if exact:
            scores = x @ w.T if b is None else x @ w.T + b
            loss = F.cross_entropy(scores, target, weight, None, 3, None, reduction, smoothing)
        else:
            with guarded_memory() as guarded:
                loss = F.linear_cross_entropy(
                    x, w, target, linear_bias=b, weight=weight, reduction=reduction, ignore_index=3,
                    label_smoothing=smoothing,
                )  # fmt: skip
                assert not guarded.broken()
        (loss * 2).backward()
        results += [loss, *(each.grad for each in (x, w, b) if each is not None)]
    assert found[1].dtype is found[2].dtype is kind
    for one, other in zip(found, expected, strict=True):
        same(one.detach().double().numpy(), other.detach().numpy(), kind)


def test_scores_of_all_rows_are_never_there():
    x, w, _, target, _ = arguments(dtypes.float32, False)
    with recording_launches() as launches:
        F.linear_cross_entropy(x, w, target).backward()
    names = [each.kernel.__name__ for each in launches]
    assert names.count("cross_entropy_kernel") == names.count("cross_entropy_backward_kernel") == 5
    assert sum("matmul" in name for name in names) == 15
    sizes = [each.size for launch in launches for each in launch.args if isinstance(each, np.ndarray)]
    assert max(sizes) <= max(CLASSES * WIDTH, 8 * CLASSES)


def test_no_gradients_are_made_where_none_are_wanted():
    x, w, _, target, _ = arguments(dtypes.float32, False)
    with torch.no_grad(), recording_launches() as launches:
        F.linear_cross_entropy(x, w, target)
    assert "cross_entropy_backward_kernel" not in {each.kernel.__name__ for each in launches}


def test_gradients_of_gradients():
    x, w, _, target, _ = arguments(dtypes.float64, False)
    second = []
    for loss in (F.linear_cross_entropy(x, w, target), F.cross_entropy(x @ w.T, target)):
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        second.append(torch.autograd.grad((slope * slope).sum(), w)[0].numpy())
    same(second[0], second[1], dtypes.float64)


def test_parts_are_a_power_of_two_of_rows(monkeypatch):
    monkeypatch.undo()
    assert [parts.rows_at_once(classes, 2) for classes in (1000, 32000, 50304, 128256)] == [131072, 4096, 2048, 1024]


def test_the_weight_of_several_parts_is_summed_in_single_precision():
    random = np.random.default_rng(0)
    x, w = (random.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in ((ROWS, WIDTH), (CLASSES, WIDTH)))
    target = random.integers(0, CLASSES, ROWS)
    *_, slope, weight = LinearCrossEntropy().forward(x, w, None, target, None, -100, "sum", 0.0, True)
    assert slope.dtype == ml_dtypes.bfloat16 and weight.dtype == np.float32
