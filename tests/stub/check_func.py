"""Transforms of functions on device="cuda": what they give is what they give on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch import nn
from tritorch.func import functional_call, grad, hessian, jacrev, vmap
from tritorch.nn import functional
from tritorch.runtime.language import triton_missing

if triton_missing():
    pytest.skip(triton_missing(), allow_module_level=True)

pytestmark = pytest.mark.usefixtures("interpreted")


def _of(device, *shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)).to(device)


def per_sample(device):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).to(device)
    targets = torch.tensor([0, 2, 1]).to(device)

    def loss(parameters, x, y):
        return functional.cross_entropy(functional_call(model, parameters, (x.unsqueeze(0),)), y.unsqueeze(0))

    parameters = {name: each.detach() for name, each in model.named_parameters()}
    return list(vmap(grad(loss), in_dims=(None, 0, 0))(parameters, _of(device, 3, 1, 4, 4), targets).values())


def jacobians(device):
    weights = _of(device, 3, 4)
    x = _of(device, 4, seed=1)
    return [jacrev(lambda x: (weights @ x).sin())(x), hessian(lambda x: (weights @ x).pow(3).sum())(x)]


def written(device):
    places = torch.tensor([2, 0, 3]).to(device)

    def write(row, place):
        out = row.clone()
        out[1:].mul_(2)
        out[0] = row[place]
        zeros = row.new_zeros(4)
        zeros[1:3] = row[:2]
        return out * zeros + row.softmax(0).cumsum(0)

    return [vmap(write)(_of(device, 3, 4), places)]


@pytest.mark.parametrize("program", [per_sample, jacobians, written])
def test_as_on_the_cpu(program):
    for found, expected in zip(program("cuda"), program("cpu"), strict=True):
        assert found.is_cuda
        close(found.cpu(), expected.numpy(), gradient=True)
