"""Every optimizer that takes steps under a GradScaler, and runs of them in which some gradients overflow."""

from __future__ import annotations

import numpy as np
from tolerances import tolerance

import tritorch as torch
from tritorch.optim import (
    ASGD,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)

MAKERS = {
    "sgd": lambda p, **more: SGD(p, lr=0.1, momentum=0.9, **more),
    "sgd, dampened": lambda p, **more: SGD(p, lr=0.1, momentum=0.9, dampening=0.5, **more),
    "adam": lambda p, **more: Adam(p, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1, **more),
    "adamw": lambda p, **more: AdamW(p, lr=0.1, amsgrad=True, **more),
    "nadam": lambda p, **more: NAdam(p, lr=0.1, momentum_decay=0.1, **more),
    "radam": lambda p, **more: RAdam(p, lr=0.1, betas=(0.9, 0.8), **more),
    "adamax": lambda p, **more: Adamax(p, lr=0.1, **more),
    "adagrad": lambda p, **more: Adagrad(p, lr=0.1, lr_decay=0.5, **more),
    "rmsprop": lambda p, **more: RMSprop(p, lr=0.1, momentum=0.5, centered=True, **more),
    "adadelta": lambda p, **more: Adadelta(p, lr=1.0, **more),
    "rprop": lambda p, **more: Rprop(p, lr=0.1, **more),
    "asgd": lambda p, **more: ASGD(p, lr=0.1, t0=2, **more),
}
COMPOSED = {
    "muon": lambda p: Muon([each for each in p if each.ndim == 2], lr=0.1),
    "adafactor": lambda p: Adafactor(p, lr=0.1, weight_decay=0.1),
}
EVERY = MAKERS | COMPOSED
SHAPES = ((3, 4), (5,), ())


def parameters(device, dtype=torch.float32, shapes=SHAPES):
    random = np.random.default_rng(0)
    return [torch.tensor(random.standard_normal(s), dtype=dtype, device=device).requires_grad_() for s in shapes]


def give_gradients(params, step, factor=1.0, bad=False):
    random = np.random.default_rng(step)
    for each in params:
        gradient = torch.tensor(random.standard_normal(each.shape) * factor, dtype=each.dtype, device=each.device)
        each.grad = gradient
    if bad:
        params[0].grad[1, 2] = float("inf")


def scaled_run(make, device, steps, bad, without=()):
    """Values and states after steps under a GradScaler; in the steps `bad` a gradient overflows."""
    params = parameters(device)
    optimizer = make(params)
    scaler = torch.amp.GradScaler(device, init_scale=4.0)
    for step in range(steps):
        scaler.scale(torch.zeros((), device=device))
        give_gradients(params, step, scaler.get_scale(), step in bad)
        if step in without:
            params[1].grad = None
        scaler.step(optimizer)
        scaler.update()
    return params, optimizer, scaler


def close(found, expected, length=8):
    relative, absolute = tolerance("float32", length=length)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), relative, absolute)


def check_skipped(make, device):
    """The first step overflows and a later one: neither values, nor states, nor counts change in these."""
    found, ours, scaler = scaled_run(make, device, 8, {0, 3})
    expected, theirs, _ = scaled_run(make, "cpu", 8, {0, 3})
    close(found, expected)
    assert scaler.get_scale() == 1.0
    for one, other in zip(found, expected, strict=True):
        own, truth = ours.state[one], theirs.state[other]
        assert own.keys() == truth.keys()
        close(own.values(), truth.values())
        assert "step" not in own or own["step"].item() == 6
