"""Anomaly mode: what an error in a backward pass says of the forward call behind it."""

from __future__ import annotations

import pytest

import tritorch as torch


def watching(**settings):
    return torch.autograd.set_detect_anomaly(True, **settings)


def root_of_nothing(x):
    return (x * 0).sqrt() * 0  # the slope of the root is infinite: times 0 it is NaN


def test_nan_names_the_forward_op_and_the_line_that_called_it():
    x = torch.ones(2, requires_grad=True)
    with watching():
        y = root_of_nothing(x).sum()
        with pytest.raises(RuntimeError, match="SqrtBackward0' returned nan values in its 0th output") as caught:
            y.backward()
    lines = str(caught.value).rstrip().splitlines()
    assert "in root_of_nothing" in lines[-2] and "(x * 0).sqrt()" in lines[-1]  # and none of ours below it


def test_layers_show_the_line_of_the_model():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(x)

    with watching():
        y = Net()(torch.full((1, 2), float("nan"))).sum()
        with pytest.raises(RuntimeError, match=r"LinearBackward0[\s\S]*return self.fc\(x\)\s*$"):
            y.backward()


def test_nan_may_pass():
    x = torch.ones(2, requires_grad=True)
    with watching(check_nan=False):
        assert torch.is_anomaly_enabled() and not torch.is_anomaly_check_nan_enabled()
        root_of_nothing(x).sum().backward()
    assert x.grad.isnan().all() and torch.is_anomaly_check_nan_enabled() and not torch.is_anomaly_enabled()


def test_other_errors_tell_of_the_forward_call_too():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            raise ValueError("mine")

    x = torch.ones(2, requires_grad=True)
    with watching():
        y = Fails.apply(x).sum()
        with pytest.raises(ValueError, match="mine") as caught:
            y.backward()
        assert "Error detected in FailsBackward. Traceback of forward call" in caught.value.__notes__[0]
        assert "y = Fails.apply(x).sum()" in caught.value.__notes__[0]
        b = x * 1
        c = (b.exp() * b).sum()
        b.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation") as caught:
            c.backward()
        assert "c = (b.exp() * b).sum()" in caught.value.__notes__[0]


def test_without_a_forward_pass_inside_little_is_known():
    y = root_of_nothing(torch.ones(2, requires_grad=True)).sum()
    with watching(), pytest.raises(RuntimeError, match="No forward pass information available"):
        y.backward()


def test_second_derivatives_name_both_calls():
    x = torch.zeros(1, requires_grad=True)
    with watching():
        y = (x * 0).exp().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        with pytest.raises(RuntimeError, match="returned nan") as caught:
            (first * float("nan")).sum().backward()
    assert "Previous calculation" not in str(caught.value)
    with watching():
        y = x.sin().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        first.register_hook(lambda grad: grad * float("nan"))
        with pytest.raises(RuntimeError, match=r"Previous calculation was induced by SinBackward0[\s\S]*x.sin\(\)"):
            first.sum().backward()


def test_the_block_warns_that_it_takes_time():
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"), torch.autograd.detect_anomaly():
        assert torch.is_anomaly_enabled()
    torch.set_anomaly_enabled(True)
    assert torch.is_anomaly_enabled()
    torch.set_anomaly_enabled(False)
    assert not torch.is_anomaly_enabled()
