"""Optimizers as objects: groups, names, hooks, state dicts in PyTorch's format, copies, and options they take."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import tritorch as torch
from tritorch import optim
from tritorch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


def leaf(*shape):
    return torch.ones(*(shape or (3,)), requires_grad=True)


def stepped(optimizer, *params):
    for each in params:
        each.grad = torch.ones(each.shape, dtype=each.dtype)
    optimizer.step()
    return optimizer


# ---------------------------------------------------------------- options and groups


ADAM = "lr betas eps weight_decay amsgrad maximize foreach capturable differentiable fused decoupled_weight_decay"
OPTIONS = {
    "SGD": "lr momentum dampening weight_decay nesterov maximize foreach differentiable fused",
    "Adam": ADAM,
    "AdamW": ADAM,
    "NAdam": "lr betas eps weight_decay momentum_decay decoupled_weight_decay maximize foreach capturable "
    "differentiable",
    "RAdam": "lr betas eps weight_decay maximize foreach capturable decoupled_weight_decay differentiable",
    "Adamax": "lr betas eps weight_decay foreach maximize differentiable capturable",
    "RMSprop": "lr momentum alpha eps centered weight_decay capturable foreach maximize differentiable",
    "Adagrad": "lr lr_decay eps weight_decay initial_accumulator_value foreach maximize differentiable fused",
    "Adadelta": "lr rho eps weight_decay maximize capturable foreach differentiable",
    "Rprop": "lr etas step_sizes foreach maximize differentiable capturable",
    "ASGD": "lr lambd alpha t0 weight_decay foreach maximize differentiable capturable",
    "SparseAdam": "lr betas eps maximize",
    "Adafactor": "lr beta2_decay eps d weight_decay foreach maximize",
    "Muon": "lr weight_decay momentum nesterov ns_coefficients eps ns_steps adjust_lr_fn",
    "LBFGS": "lr max_iter max_eval tolerance_grad tolerance_change history_size line_search_fn",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_groups_have_the_options_of_pytorch_in_its_order(name):
    optimizer = getattr(optim, name)([leaf(2, 2)])
    assert list(optimizer.param_groups[0]) == ["params", *OPTIONS[name].split()]
    lines = repr(optimizer).split("\n")
    assert lines[0] == f"{name} (" and lines[1] == "Parameter Group 0" and lines[-1] == ")"
    assert [line.split(":")[0].strip() for line in lines[2:-1]] == sorted(OPTIONS[name].split())


def test_what_scripts_ask_of_signatures_and_modules():
    assert "fused" in inspect.signature(optim.AdamW).parameters
    from tritorch.optim.adam import Adam
    from tritorch.optim.adamw import AdamW
    from tritorch.optim.lr_scheduler import _LRScheduler  # noqa: F401
    from tritorch.optim.sgd import SGD

    assert (Adam, AdamW, SGD) == (optim.Adam, optim.AdamW, optim.SGD) and optim.swa_utils.SWALR


def test_parameters_with_names():
    model = torch.nn.Linear(2, 2)
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    optimizer.add_param_group({"params": [("more", leaf())]})
    without = optim.SGD(model.parameters(), lr=0.1).state_dict()
    named = optim.SGD(model.named_parameters(), lr=0.2)
    named.load_state_dict(without)
    assert named.param_groups[0]["param_names"] == ["weight", "bias"] and named.param_groups[0]["lr"] == 0.1
    with pytest.raises(ValueError, match="cannot add param group without names to the optimizer"):
        optimizer.add_param_group({"params": [leaf()]})


def test_a_group_is_the_dict_it_was_given_as():
    group = {"params": iter([leaf()]), "lr": 3.0}
    optimizer = optim.SGD([group], lr=0.1)
    group["lr"] = 4.0
    assert optimizer.param_groups[0] is group and len(group["params"]) == 1 and group["momentum"] == 0


def test_warnings_and_errors_of_groups():
    one = leaf()
    with pytest.warns(UserWarning, match="optimizer contains a parameter group with duplicate parameters"):
        optim.SGD([one, one], lr=0.1)
    with pytest.raises(TypeError, match="need to be organized in ordered collections"):
        optim.SGD([{"params": {one}}], lr=0.1)
    with pytest.raises(TypeError, match=r"one of the params is tritorch\.nn\.modules\.linear\.Linear"):
        optim.SGD([torch.nn.Linear(1, 1)], lr=0.1)
    with pytest.raises(ValueError, match="didn't specify a value of required optimization parameter rate"):
        optim.Optimizer([one], {"rate": optim.optimizer.required})
    with pytest.raises(ValueError, match="a different number of parameter groups"):
        optim.SGD([one], lr=0.1).load_state_dict(optim.SGD([{"params": one}, {"params": leaf()}]).state_dict())


def test_rates_that_are_tensors_and_lists_of_betas():
    param = leaf()
    rate = torch.tensor(0.5)
    optimizer = stepped(optim.SGD([param], rate), param)
    assert param.tolist() == [0.5] * 3 and optimizer.param_groups[0]["lr"] is rate
    optimizer.param_groups[0]["lr"] = 1.0
    stepped(optimizer, param)
    assert param.tolist() == [-0.5] * 3
    betas = torch.tensor(0.9), torch.tensor(0.99)
    found = []
    for each in (list(betas), [betas[0].item(), betas[1].item()]):
        one = leaf()
        stepped(optim.Adam([one], 0.1, betas=each), one)
        found.append(one.tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("options", [{"foreach": True}, {"fused": True}, {"capturable": True}])
def test_ways_that_make_no_difference(options):
    one, other = leaf(), leaf()
    stepped(optim.Adam([one], 0.1), one)
    stepped(optim.Adam([other], 0.1, **options), other)
    assert one.tolist() == other.tolist()


def test_sparse_adam_refuses_dense_gradients():
    param = leaf()
    optimizer = optim.SparseAdam([param])
    optimizer.step()
    with pytest.raises(RuntimeError, match="SparseAdam does not support dense gradients, please consider Adam instead"):
        stepped(optimizer, param)


# ---------------------------------------------------------------- hooks


def test_hooks_around_a_step_run_once_and_in_order():
    class Twice(optim.SGD):
        def step(self, closure=None):
            super().step()
            return super().step(closure)

    param, called = leaf(), []
    optimizer = Twice([param], lr=0.5)
    handles = [
        register_optimizer_step_pre_hook(lambda o, args, kwargs: called.append(("every", args[0] is o))),
        register_optimizer_step_post_hook(lambda o, args, kwargs: called.append("all done")),
    ]
    optimizer.register_step_pre_hook(lambda o, args, kwargs: called.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: called.append("after"))
    stepped(optimizer, param)
    assert called == [("every", True), "before", "after", "all done"] and param.tolist() == [0.0] * 3
    for each in handles:
        each.remove()
    stepped(optimizer, param)
    assert called[4:] == ["before", "after"]


def test_an_optimizer_around_another_needs_no_constructor():
    class Around(optim.Optimizer):
        def __init__(self, inner):
            self.inner, self.param_groups, self.state = inner, inner.param_groups, inner.state

        def step(self, closure=None):
            return self.inner.step(closure)

    param, called = leaf(), []
    around = Around(optim.SGD([param], lr=0.5))
    around.inner.register_step_post_hook(lambda *args: called.append("after"))
    scheduler = optim.lr_scheduler.StepLR(around, 1, 0.5)
    stepped(around, param)
    scheduler.step()
    around.zero_grad()
    assert param.tolist() == [0.5] * 3 and param.grad is None and called == ["after"]
    assert around.inner.param_groups[0]["lr"] == 0.25


def test_a_hook_can_change_the_arguments():
    param = leaf()
    optimizer = optim.SGD([param], lr=0.5)
    hook = optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: torch.tensor(7.0)), {}))
    assert optimizer.step().item() == 7.0
    hook.remove()
    optimizer.register_step_pre_hook(lambda *args: "nonsense")
    with pytest.raises(RuntimeError, match="must return None or a tuple of"):
        optimizer.step()


def test_hooks_of_state_dicts():
    param, called = leaf(), []
    optimizer = optim.SGD([param], lr=0.5)
    optimizer.register_state_dict_pre_hook(lambda o: called.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: called.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, state: state | {"extra": 1})
    assert optimizer.state_dict()["extra"] == 1 and called == ["first", "second"]

    def slower(o, state):
        return state | {"param_groups": [state["param_groups"][0] | {"lr": 0.1}]}

    optimizer.register_load_state_dict_pre_hook(slower)
    optimizer.register_load_state_dict_post_hook(lambda o: called.append(o.param_groups[0]["lr"]))
    optimizer.load_state_dict(optimizer.state_dict())
    assert called[-1] == 0.1


# ---------------------------------------------------------------- state


MATRIX = [name for name in OPTIONS if name not in ("SparseAdam", "LBFGS")]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("name", MATRIX)
def test_copies_go_on_alike(name, how):
    param = leaf(2, 3)
    optimizer = stepped(getattr(optim, name)([param]), param)
    other = how(optimizer)
    twin = other.param_groups[0]["params"][0]
    assert twin is not param and repr(other) == repr(optimizer)
    stepped(optimizer, param)
    stepped(other, twin)
    assert param.tolist() == twin.tolist()


@pytest.mark.parametrize("name", MATRIX)
def test_a_state_dict_resumes(name):
    def steps(optimizer, param, seeds):
        for seed in seeds:
            param.grad = torch.tensor(np.random.default_rng(seed).standard_normal(param.shape), dtype=param.dtype)
            optimizer.step()

    straight, param = leaf(2, 3), leaf(2, 3)
    steps(getattr(optim, name)([straight]), straight, range(5))
    first = getattr(optim, name)([param])
    steps(first, param, range(2))
    second = getattr(optim, name)([param])
    second.load_state_dict(first.state_dict())
    steps(second, param, range(2, 5))
    assert torch.equal(straight, param)


@pytest.mark.parametrize(
    "name, keys",
    [
        ("NAdam", ["step", "mu_product", "exp_avg", "exp_avg_sq"]),
        ("RAdam", ["step", "exp_avg", "exp_avg_sq"]),
        ("Adamax", ["step", "exp_avg", "exp_inf"]),
        ("RMSprop", ["step", "square_avg"]),
        ("Adagrad", ["step", "sum"]),
        ("Adadelta", ["step", "square_avg", "acc_delta"]),
        ("Rprop", ["step", "prev", "step_size"]),
        ("ASGD", ["step", "eta", "mu", "ax"]),
        ("Adafactor", ["step", "row_var", "col_var"]),
        ("Muon", ["momentum_buffer"]),
    ],
)
def test_the_names_in_the_state(name, keys):
    param = leaf(2, 3)
    assert list(stepped(getattr(optim, name)([param]), param).state[param]) == keys


def test_state_takes_the_dtype_of_its_parameter_but_numbers_stay():
    wide = leaf(2, 2)
    saved = stepped(optim.NAdam([wide]), wide).state_dict()
    narrow = torch.ones(2, 2, dtype=torch.float16, requires_grad=True)
    optimizer = optim.NAdam([narrow])
    optimizer.load_state_dict(saved)
    state = optimizer.state[narrow]
    assert state["exp_avg"].dtype == torch.float16
    assert state["step"].dtype == torch.float32 == state["mu_product"].dtype
    stepped(optimizer, narrow)
    saved["state"][0]["exp_avg"].fill_(5)
    assert state["exp_avg"].max().item() < 1  # a copy


def test_state_moves_to_the_device_of_its_parameter():
    here = leaf(2, 2)
    saved = stepped(optim.Adam([here]), here).state_dict()
    there = torch.ones(2, 2, device="interpreter", requires_grad=True)
    optimizer = optim.Adam([there])
    optimizer.load_state_dict(saved)
    assert optimizer.state[there]["exp_avg"].device.type == "interpreter"
    assert optimizer.state[there]["step"].device.type == "cpu"
    there.grad = torch.ones(2, 2, device="interpreter")
    optimizer.step()
    stepped(optim.Adam([here]), here)
    assert optimizer.state[there]["step"].item() == 2


def test_old_state_dicts_lack_options_and_count_in_numbers():
    param = leaf()
    optimizer = stepped(optim.Adam([param]), param)
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["maximize"], saved["param_groups"][0]["fused"]
    saved["state"][0]["step"] = 1
    fresh = optim.AdamW([param])
    fresh.load_state_dict(saved)
    group = fresh.param_groups[0]
    assert group["maximize"] is False and group["fused"] is None and group["decoupled_weight_decay"] is True
    assert stepped(fresh, param).state[param]["step"].item() == 2


def test_state_under_other_keys_is_kept():
    optimizer = optim.SGD([leaf()], lr=0.1)
    assert optimizer.state["anything"] == {}  # a defaultdict
    optimizer.state["mean"] = torch.ones(1)
    fresh = optim.SGD([leaf()], lr=0.1)
    fresh.load_state_dict(optimizer.state_dict())
    assert fresh.state["mean"].item() == 1


def test_parameters_that_get_their_shape_later():
    layer = torch.nn.LazyLinear(2)
    optimizer = optim.Adam(layer.parameters(), lr=0.5)
    layer(torch.ones(1, 3)).sum().backward()
    before = layer.weight.detach().clone()
    optimizer.step()
    assert optimizer.state[layer.weight]["exp_avg"].shape == (2, 3)
    assert (layer.weight.detach() - before).abs().min().item() > 0.4


def test_an_optimizer_of_one_bare_tensor():
    picture = torch.zeros(2, 2, requires_grad=True)
    optimizer = optim.Adam([picture], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        ((picture - 1) ** 2).sum().backward()
        optimizer.step()
    assert (picture - 1).abs().max().item() < 0.1
