"""Learning rate schedulers: their rates against closed formulas, how they are combined, saved and misused."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
from tolerances import tolerance

import tritorch as torch
from tritorch.optim import SGD, Adam, lr_scheduler


def close(found, expected):
    relative, absolute = tolerance(torch.float64)
    np.testing.assert_allclose(found, expected, rtol=relative, atol=absolute)


def optimizer(lr=0.5, **settings):
    return SGD([torch.zeros(2, requires_grad=True)], lr=lr, **settings)


def rates(scheduler, steps):
    """The rate of the first group in each of the epochs."""
    found = []
    for _ in range(steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        assert scheduler.get_last_lr()[0] == found[-1]
        scheduler.optimizer.step()
        scheduler.step()
    return found


def polynomial(t):
    return (1 - min(t, 8) / 8) ** 2


def cosine(t):
    return 0.2 + 0.8 * (1 + math.cos(math.pi * t / 6)) / 2


DECAYS = [
    (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (t + 1)), lambda t: 1 / (t + 1)),
    (lambda o: lr_scheduler.MultiplicativeLR(o, [lambda t: 0.9]), lambda t: 0.9**t),
    (lambda o: lr_scheduler.StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
    (lambda o: lr_scheduler.MultiStepLR(o, [2, 5, 5], 0.5), lambda t: 0.5 ** ((t >= 2) + 2 * (t >= 5))),
    (lambda o: lr_scheduler.ConstantLR(o, 0.25, 4), lambda t: 0.25 if t < 4 else 1),
    (lambda o: lr_scheduler.LinearLR(o, 0.1, 0.6, 5), lambda t: 0.1 + 0.5 * min(t, 5) / 5),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.8), lambda t: 0.8**t),
    (lambda o: lr_scheduler.PolynomialLR(o, 8, 2), polynomial),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, 6, 0.1), cosine),
    (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 6, 1, 0.1), lambda t: cosine(t % 6)),
]


@pytest.mark.parametrize("make, share", DECAYS)
def test_rates_follow_the_formula(make, share):
    close(rates(make(optimizer()), 14), [0.5 * share(t) for t in range(14)])


@pytest.mark.parametrize("make, share", DECAYS)
def test_a_scheduler_resumes_from_its_state(make, share):
    straight = rates(make(optimizer()), 12)
    first = make(optimizer())
    rates(first, 5)
    resumed = make(optimizer())
    resumed.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    resumed.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    assert rates(resumed, 7) == straight[5:]


@pytest.mark.parametrize("make, share", [each for at, each in enumerate(DECAYS) if at not in (0, 1)])
def test_step_to_an_epoch_uses_the_closed_form(make, share):
    scheduler = make(optimizer())
    scheduler.optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler.step(7)
    close(scheduler.get_last_lr(), [0.5 * share(7)])
    assert scheduler.last_epoch == 7


def test_warm_restarts_grow_and_take_fractions():
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer(1.0), 2, 3)
    found = rates(scheduler, 9)
    close([found[0], found[2], found[4], found[5], found[8]], [1, 1, 0.75, 0.5, 1])
    scheduler.step(2.5)
    assert scheduler.T_i == 6 and scheduler.T_cur == 0.5 and scheduler.last_epoch == 2


def test_cyclic_rates_and_momenta():
    scheduler = lr_scheduler.CyclicLR(optimizer(momentum=0.9), 0.1, 0.5, 4, mode="triangular2", base_momentum=0.6)
    group = scheduler.optimizer.param_groups[0]
    found, momenta = [], []
    for _ in range(17):
        found.append(group["lr"])
        momenta.append(group["momentum"])
        scheduler.optimizer.step()
        scheduler.step()
    up = [0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2]
    close(found, [*up, *[0.1 + (x - 0.1) / 2 for x in up], 0.1])
    close(momenta[:5], [0.9, 0.825, 0.75, 0.675, 0.6])
    by_step = lr_scheduler.CyclicLR(optimizer(), 0.1, 0.5, 4, mode="exp_range", gamma=0.5, cycle_momentum=False)
    close(rates(by_step, 3), [0.1, 0.1 + 0.4 / 4 / 2, 0.1 + 0.4 / 2 / 4])
    own = lr_scheduler.CyclicLR(optimizer(), 0.1, 0.5, 4, scale_fn=lambda x: x, cycle_momentum=False)
    assert own.state_dict()["_scale_fn_custom"] is None and rates(own, 13)[12] == pytest.approx(0.9)


def test_one_cycle_of_adam():
    adam = Adam([torch.zeros(2, requires_grad=True)], lr=1.0)
    scheduler = lr_scheduler.OneCycleLR(adam, 0.8, total_steps=11, pct_start=0.5, anneal_strategy="linear")
    found, betas = [], []
    for step in range(11):
        found.append(adam.param_groups[0]["lr"])
        betas.append(adam.param_groups[0]["betas"])
        adam.step()
        if step < 10:
            scheduler.step()
    close([found[0], found[10]], [0.8 / 25, 0.8 / 25 / 1e4])
    assert max(found) < 0.8 and betas[0] == (0.95, 0.999) and 0.85 <= min(b[0] for b in betas) < 0.87
    scheduler.step()
    with pytest.raises(ValueError, match=r"Tried to step 12 times. The specified number of total steps is 11"):
        scheduler.step()


def test_one_cycle_in_three_phases_along_cosines():
    scheduler = lr_scheduler.OneCycleLR(
        optimizer(), 1.0, epochs=4, steps_per_epoch=5, pct_start=0.3, three_phase=True, cycle_momentum=False
    )
    found = rates(scheduler, 20)
    close([found[0], found[5], found[10], found[19]], [0.04, 1.0, 0.04, 4e-6])


def test_plateau_waits_cools_and_stops():
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer(1.0), "max", 0.5, patience=1, cooldown=1, min_lr=0.3)
    found = []
    for measure in (1, 2, 2, torch.tensor(2.0), 2, 2, 2, 2, 2, 2):
        scheduler.step(measure)
        found.append(scheduler.get_last_lr()[0])
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]
    falling = lr_scheduler.ReduceLROnPlateau(optimizer(1.0), patience=0, threshold=0.1, threshold_mode="abs")
    for measure in (1.0, 0.95):
        falling.step(measure)
    assert falling.get_last_lr() == [0.1] and falling.best == 1.0


def test_a_plateau_follows_new_groups_and_its_state():
    sgd = optimizer(1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(sgd, patience=0)
    sgd.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 2.0})
    for _ in range(2):
        scheduler.step(1.0)
    assert [group["lr"] for group in sgd.param_groups] == [0.1, 0.2]
    resumed = lr_scheduler.ReduceLROnPlateau(optimizer(1.0), patience=5)
    resumed.load_state_dict(scheduler.state_dict())
    assert resumed.best == 1.0 and resumed.patience == 0 and "optimizer" not in scheduler.state_dict()
    fixed = lr_scheduler.ReduceLROnPlateau(optimizer(1.0), patience=0, min_lr=[0.1])
    fixed.optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)]})
    fixed.step(1.0)
    with pytest.raises(RuntimeError, match="number of param groups"):
        fixed.step(1.0)


def warmup_then_decay(sgd):
    warmup = lr_scheduler.LinearLR(sgd, 0.1, total_iters=4)
    return lr_scheduler.SequentialLR(sgd, [warmup, lr_scheduler.ExponentialLR(sgd, 0.5)], [4])


def both(sgd):
    return lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(sgd, 0.1, 2), lr_scheduler.ExponentialLR(sgd, 0.5)])


def test_schedulers_one_after_the_other_and_all_at_once():
    warm = [0.1, 0.325, 0.55, 0.775, 1, 0.5, 0.25]
    close(rates(warmup_then_decay(optimizer(1.0)), 7), warm)
    close(rates(both(optimizer(1.0)), 4), [0.1, 0.05, 0.25, 0.125])


@pytest.mark.parametrize("make", [warmup_then_decay, both])
def test_composed_schedulers_resume(make):
    straight = rates(make(optimizer()), 10)
    first = make(optimizer())
    rates(first, 3)
    resumed = make(optimizer())
    resumed.optimizer.load_state_dict(first.optimizer.state_dict())
    state = first.state_dict()
    resumed.load_state_dict(state)
    assert rates(resumed, 7) == straight[3:] and len(state["_schedulers"]) == 2


def test_objects_that_can_be_called_are_saved_by_their_attributes():
    class Ramp:
        def __init__(self, height):
            self.height = height

        def __call__(self, epoch):
            return self.height

    saved = lr_scheduler.LambdaLR(optimizer(), [Ramp(0.5)]).state_dict()
    assert saved["lr_lambdas"] == [{"height": 0.5}]
    resumed = lr_scheduler.LambdaLR(optimizer(), [Ramp(0.25)])
    resumed.load_state_dict(saved)
    assert resumed.lr_lambdas[0].height == 0.5 and saved["lr_lambdas"] == [{"height": 0.5}]
    assert lr_scheduler.LambdaLR(optimizer(), lambda t: 1).state_dict()["lr_lambdas"] == [None]


def test_a_rate_that_is_a_tensor_is_written_in_place():
    rate = torch.tensor(1.0)
    scheduler = lr_scheduler.StepLR(optimizer(rate), 1, 0.5)
    scheduler.optimizer.step()
    before = scheduler.get_last_lr()[0]
    scheduler.step()
    assert scheduler.optimizer.param_groups[0]["lr"] is rate and rate.item() == 0.5 and before.item() == 1.0


def test_groups_keep_their_own_rates():
    one, other = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    sgd = SGD([{"params": [one]}, {"params": [other], "lr": 4.0}], lr=1.0)
    scheduler = lr_scheduler.LambdaLR(sgd, [lambda t: 0.5**t, lambda t: 1.0])
    sgd.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5, 4.0] and sgd.param_groups[1]["initial_lr"] == 4.0
    with pytest.raises(KeyError, match=r"param 'initial_lr' is not specified in param_groups\[0\] when resuming"):
        lr_scheduler.StepLR(optimizer(), 1, last_epoch=3)
    resumed = lr_scheduler.StepLR(sgd, 2, 0.5, last_epoch=3)
    assert resumed.last_epoch == 4 and sgd.param_groups[1]["lr"] == 2.0


def test_own_schedulers():
    class Halved(lr_scheduler._LRScheduler):
        def get_lr(self):
            return [base * 0.5**self.last_epoch for base in self.base_lrs]

    assert rates(Halved(optimizer(1.0)), 3) == [1.0, 0.5, 0.25]
    assert issubclass(lr_scheduler._LRScheduler, lr_scheduler.LRScheduler)
    with pytest.raises(NotImplementedError):
        lr_scheduler.LRScheduler(optimizer())


def test_warnings():
    scheduler = lr_scheduler.StepLR(optimizer(), 1)
    with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    overridden = lr_scheduler.StepLR(optimizer(), 1)
    overridden.optimizer.step = lambda: None
    with pytest.warns(UserWarning, match=r"Seems like `optimizer.step\(\)` has been overridden"):
        overridden.step()
    with pytest.warns(UserWarning, match=r"please use `get_last_lr\(\)`"):
        scheduler.get_lr()
    with pytest.warns(UserWarning, match="The epoch parameter in `scheduler.step"):
        scheduler.step(3)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: lr_scheduler.StepLR(3, 1), TypeError, "int is not an Optimizer"),
        (lambda: lr_scheduler.StepLR(optimizer(), 1, verbose=True), TypeError, "verbose"),
        (lambda: lr_scheduler.LambdaLR(optimizer(), []), ValueError, "Expected 1 lr_lambdas, but got 0"),
        (lambda: lr_scheduler.MultiplicativeLR(optimizer(), 3), TypeError, "lr_lambda should be a function, but got"),
        (lambda: lr_scheduler.ConstantLR(optimizer(), 2), ValueError, "expected to be between 0 and 1"),
        (lambda: lr_scheduler.LinearLR(optimizer(), 0), ValueError, "greater than 0 and less or equal to 1"),
        (lambda: lr_scheduler.LinearLR(optimizer(), 1, 2), ValueError, "Ending multiplicative factor"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer(), factor=1.0), ValueError, "Factor should be < 1.0."),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer(), "up"), ValueError, "mode up is unknown!"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer(), threshold_mode="x"), ValueError, "threshold mode x is"),
        (lambda: lr_scheduler.ReduceLROnPlateau(optimizer(), min_lr=[1, 2]), ValueError, "expected 1 min_lrs, got 2"),
        (lambda: lr_scheduler.CyclicLR(optimizer(), 0, 1, mode="x"), ValueError, "mode is invalid and scale_fn is"),
        (lambda: lr_scheduler.CyclicLR(optimizer(), [0, 1], 1), ValueError, "base_lr must have the same length as"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 1), ValueError, "You must define either total_steps OR"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 1, 0), ValueError, "Expected positive integer total_steps"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 1, 9, pct_start=2), ValueError, "between 0 and 1 pct_start"),
        (lambda: lr_scheduler.OneCycleLR(optimizer(), 1, 9, anneal_strategy="x"), ValueError, "one of 'cos' or"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), 0), ValueError, "positive integer T_0"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), 1, 0), ValueError, "integer T_mult >= 1"),
        (lambda: lr_scheduler.SequentialLR(optimizer(), [], []), ValueError, "expects at least one scheduler"),
        (lambda: lr_scheduler.ChainedScheduler([]), ValueError, "at least one scheduler to be chained"),
        (lambda: lr_scheduler.ChainedScheduler([3], optimizer()), TypeError, "should have `optimizer` as its"),
    ],
)  # fmt: skip
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


def test_errors_of_composed_schedulers():
    sgd = optimizer()
    plateau, step = lr_scheduler.ReduceLROnPlateau(sgd), lr_scheduler.StepLR(sgd, 1)
    with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau` scheduler"):
        lr_scheduler.SequentialLR(sgd, [plateau, step], [1])
    with pytest.raises(ValueError, match="expects all schedulers to belong to the same optimizer"):
        lr_scheduler.SequentialLR(optimizer(), [step], [])
    with pytest.raises(ValueError, match="one more than the number of milestone points"):
        lr_scheduler.SequentialLR(sgd, [step], [1])
