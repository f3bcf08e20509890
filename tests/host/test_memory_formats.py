"""Memory formats on the CPU: what each call makes of them, and PyTorch's refusals. Strides are those PyTorch gives."""

from __future__ import annotations

import copy

import pytest

import tritorch as torch
from tritorch import nn

LAST = torch.channels_last


def last(*shape):
    return torch.rand(*shape).to(memory_format=LAST)


def test_a_format_is_read_off_strides():
    t = last(2, 3, 4, 5)
    assert t.is_contiguous(memory_format=LAST)
    assert not t.is_contiguous()
    assert not t.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.rand(2, 3, 1, 1).is_contiguous(memory_format=LAST)  # steps of one element do not matter
    assert not torch.rand(2, 3, 4).is_contiguous(memory_format=LAST)
    volumes = torch.rand(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    assert volumes.stride() == (360, 1, 90, 18, 3)
    assert volumes.contiguous(memory_format=torch.channels_last_3d) is volumes
    assert torch.equal(volumes, volumes.contiguous())


@pytest.mark.parametrize(
    ("call", "strides"),
    [
        (lambda: torch.empty(2, 3, 4, 5, memory_format=LAST), (60, 1, 15, 3)),
        (lambda: torch.empty(2, 0, 4, 5, memory_format=LAST), (0, 1, 0, 0)),
        (lambda: torch.zeros(4, 4, 6, 5)[::4].clone(), (480, 30, 5, 1)),
        (lambda: torch.zeros(4, 4, 6, 5)[::4].to(torch.float64), (480, 30, 5, 1)),
        (lambda: torch.zeros(4, 6, 5)[:, :, :2].transpose(0, 1).clone(), (2, 12, 1)),
        (lambda: torch.rand(2, 3, 4, 5).float(memory_format=LAST), (60, 1, 15, 3)),
        (lambda: torch.rand(2, 3, 4, 5).cpu(memory_format=LAST), (60, 1, 15, 3)),
        (lambda: torch.rand(7).resize_(2, 3, 4, 5, memory_format=LAST), (60, 1, 15, 3)),
        (lambda: torch.rand(7).resize_as_(last(2, 3, 4, 5)), (60, 20, 5, 1)),
        (lambda: torch.rand(7).resize_as_(last(2, 3, 4, 5), memory_format=torch.preserve_format), (60, 1, 15, 3)),
        (lambda: last(2, 3, 4, 5).unsqueeze(2), (60, 1, 60, 15, 3)),
        (lambda: last(2, 3, 4, 5).new_zeros(2, 3, 4, 5), (60, 20, 5, 1)),
        (lambda: copy.deepcopy(last(2, 3, 4, 5)), (60, 1, 15, 3)),
        (lambda: torch.stack([last(2, 3, 4, 5)] * 2), (120, 60, 1, 15, 3)),
        (lambda: torch.stack([last(2, 3, 4, 5)] * 2, 1), (120, 3, 1, 30, 6)),
        (lambda: torch.stack([last(2, 3, 4, 5)] * 2, 4), (120, 40, 10, 2, 1)),
    ],
)
def test_strides_of_what_is_made(call, strides):
    assert call().stride() == strides


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: torch.rand(2, 3).contiguous(memory_format=LAST), RuntimeError, "required rank 4 tensor to use"),
        (lambda: torch.rand(2, 3).to(memory_format=LAST), RuntimeError, "required rank 4 tensor to use channels_last"),
        (lambda: torch.zeros_like(torch.rand(2), memory_format=LAST), RuntimeError, "required rank 4 tensor to use"),
        (
            lambda: torch.rand(2, 3, 4, 5).clone(memory_format=torch.channels_last_3d), RuntimeError,
            "required rank 5 tensor to use channels_last_3d format",
        ),
        (lambda: torch.empty(2, memory_format=torch.preserve_format), RuntimeError, "unsupported memory format"),
        (
            lambda: torch.rand(2, 3).T.contiguous(memory_format=torch.preserve_format), RuntimeError,
            "preserve memory format is unsupported by the contiguous operator",
        ),
        (
            lambda: torch.rand(2).contiguous(memory_format=3), TypeError,
            "contiguous(): argument 'memory_format' must be torch.memory_format, not int",
        ),
        (lambda: torch.zeros(2, memory_format=LAST), TypeError, "unexpected keyword argument 'memory_format'"),
        (lambda: nn.Conv3d(2, 3, 1).to(memory_format=LAST), RuntimeError, "required rank 4 tensor to use"),
    ],
)  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error) as found:
        call()
    assert message in str(found.value)


def test_a_module_takes_a_format_where_it_has_four_dimensions():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(3, 4)).to(memory_format=LAST)
    assert [each.stride() for each in model.parameters()] == [(27, 1, 9, 3), (1,), (1,), (1,), (3, 1), (1,)]
    assert nn.Conv3d(3, 4, 3).to(memory_format=torch.channels_last_3d).weight.stride() == (81, 1, 27, 9, 3)
    assert copy.deepcopy(model)[0].weight.stride() == (27, 1, 9, 3)


def test_gradients_lie_as_their_leaves():
    weight = last(4, 3, 2, 2).requires_grad_()
    for _ in range(2):  # taken over or copied, then added to
        (weight.contiguous() * torch.rand(4, 3, 2, 2)).sum().backward()
        assert weight.grad.stride() == weight.stride()
    gap = torch.rand(4, 6)[:, ::2].requires_grad_()
    (gap * 2).sum().backward()
    assert gap.grad.stride() == (3, 1)


def test_the_mask_of_dropout_is_that_of_the_gradient():
    t = last(2, 3, 4, 5).requires_grad_()
    found = nn.functional.dropout(t, 0.5)
    found.backward(torch.ones(2, 3, 4, 5))  # which lies otherwise
    assert torch.equal(t.grad != 0, found != 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: nn.functional.pixel_shuffle(t, 2), lambda t: nn.functional.pixel_unshuffle(t, 2),
        lambda t: nn.functional.channel_shuffle(t, 4),
    ],
)  # fmt: skip
def test_shuffled_channels_stay_innermost(call):
    t = last(2, 8, 4, 6)
    assert call(t).is_contiguous(memory_format=LAST)
    assert torch.equal(call(t), call(t.contiguous()))
    assert call(t.contiguous()).is_contiguous()


def test_states_of_optimizers_lie_as_their_parameters():
    weight = last(4, 3, 2, 2).requires_grad_()
    plain = weight.detach().contiguous().requires_grad_()
    for each in (weight, plain):
        optimizer = torch.optim.Adam([each], lr=0.1)
        for _ in range(2):
            (each * each).sum().backward()
            optimizer.step()
        assert optimizer.state[each]["exp_avg"].stride() == each.stride()
    assert torch.allclose(weight, plain)
    again = torch.optim.Adam([weight], lr=0.1)
    again.load_state_dict(optimizer.state_dict())  # that of the contiguous one
    assert again.state[weight]["exp_avg"].stride() == weight.stride()
    assert torch.equal(again.state[weight]["exp_avg"], optimizer.state[plain]["exp_avg"])
