"""The CTC loss against a sum over all alignments, on both host devices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.autograd import gradcheck
from tritorch.namespaces import exported

ctc_loss = exported("nn.functional")["ctc_loss"]
RANDOM = np.random.default_rng(0)
STEPS, CLASSES = 4, 3


@pytest.fixture(params=("cpu", "interpreter"), autouse=True)
def device(request):
    torch.set_default_device(request.param)
    return request.param


def log_probs(steps, batch, classes):
    x = RANDOM.standard_normal((steps, batch, classes))
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def collapsed(path, blank):
    """What a path of classes says: repeats count once, blanks not at all."""
    return [c for c, _ in itertools.groupby(path) if c != blank]


def by_all_paths(logs, target, blank=0):
    """-log of the probability that a path of classes, one a step, says the target."""
    steps, classes = logs.shape
    paths = itertools.product(range(classes), repeat=steps)
    total = sum(
        math.exp(sum(logs[t, c] for t, c in enumerate(path))) for path in paths if collapsed(path, blank) == target
    )
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("together", [False, True])
def test_it_is_the_sum_over_all_alignments(blank, together):
    logs, labels = log_probs(STEPS, 4, CLASSES), [c for c in range(CLASSES) if c != blank]
    targets = [[labels[0], labels[1]], [labels[0], labels[0]], [labels[1]], []]
    lengths = [4, 4, 3, 2]
    expected = np.array([by_all_paths(logs[: lengths[n], n], targets[n], blank) for n in range(4)])
    if together:
        given = np.array([label for each in targets for label in each])
    else:
        given = np.array([each + [labels[0]] * (2 - len(each)) for each in targets])
    counts = [len(each) for each in targets]
    args = (torch.tensor(logs), torch.tensor(given), lengths, torch.tensor(counts), blank)
    close(ctc_loss(*args, reduction="none"), expected)
    close(ctc_loss(*args, reduction="sum"), expected.sum())
    close(ctc_loss(*args), (expected / np.maximum(counts, 1)).mean())


def test_a_sequence_without_a_batch():
    logs = log_probs(STEPS, 1, CLASSES)
    loss = ctc_loss(torch.tensor(logs[:, 0]), torch.tensor([1, 2]), STEPS, 2, reduction="none")
    assert loss.shape == ()
    close(loss, by_all_paths(logs[:, 0], [1, 2]))


def test_the_gradient_behind_a_log_softmax(device):
    if device != "cpu":
        return  # the op's samples hold the kernels against this
    x = torch.tensor(RANDOM.standard_normal((STEPS, 3, CLASSES)), requires_grad=True)
    targets = torch.tensor([[1, 2], [1, 1], [2, 0]])
    assert gradcheck(lambda x: ctc_loss(x.log_softmax(2), targets, (4, 4, 3), (2, 2, 1)), [x])


@pytest.mark.parametrize("zero", [False, True])
def test_a_target_that_does_not_fit(zero):
    x = torch.tensor(log_probs(2, 2, CLASSES), requires_grad=True)
    loss = ctc_loss(x, torch.tensor([[1, 1], [1, 2]]), (2, 2), (2, 2), reduction="none", zero_infinity=zero)
    assert loss[0].item() == (0 if zero else math.inf)  # two equal labels need a blank between them
    loss.sum().backward()
    found = x.grad.numpy()
    assert (found[:, 0] == 0).all() if zero else np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


def test_errors():
    logs, targets = torch.tensor(log_probs(4, 2, 3)), torch.tensor([[1, 2], [2, 1]])
    with pytest.raises(RuntimeError, match="blank must be in label range"):
        ctc_loss(logs, targets, (4, 4), (2, 2), blank=3)
    with pytest.raises(RuntimeError, match="input_lengths must be of size batch_size"):
        ctc_loss(logs, targets, (4,), (2, 2))
    with pytest.raises(RuntimeError, match="Expected input_lengths to have value at most 4, but got value 5"):
        ctc_loss(logs, targets, (5, 4), (2, 2))
    with pytest.raises(RuntimeError, match="to have size at least 3 at dimension 1, but got size 2"):
        ctc_loss(logs, targets, (4, 4), (3, 2))
    with pytest.raises(NotImplementedError, match="not implemented for 'Half'"):
        ctc_loss(logs.half(), targets, (4, 4), (2, 2))


def test_a_label_that_does_not_exist():
    logs, targets = torch.tensor(log_probs(4, 1, 3), device="cpu"), torch.tensor([[1, 7]], device="cpu")
    with pytest.raises(IndexError, match="Target 7 is out of bounds"):
        ctc_loss(logs, targets, (4,), (2,))
