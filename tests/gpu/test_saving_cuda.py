"""Checkpoints of tensors on a GPU: where they return to, shared memory, strides, and files for PyTorch."""

from __future__ import annotations

import io

import pytest

import tritorch as torch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CUDA = torch.device("cuda", 0)


def returned(obj, save=torch.save, **named):
    file = io.BytesIO()
    save(obj, file)
    file.seek(0)
    return torch.load(file, **named)


@pytest.mark.parametrize("save", [torch.save, torch.serialization.save_torch])
def test_tensors_return_to_their_device_and_share_memory_again(save):
    base = torch.arange(24.0, device="cuda").reshape(4, 6)
    saved = {
        "base": base, "row": base[1], "across": base.t()[::2], "host": torch.ones(2, device="cpu"),
        "half": torch.ones(3, device="cuda", dtype=torch.bfloat16),
        "expanded": torch.ones(1, device="cuda").expand(2, 3),
    }  # fmt: skip
    found = returned(saved, save)
    for name, tensor in saved.items():
        assert found[name].device == tensor.device and found[name].stride() == tensor.stride(), name
        assert found[name].tolist() == tensor.tolist(), name
    found["base"].fill_(7)
    assert found["row"].tolist() == [7] * 6 and found["across"].tolist() == [[7] * 4] * 3


@pytest.mark.parametrize("where", ["cpu", {"cuda:0": "cpu"}, lambda storage, location: storage])
def test_map_location_takes_them_to_the_host(where):
    found = returned([torch.ones(2, device="cuda")] * 2, map_location=where)
    assert found[0].device.type == "cpu" and found[0] is found[1]
    assert returned(torch.ones(2, device="cpu"), map_location=lambda storage, location: storage.cuda()).device == CUDA


def test_state_of_a_module_on_the_gpu():
    net, other = torch.nn.Linear(3, 2, device="cuda"), torch.nn.Linear(3, 2, device="cpu")
    other.load_state_dict(returned(net.state_dict(), map_location="cpu"))
    assert other.weight.tolist() == net.weight.tolist()
    again = returned(net, weights_only=False)
    assert again.weight.device == CUDA and again.weight.tolist() == net.weight.tolist()
