"""torch.compile, nn.DataParallel and attention's contexts: accepted, with the results there are without them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn.attention import SDPBackend, sdpa_kernel


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.size = nn.Linear(2, 2), 5

    def forward(self, x):
        return self.fc(x)

    def twice(self):
        return 2 * self.size


def test_functions_stay_what_they_are():
    @torch.compile
    def double(x):
        """Twice."""
        return x * 2

    @torch.compile(mode="reduce-overhead", fullgraph=True, dynamic=False)
    def triple(x):
        return x * 3

    assert double(torch.ones(1)).item() == 2 and triple(torch.ones(1)).item() == 3
    assert double.__name__ == "double" and double.__doc__ == "Twice."
    assert torch.compile(double, disable=True) is double


def test_a_compiled_module_is_the_module_in_a_wrapper():
    net = Net()
    compiled = torch.compile(net, backend="inductor", options={"a": 1})
    assert isinstance(compiled, nn.Module) and compiled._orig_mod is net
    assert list(compiled.state_dict()) == ["_orig_mod.fc.weight", "_orig_mod.fc.bias"]
    assert compiled.fc is net.fc and compiled.twice() == 10
    assert next(compiled.parameters()) is net.fc.weight
    assert compiled.eval() is compiled and not net.training and not compiled.training
    compiled.train()
    assert net.training
    compiled.size = 7
    assert net.size == 7
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'missing'"):
        _ = compiled.missing
    x = torch.ones(1, 2)
    np.testing.assert_array_equal(compiled(x).detach().numpy(), net(x).detach().numpy())
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.1)
    compiled(x).sum().backward()
    optimizer.step()
    assert len(torch.compile(nn.Sequential(net, net))) == 2
    assert compiled.to(torch.float64) is compiled and net.fc.weight.dtype is torch.float64
    other = copy.deepcopy(compiled)
    other.load_state_dict(compiled.state_dict())
    assert other._orig_mod is not net


def test_wrong_uses_of_compile_are_refused():
    with pytest.raises(AssertionError, match="A callable function is expected, but <class 'int'>"):
        torch.compile(3)
    with pytest.raises(RuntimeError, match="Unrecognized mode=foo"):
        torch.compile(Net(), mode="foo")
    with pytest.raises(RuntimeError, match="Either mode or options can be specified"):
        torch.compile(Net(), mode="default", options={"a": 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'more'"):
        torch.compile(Net(), more=1)


def test_what_stands_around_compile():
    assert not torch.compiler.is_compiling()
    function = torch.compiler.disable(lambda x: x)
    assert function(3) == 3 and torch.compiler.disable()(function) is function
    torch.compiler.reset()
    torch.compiler.cudagraph_mark_step_begin()
    with torch.compiler.set_stance("force_eager"):
        assert torch.compiler.allow_in_graph(function) is function
    assert "inductor" in torch.compiler.list_backends()


def test_data_parallel_passes_calls_on():
    net = Net()
    parallel = nn.DataParallel(net, device_ids=[0] if not torch.cuda.is_available() else None)
    assert parallel.module is net and list(parallel.state_dict()) == ["module.fc.weight", "module.fc.bias"]
    assert parallel(torch.ones(4, 2)).shape == (4, 2)
    assert nn.parallel.data_parallel(net, torch.ones(4, 2)).shape == (4, 2)
    net.load_state_dict({key.removeprefix("module."): value for key, value in parallel.state_dict().items()})
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        nn.parallel.DistributedDataParallel(net)


def test_attention_backends_are_remembered():
    q = torch.ones(1, 1, 3, 4)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.backends.cuda.math_sdp_enabled() and not torch.backends.cuda.flash_sdp_enabled()
        assert nn.functional.scaled_dot_product_attention(q, q, q).shape == (1, 1, 3, 4)
    assert torch.backends.cuda.flash_sdp_enabled()
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], set_priority=True):
        assert torch.backends.cuda.flash_sdp_enabled()
    with pytest.raises(AssertionError, match="list of SDPBackend instances, got str"):
        sdpa_kernel("math").__enter__()
