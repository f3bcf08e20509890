"""Mixed precision: which dtype autocast gives each op, and what GradScaler does with gradients that overflow."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from tolerances import close

import tritorch as torch
from tritorch.nn import functional as F
from tritorch.ops.autocast import state

LOW = {"cpu": torch.bfloat16, "interpreter": torch.float16}
SINGLE, HALF = "float32", "low"


def draw(device, *shape, dtype=torch.float32):
    return torch.full(shape, 0.5, device=device, dtype=dtype)


def whole(device, *shape):
    return torch.zeros(shape, device=device, dtype=torch.int64)


# What a call gives for arguments in the lower dtype on a CPU and on a GPU, and for a lower first and single others.
# Taken from PyTorch 2.13, its lists for CPUs by running them, those for GPUs on fake tensors.
CALLS = {
    "linear": (lambda a, b, d: F.linear(a(3, 3), b(3, 3), b(3)), HALF, HALF, HALF, HALF),
    "matmul": (lambda a, b, d: a(3, 3) @ b(3, 3), HALF, HALF, HALF, HALF),
    "bmm": (lambda a, b, d: torch.bmm(a(2, 3, 3), b(2, 3, 3)), HALF, HALF, HALF, HALF),
    "addmm": (lambda a, b, d: torch.addmm(b(3, 3), a(3, 3), b(3, 3)), HALF, HALF, HALF, HALF),
    "einsum": (lambda a, b, d: torch.einsum("ij,jk->ik", a(3, 3), b(3, 3)), HALF, HALF, HALF, HALF),
    "conv2d": (lambda a, b, d: F.conv2d(a(1, 2, 4, 4), b(2, 2, 3, 3), b(2)), HALF, HALF, HALF, HALF),
    "conv_transpose1d": (lambda a, b, d: F.conv_transpose1d(a(1, 2, 4), b(2, 2, 3)), HALF, HALF, HALF, HALF),
    "prelu": (lambda a, b, d: F.prelu(a(3, 3), b(3)), HALF, HALF, HALF, HALF),
    "attention": (
        lambda a, b, d: F.scaled_dot_product_attention(a(1, 1, 3, 4), b(1, 1, 3, 4), b(1, 1, 3, 4)),
        HALF, HALF, HALF, HALF,
    ),
    "mse_loss": (lambda a, b, d: F.mse_loss(a(3), b(3)), SINGLE, SINGLE, SINGLE, SINGLE),
    "cross_entropy": (lambda a, b, d: F.cross_entropy(a(3, 3), whole(d, 3)), SINGLE, SINGLE, SINGLE, SINGLE),
    "prod": (lambda a, b, d: a(3).prod(), SINGLE, SINGLE, SINGLE, SINGLE),
    "sum": (lambda a, b, d: a(3, 3).sum(0), HALF, SINGLE, HALF, SINGLE),
    "softmax": (lambda a, b, d: F.softmax(a(3, 3), -1), HALF, SINGLE, HALF, SINGLE),
    "exp": (lambda a, b, d: a(3).exp(), HALF, SINGLE, HALF, SINGLE),
    "power": (lambda a, b, d: a(3) ** 2, HALF, SINGLE, HALF, SINGLE),
    "1 / x": (lambda a, b, d: 1 / a(3), HALF, SINGLE, HALF, SINGLE),
    "norm": (lambda a, b, d: a(3).norm(), HALF, SINGLE, HALF, SINGLE),
    "layer_norm": (lambda a, b, d: F.layer_norm(a(3, 3), (3,), b(3), b(3)), HALF, SINGLE, HALF, SINGLE),
    "batch_norm": (lambda a, b, d: F.batch_norm(a(3, 3), None, None, b(3), training=True), HALF, HALF, HALF, HALF),
    "relu": (lambda a, b, d: F.relu(a(3)), HALF, HALF, HALF, HALF),
    "dropout": (lambda a, b, d: F.dropout(a(3)), HALF, HALF, HALF, HALF),
    "add": (lambda a, b, d: a(3) + b(3), HALF, HALF, SINGLE, SINGLE),
    "cat": (lambda a, b, d: torch.cat([a(3), b(3)]), HALF, HALF, SINGLE, SINGLE),
    "named dtype": (lambda a, b, d: F.softmax(a(3), -1, dtype=LOW[d]), HALF, HALF, HALF, HALF),
    "double": (lambda a, b, d: a(3, 3).double() @ b(3, 3).double(), "float64", "float64", "float64", "float64"),
}  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
@pytest.mark.parametrize("name", CALLS)
def test_each_op_runs_in_the_dtype_that_suits_it(name, device):
    call, *expected = CALLS[name]
    low = LOW[device]

    def lower(*shape):
        return draw(device, *shape, dtype=low)

    def single(*shape):
        return draw(device, *shape)

    with torch.autocast(device):
        found = [call(lower, second, device).dtype for second in (lower, single)]
    at = 0 if device == "cpu" else 1
    names = {HALF: low, SINGLE: torch.float32, "float64": torch.float64}
    assert found == [names[expected[at]], names[expected[2 + at]]]


def test_products_of_parameters_run_in_half_precision_and_give_gradients_in_theirs():
    layer = torch.nn.Linear(4, 3)
    x = torch.randn(5, 4)
    with torch.autocast("cpu"):
        y = layer(x)
        assert y.dtype is torch.bfloat16
        loss = F.mse_loss(y, torch.zeros(5, 3))
    assert loss.dtype is torch.float32
    loss.backward()
    weight = layer.weight.detach().bfloat16().float().numpy()
    bias = layer.bias.detach().bfloat16().float().numpy()
    rounded = torch.tensor(x.bfloat16().float().numpy() @ weight.T + bias).bfloat16().float().numpy()
    grad = torch.tensor(2 * rounded / 15).bfloat16().float().numpy()
    expected = torch.tensor(grad.T @ x.bfloat16().float().numpy()).bfloat16().float().numpy()
    assert layer.weight.grad.dtype is torch.float32
    close(layer.weight.grad, expected, gradient=True)


def test_training_in_bfloat16_on_the_cpu_learns():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(64, 2)
    target = (x[:, :1] * x[:, 1:]).detach()
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.mse_loss(net(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_off_inside_on_and_back_as_it_was():
    x = torch.ones(2, 2)
    with torch.autocast("cpu"):
        assert (x @ x).dtype is torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            assert (x @ x).dtype is torch.float32
            assert not torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", dtype=torch.float16):
            assert (x @ x).dtype is torch.float16
        assert (x @ x).dtype is torch.bfloat16
    assert (x @ x).dtype is torch.float32
    assert state.active is None and state.cache is None


def test_an_error_inside_leaves_nothing_behind():
    with pytest.raises(RuntimeError, match="mat1 and mat2"), torch.autocast("cpu"):
        F.linear(torch.ones(2, 3), torch.ones(2, 2))
    assert state.active is None
    assert not torch.is_autocast_enabled("cpu")


def test_other_devices_are_left_alone():
    x = torch.ones(2, 2)
    with torch.autocast("interpreter"):
        assert (x @ x).dtype is torch.float32


def test_as_a_decorator_and_by_hand():
    @torch.autocast("cpu")
    def product(x):
        return x @ x

    assert product(torch.ones(2, 2)).dtype is torch.bfloat16
    torch.set_autocast_enabled("cpu", True)
    try:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    finally:
        torch.set_autocast_enabled("cpu", False)
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


def test_a_parameter_used_twice_is_cast_once_until_it_is_written():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    x = torch.ones(2, 2, requires_grad=True)
    with torch.autocast("cpu"):
        first, second = x @ weight, x @ weight
        assert first.grad_fn.inputs[1] is second.grad_fn.inputs[1]
        with torch.no_grad():
            weight.mul_(3)
        assert (x @ weight).sum().item() == 24
    with torch.autocast("cpu", cache_enabled=False):
        first, second = x @ weight, x @ weight
        assert first.grad_fn.inputs[1] is not second.grad_fn.inputs[1]
    with torch.autocast("cpu"):
        with torch.no_grad():
            x @ weight
        assert (x @ weight).requires_grad and (torch.ones(2, 2) @ weight).requires_grad


def test_lists_of_a_recurrent_net_are_cast():
    x, h = torch.ones(3, 1, 2), torch.zeros(1, 1, 2)
    params = [torch.ones(2, 2), torch.ones(2, 2), torch.ones(2), torch.ones(2)]
    with torch.autocast("cpu"):
        output, last = torch.rnn_tanh(x, h, params, True, 1, 0.0, False, False, False)
    assert output.dtype is torch.bfloat16 and last.dtype is torch.bfloat16


@pytest.mark.parametrize("device, gru", [("cpu", torch.float32), ("interpreter", torch.float16)])
def test_recurrent_layers(device, gru):
    x, low = torch.ones(3, 1, 2, device=device), LOW[device]
    with torch.autocast(device):
        assert torch.nn.LSTM(2, 2, device=device)(x)[0].dtype is low
        assert torch.nn.GRU(2, 2, device=device)(x)[0].dtype is gru  # in PyTorch too, CPUs run it in its input's dtype
        assert torch.nn.GRU(2, 2, device=device)(x.to(low))[0].dtype is low
        assert torch.nn.LSTMCell(2, 2, device=device)(x[0])[0].dtype is gru


def test_binary_cross_entropy_is_refused_on_gpus_alone():
    args = [torch.full((2,), 0.5, device="interpreter")] * 2
    with torch.autocast("interpreter"), pytest.raises(RuntimeError, match="unsafe to autocast"):
        F.binary_cross_entropy(*args)
    with torch.autocast("cpu"):
        assert F.binary_cross_entropy(torch.full((2,), 0.5), torch.ones(2)).dtype is torch.float32


def test_what_cannot_be_is_said():
    if not torch.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available or torch_xla is imported. Disabling autocast."):
            context = torch.autocast("cuda")
        with context:
            assert not torch.is_autocast_enabled("cuda")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.autocast("cuda", enabled=False)
    with pytest.warns(UserWarning, match="In CPU autocast, but the target dtype is not supported"):
        torch.autocast("cpu", torch.float32)
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        torch.autocast(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="device type at start of device string: xyz"):
        torch.autocast("xyz")


@pytest.mark.parametrize("casts", [True, False])
def test_functions_of_a_user(casts):
    seen = []

    class Twice(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", **({"cast_inputs": torch.float32} if casts else {}))
        def forward(ctx, x):
            seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
            return x * 2

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            seen.append((grad.dtype, torch.is_autocast_enabled("cpu")))
            return grad * 2

    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu"):
        y = Twice.apply(x)
    y.sum().backward()
    inside = (torch.float32, False) if casts else (torch.bfloat16, True)
    assert seen == [inside, inside]
    assert x.grad.dtype is torch.bfloat16


def test_old_forms_warn():
    with pytest.warns(FutureWarning, match=r"`torch.cpu.amp.autocast\(args...\)` is deprecated"):
        context = torch.cpu.amp.autocast()
    with context:
        assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    with pytest.warns(FutureWarning, match=r"`torch.cuda.amp.GradScaler\(args...\)` is deprecated"):
        assert not torch.cuda.amp.GradScaler(enabled=False).is_enabled()
    with pytest.warns(DeprecationWarning, match="is_autocast_cpu_enabled"):
        assert not torch.is_autocast_cpu_enabled()


# ------------------------------------------------------------------------------------------------- GradScaler


def scaled(device="cpu", **settings):
    weight = torch.ones(3, device=device, requires_grad=True)
    settings = {"init_scale": 4.0, "growth_interval": 2, **settings}
    return weight, torch.optim.SGD([weight], lr=0.25), torch.amp.GradScaler(device, **settings)


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
def test_good_steps_are_taken_and_make_the_scale_grow(device):
    weight, optimizer, scaler = scaled(device)
    for expected in (4.0, 8.0):
        optimizer.zero_grad()
        scaler.scale((weight * weight).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == expected
    np.testing.assert_array_equal(weight.detach().numpy(), 0.25)


@pytest.mark.parametrize("device", ["cpu", "interpreter"])
@pytest.mark.parametrize("bad", [float("inf"), float("nan"), -float("inf")])
def test_a_loss_that_is_not_finite_skips_the_step_and_halves_the_scale(device, bad):
    weight, optimizer, scaler = scaled(device)
    other = torch.ones(2, device=device, requires_grad=True)
    optimizer.add_param_group({"params": [other]})
    scaler.scale((weight * weight).sum() + other.sum() * bad).backward()
    assert scaler.step(optimizer) is None
    scaler.update()
    assert scaler.get_scale() == 2.0
    np.testing.assert_array_equal(weight.detach().numpy(), 1.0)
    assert scaler.state_dict()["_growth_tracker"] == 0


def test_gradients_can_be_clipped_between():
    weight, optimizer, scaler = scaled()
    scaler.scale((weight * weight).sum()).backward()
    np.testing.assert_array_equal(weight.grad.numpy(), 8.0)
    scaler.unscale_(optimizer)
    np.testing.assert_array_equal(weight.grad.numpy(), 2.0)
    torch.nn.utils.clip_grad_value_([weight], 1.0)
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_array_equal(weight.detach().numpy(), 0.75)


def test_scale_takes_nested_tensors():
    _, _, scaler = scaled()
    single, (half,) = scaler.scale([torch.ones(2), (torch.ones(1, dtype=torch.float16),)])
    assert single.tolist() == [4.0, 4.0] and half.tolist() == [4.0] and half.dtype is torch.float16
    assert [each.item() for each in scaler.scale(iter([torch.ones(1)]))] == [4.0]
    with pytest.raises(ValueError, match="outputs must be a Tensor or an iterable of Tensors"):
        scaler.scale(3)


def test_calls_out_of_order_are_refused():
    weight, optimizer, scaler = scaled()
    for call in (lambda: scaler.step(optimizer), scaler.update, lambda: scaler.unscale_(optimizer)):
        with pytest.raises(AssertionError, match="but _scale is None"):
            call()
    scaler.scale(weight.sum())
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        scaler.step(optimizer)
    _, optimizer, _ = scaled()
    scaler.update(4.0)
    with pytest.raises(AssertionError, match="No inf checks were recorded prior to update"):
        scaler.update()
    weight, optimizer, _ = scaled()
    scaler.scale(weight.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    with pytest.raises(AssertionError, match="may only be pickled at the beginning"):
        pickle.dumps(scaler)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) is being called after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
        scaler.step(optimizer, closure=lambda: 1)


def test_half_precision_gradients_are_refused():
    weight = torch.ones(2, dtype=torch.float16, requires_grad=True)
    scaler = torch.amp.GradScaler("cpu")
    weight.grad = torch.ones(2, dtype=torch.float16)
    scaler.scale(torch.ones(1))
    with pytest.raises(ValueError, match="Attempting to unscale FP16 gradients"):
        scaler.unscale_(torch.optim.SGD([weight], lr=1.0))


def test_arguments_of_step_reach_the_optimizer():
    class Own(torch.optim.SGD):
        def step(self, *args, **kwargs):
            return args, kwargs

    weight = torch.ones(2, requires_grad=True)
    scaler, optimizer = torch.amp.GradScaler("cpu"), Own([weight], lr=1.0)
    scaler.scale(weight.sum()).backward()
    assert scaler.step(optimizer, 1, two=2) == ((1,), {"two": 2})


def test_state_goes_on():
    weight, optimizer, scaler = scaled()
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    kept = scaler.state_dict()
    assert kept == {
        "scale": 4.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2, "_growth_tracker": 1,
    }  # fmt: skip
    fresh = torch.amp.GradScaler("cpu")
    fresh.load_state_dict(kept)
    for each in (fresh, pickle.loads(pickle.dumps(scaler)), copy.deepcopy(scaler)):
        assert each.state_dict() == kept
    with pytest.raises(RuntimeError, match="The source state dict is empty"):
        fresh.load_state_dict({})
    scaler.update(torch.tensor(16.0))
    assert scaler.get_scale() == 16.0
    with pytest.raises(AssertionError, match="new_scale should be a float or a 1-element"):
        scaler.update(torch.ones(2))


def test_disabled_it_is_not_there():
    weight, optimizer, _ = scaled()
    scaler = torch.GradScaler("cpu", enabled=False)
    loss = weight.sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_array_equal(weight.detach().numpy(), 0.75)
    assert scaler.get_scale() == 1.0 and scaler.state_dict() == {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.amp.GradScaler("cuda", enabled=False)
