"""Steps of mixed precision: skipped and counted on the device, and of float32 master weights."""

from __future__ import annotations

import copy

import pytest
from scaled_steps import EVERY, MAKERS, check_skipped, close, give_gradients, parameters, scaled_run

import tritorch as torch
from tritorch.optim import SGD, Adam, AdamW


@pytest.mark.parametrize("name", EVERY)
def test_the_device_skips_a_step_as_the_host_does(name):
    check_skipped(EVERY[name], "interpreter")


@pytest.mark.parametrize("name", EVERY)
def test_no_number_is_read_in_a_step(name, monkeypatch):
    params = parameters("interpreter")
    optimizer, scaler = EVERY[name](params), torch.amp.GradScaler("interpreter")
    reads, item = [], torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: reads.append(tensor) or item(tensor))
    for step in range(3):
        scaler.scale(torch.zeros((), device="interpreter"))
        give_gradients(params, step)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        scaler.step(optimizer)
        scaler.update()
    assert not reads
    scaler.get_scale()
    assert len(reads) == 1


def test_parameters_that_are_not_equally_far_have_counts_of_their_own():
    found, ours, _ = scaled_run(MAKERS["adam"], "interpreter", 6, {2}, without={1, 2, 4})
    expected, theirs, _ = scaled_run(MAKERS["adam"], "cpu", 6, {2}, without={1, 2, 4})
    close(found, expected)
    assert [ours.state[each]["step"].item() for each in found] == [5.0, 3.0, 5.0]
    assert [theirs.state[each]["step"].item() for each in expected] == [5.0, 3.0, 5.0]


@pytest.mark.parametrize("name", ["sgd, dampened", "asgd", "adafactor"])
def test_parameters_join_and_rest_as_on_the_host(name):
    """One parameter shares what the device keeps with the others, is left behind and has to go on by itself."""
    for without in ({0}, {1}, {1, 2, 4}):
        found, ours, _ = scaled_run(EVERY[name], "interpreter", 6, {0, 2}, without)
        expected, theirs, _ = scaled_run(EVERY[name], "cpu", 6, {0, 2}, without)
        close(found, expected)
        for one, other in zip(found, expected, strict=True):
            close(ours.state[one].values(), theirs.state[other].values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", EVERY)
def test_a_skipped_step_leaves_every_bit(name, value):
    params, optimizer, scaler = scaled_run(EVERY[name], "interpreter", 2, set())

    def bits():
        states = [value for each in params for value in optimizer.state[each].values()]
        return [each.detach().numpy().tobytes() for each in (*params, *states)]

    before = bits()
    scaler.scale(torch.zeros((), device="interpreter"))
    for each in params:
        each.grad = torch.full_like(each, value)
    scaler.step(optimizer)
    assert bits() == before


def test_a_velocity_that_no_step_made_is_not_saved():
    make = MAKERS["sgd, dampened"]
    params, optimizer, _ = scaled_run(make, "interpreter", 2, {0, 1})
    assert not any(optimizer.state_dict()["state"].values())
    others = [each.detach().clone().requires_grad_() for each in params]
    again = make(others)
    again.load_state_dict(optimizer.state_dict())
    truths, theirs, _ = scaled_run(make, "cpu", 2, {0, 1})
    for which, stepping in ((params, optimizer), (others, again), (truths, theirs)):
        give_gradients(which, 0)
        stepping.step()
    for which in (params, others):
        close(which, truths)
    close(optimizer.state[params[0]].values(), [params[0].grad])


def test_steps_without_the_scaler_go_on():
    make = MAKERS["sgd, dampened"]
    found, ours, _ = scaled_run(make, "interpreter", 2, {0, 1})
    expected, theirs, _ = scaled_run(make, "cpu", 2, {0, 1})
    for step in range(3):
        for which, optimizer in ((found, ours), (expected, theirs)):
            give_gradients(which, step)
            optimizer.step()
    close(found, expected)


def test_a_parameter_of_the_cpu_makes_the_host_decide():
    """Its steps are counted there."""
    params = parameters("interpreter")[:1] + parameters("cpu")[1:]
    optimizer, scaler = Adam(params, lr=0.1), torch.amp.GradScaler("interpreter")
    for step in range(3):
        scaler.scale(torch.zeros((), device="interpreter"))
        give_gradients(params, step, bad=step == 1)
        scaler.step(optimizer)
        scaler.update()
    assert [optimizer.state[each]["step"].item() for each in params] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("name", ["adam", "nadam", "sgd", "sgd, dampened", "asgd", "muon", "adafactor"])
@pytest.mark.parametrize("how", ["state_dict", "deepcopy"])
def test_counts_of_the_device_are_saved_and_go_on(name, how):
    params, optimizer, _ = scaled_run(EVERY[name], "interpreter", 4, {1})
    if how == "deepcopy":
        others, again = copy.deepcopy((params, optimizer))
    else:
        others = [each.detach().clone().requires_grad_() for each in params]
        again = EVERY[name](others)
        again.load_state_dict(optimizer.state_dict())
    for which, stepping in ((params, optimizer), (others, again)):
        for step in range(2):
            give_gradients(which, step)
            stepping.step()
    close(params, others)


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "radam", "adamax", "rmsprop", "asgd"])
def test_capturable_counts_on_the_device(name):
    params, others = parameters("interpreter"), parameters("interpreter")
    ours, theirs = MAKERS[name](params, capturable=True), MAKERS[name](others)
    for step in range(7):
        for which, optimizer in ((params, ours), (others, theirs)):
            give_gradients(which, step)
            optimizer.step()
    close(params, others)
    counts = [ours.state[each]["step"] for each in params]
    assert all(each is counts[0] for each in counts) and counts[0].device.type == "interpreter"
    assert theirs.state[others[0]]["step"].device.type == "cpu"


# ------------------------------------------------------------------------------------------------ master weights


def distance(params):
    return sum(each.float().square().sum().item() for each in params) ** 0.5


def trained(device, dtype, steps=60, **more):
    """How far parameters are from the least of a square after small steps, in units of where they began."""
    params = parameters(device, dtype, ((4, 5), (7,)))
    start = distance(params)
    optimizer = SGD(params, lr=1e-3, **more)
    for _ in range(steps):
        for each in params:
            each.grad = each.detach().clone()
        optimizer.step()
    return distance(params) / start, params, optimizer


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
def test_small_steps_of_bfloat16_are_lost_but_with_master_weights(device):
    stalled, _, _ = trained(device, torch.bfloat16)
    moved, params, optimizer = trained(device, torch.bfloat16, master_weights=True)
    expected, _, _ = trained(device, torch.float32)
    assert abs(stalled - 1) < 1e-3 and abs(moved - expected) < 2e-3 and expected < 0.95
    for each in params:
        master = optimizer.state[each]["master"]
        assert master.dtype is torch.float32 and each.dtype is torch.bfloat16
        assert (master.to(torch.bfloat16) == each).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", MAKERS)
def test_steps_with_master_weights_are_those_of_float32(name, dtype):
    """The master goes where float32 parameters go by the same gradients."""
    half, params = parameters("interpreter", dtype), parameters("cpu")
    for each, narrow in zip(params, half, strict=True):
        each.data.copy_(narrow.detach().float())
    ours, theirs = MAKERS[name](half, master_weights=True), MAKERS[name](params)
    for step in range(3):
        give_gradients(half, step)
        for each, narrow in zip(params, half, strict=True):
            each.grad = torch.tensor(narrow.grad.float().numpy())
        ours.step()
        theirs.step()
    close([ours.state[each]["master"] for each in half], params)
    buffers = [value for each in half for key, value in ours.state[each].items() if key not in ours.scalars]
    assert all(value.dtype is torch.float32 for value in buffers)


def test_master_weights_are_saved_and_loaded():
    _, params, optimizer = trained("cpu", torch.bfloat16, 3, master_weights=True, momentum=0.9)
    others = [each.detach().clone().requires_grad_() for each in params]
    again = SGD(others, lr=1e-3, momentum=0.9)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert again.param_groups[0]["master_weights"] is True
    for one, other in zip(params, others, strict=True):
        for key in ("master", "momentum_buffer"):
            assert again.state[other][key].dtype is torch.float32
            assert (again.state[other][key] == optimizer.state[one][key]).all()
    plain = SGD(others, lr=1e-3)
    assert "master_weights" not in plain.param_groups[0]


def test_master_weights_of_a_group():
    half, wide = parameters("cpu", torch.float16), parameters("cpu")
    optimizer = AdamW([{"params": half, "master_weights": True}, {"params": wide}], lr=0.1)
    give_gradients(half, 0)
    give_gradients(wide, 0)
    optimizer.step()
    assert "master" in optimizer.state[half[0]] and "master" not in optimizer.state[wide[0]]


def test_master_weights_under_a_scaler():
    params = parameters("interpreter", torch.bfloat16)
    optimizer, scaler = AdamW(params, lr=0.1, master_weights=True), torch.amp.GradScaler("interpreter")
    before = None
    for step in range(3):
        scaler.scale(torch.zeros((), device="interpreter"))
        give_gradients(params, step, bad=step == 1)
        scaler.step(optimizer)
        scaler.update()
        now = [optimizer.state[each]["master"].numpy().copy() for each in params]
        if step:
            same = all((one == other).all() for one, other in zip(before, now, strict=True))
            assert same is (step == 1)
        before = now
    assert optimizer.state[params[0]]["step"].item() == 2
