"""Scale factors before tensors, as old optimizers write them: PyTorch's results, and its warning."""

from __future__ import annotations

import pytest

import tritorch as torch

o = torch.ones
CALLS = {  # what PyTorch gives for them
    "add_": (lambda: o(2).add_(0.5, o(2)), [1.5, 1.5]),
    "add": (lambda: torch.add(o(2), 2, o(2)), [3, 3]),
    "sub_": (lambda: o(2).sub_(0.5, o(2)), [0.5, 0.5]),
    "sub": (lambda: o(2).sub(0.5, o(2)), [0.5, 0.5]),
    "addcmul_": (lambda: o(2).addcmul_(0.5, o(2), o(2)), [1.5, 1.5]),
    "addcdiv_": (lambda: o(2).addcdiv_(-0.5, o(2), 2 * o(2)), [0.75, 0.75]),
    "addcdiv": (lambda: torch.addcdiv(o(2), 0.5, o(2), o(2)), [1.5, 1.5]),
    "addmm_": (lambda: o(2, 2).addmm_(0.5, 2.0, o(2, 2), o(2, 2)), [[4.5, 4.5], [4.5, 4.5]]),
    "addmm_, beta alone": (lambda: o(2, 2).addmm_(0.5, o(2, 2), o(2, 2)), [[2.5, 2.5], [2.5, 2.5]]),
    "addmm": (lambda: torch.addmm(0.5, o(2, 2), 2.0, o(2, 2), o(2, 2)), [[4.5, 4.5], [4.5, 4.5]]),
    "addmv": (lambda: torch.addmv(0.5, o(2), o(2, 2), o(2)), [2.5, 2.5]),
    "addr_": (lambda: o(2, 2).addr_(0.5, o(2), o(2)), [[1.5, 1.5], [1.5, 1.5]]),
    "baddbmm": (lambda: torch.baddbmm(0.5, o(1, 2, 2), o(1, 2, 2), o(1, 2, 2)), [[[2.5, 2.5], [2.5, 2.5]]]),
    "addbmm_": (lambda: o(2, 2).addbmm_(0.5, o(1, 2, 2), o(1, 2, 2)), [[2.5, 2.5], [2.5, 2.5]]),
}


@pytest.mark.parametrize(("call", "expected"), CALLS.values(), ids=CALLS.keys())
def test_factors_before_tensors(call, expected):
    with pytest.warns(UserWarning, match="This overload of .* is deprecated") as caught:
        assert call().tolist() == expected
    assert caught[0].filename == __file__


def test_an_old_adam_step():
    p, m, v, g = (torch.full((3,), value) for value in (1.0, 0.1, 0.01, 2.0))
    with pytest.warns(UserWarning, match="deprecated"):
        m.mul_(0.9).add_(0.1, g)
        v.mul_(0.99).addcmul_(0.01, g, g)
        p.addcdiv_(-0.1, m, v.sqrt().add_(1e-8))
    assert torch.allclose(p, torch.full((3,), 1 - 0.1 * 0.29 / (0.0499**0.5)))


@pytest.mark.parametrize("call", [lambda: o(2).addcmul(0.5), lambda: o(2).add(0.5, o(2), o(2)),
                                  lambda: o(2).add(0.5, 1.0), lambda: o(2).mul(2, o(2))])  # fmt: skip
def test_other_wrong_calls_stay_wrong(call):
    with pytest.raises(TypeError):
        call()
