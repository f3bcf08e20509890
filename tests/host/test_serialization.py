"""save and load: what comes back, what other programs see, and what happens to files that are not whole."""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tritorch as torch
import tritorch.nn as nn


def test_what_is_saved_comes_back(tmp_path):
    path = tmp_path / "all.safetensors"
    saved = {
        "tensors": [torch.arange(6).reshape(2, 3), torch.tensor(2.5, dtype=torch.bfloat16), torch.empty(0, 3)],
        3: (None, True, -7, 0.1, float("inf"), "ünïcode"),
        "inner": OrderedDict([("x", torch.ones(2, dtype=torch.bool)), ((1, 2), {})]),
        "array": np.arange(3, dtype=np.uint16),
        "scalar": np.float32(3),
        "dtype": torch.float16,
        "device": torch.device("cuda", 1),
        "size": torch.zeros(2, 3).shape,
        "view": torch.arange(12).reshape(3, 4).t()[::2],
    }
    torch.save(saved, path)
    loaded = torch.load(path)
    assert list(loaded) == list(saved)
    for mine, theirs in zip(saved["tensors"], loaded["tensors"], strict=True):
        assert mine.dtype is theirs.dtype and mine.shape == theirs.shape and torch.equal(mine, theirs)
    for key in (3, "scalar", "dtype", "device", "size"):
        assert loaded[key] == saved[key] and type(loaded[key]) is type(saved[key])
    assert type(loaded["inner"]) is OrderedDict and loaded["inner"]["x"].all() and loaded["inner"][1, 2] == {}
    assert loaded["array"].dtype == np.uint16 and loaded["array"].tolist() == [0, 1, 2]
    assert torch.equal(loaded["view"], saved["view"])
    loaded["tensors"][0].add_(1)
    assert [entry.name for entry in tmp_path.iterdir()] == ["all.safetensors"]


def test_a_state_dict_is_a_plain_safetensors_file(tmp_path):
    path, net = tmp_path / "net.safetensors", nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    torch.save(net.state_dict(), path)
    seen = load_file(path)
    assert sorted(seen) == sorted(net.state_dict())
    assert np.array_equal(seen["0.weight"], net[0].weight.detach().numpy())
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    other.load_state_dict(torch.load(path))
    assert torch.equal(other[1].bias, net[1].bias) and torch.load(path)._metadata["0"] == {"version": 1}


def test_files_of_other_programs_load_as_a_dict(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": np.ones((2, 2), np.float16), "b": np.arange(3)}, path, {"format": "np"})
    loaded = torch.load(path)
    assert sorted(loaded) == ["a", "b"] and loaded["a"].dtype is torch.float16 and loaded["b"].tolist() == [0, 1, 2]


def test_shared_memory_is_stored_once_and_shared_again():
    file, weight = io.BytesIO(), torch.zeros(1000)
    torch.save({"a": weight, "b": weight.detach(), "c": torch.zeros(3)}, file)
    assert len(file.getvalue()) < 5000
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    loaded["a"].fill_(1)
    assert loaded["b"].sum().item() == 1000 and not loaded["c"].any()


def test_map_location():
    file = io.BytesIO()
    torch.save(torch.ones(2, device="interpreter"), file)

    def load(where=None):
        file.seek(0)
        return torch.load(file, where).device

    interpreter, cpu = torch.device("interpreter"), torch.device("cpu")
    assert load() is interpreter and load("cpu") is cpu and load({"interpreter": "cpu"}) is cpu
    assert load(lambda tensor, location: tensor) is cpu
    with pytest.raises(ZeroDivisionError):
        load(lambda tensor, location: 1 / 0)


def test_training_resumes_bit_by_bit():
    def step(net, optimizer):
        optimizer.zero_grad()
        nn.functional.dropout(net(torch.randn(5, 4)), 0.3).pow(2).mean().backward()
        optimizer.step()

    def made():
        net = nn.Linear(4, 3)
        return net, torch.optim.Adam(net.parameters(), 0.1)

    net, optimizer = made()
    step(net, optimizer)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}, file)
    step(net, optimizer)
    again, its_optimizer = made()
    file.seek(0)
    saved = torch.load(file)
    again.load_state_dict(saved["net"])
    its_optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["random"])
    step(again, its_optimizer)
    assert torch.equal(net.weight, again.weight) and torch.equal(net.bias, again.bias)


def whole_file(tmp_path):
    path = tmp_path / "net.safetensors"
    torch.save({"a": torch.ones(100), "b": [1, torch.zeros(3)]}, path)
    return path, path.read_bytes()


def with_structure(data, change):
    """The file with another text as its structure."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["tritorch"] = change(header["__metadata__"]["tritorch"])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b"[100]", b"[999]"),
        lambda data: data.replace(b"F32", b"F64"),
        lambda data: with_structure(data, lambda text: text[:-1]),
        lambda data: with_structure(data, lambda text: text.replace("tensor", "object")),
        lambda data: with_structure(data, lambda text: text.replace('"tensor":"a"', '"tensor":"z"')),
        lambda data: with_structure(data, lambda text: "[" * 100000),
        lambda data: with_structure(data, lambda text: '{"dict":3}'),
        lambda data: pickle.dumps({"a": 1}),
        lambda data: b"PK\x03\x04" + bytes(100),
    ],
)
def test_spoilt_files_are_refused_by_name(tmp_path, spoil):
    path, data = whole_file(tmp_path)
    path.write_bytes(spoil(data))
    with pytest.raises(RuntimeError, match=r"load\(\): .*net\.safetensors: "):
        torch.load(path)


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch, fails):
    path, data = whole_file(tmp_path)

    def fail(*args):
        raise OSError(28, "No space left on device")

    if fails == "write":
        half = "tritorch.serialization._Packer.write"
        monkeypatch.setattr(half, lambda self, file, structure: file.write(b"half") and fail())
    else:
        monkeypatch.setattr(f"os.{fails}", fail)
    with pytest.raises(OSError, match="No space left"):
        torch.save({"a": torch.zeros(5)}, path)
    assert path.read_bytes() == data and [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"obj\['a'\]\['1'\] is a builtins.set, which cannot be saved without pickle"):
        torch.save({"a": [1, {2}]}, tmp_path / "x")
    with pytest.raises(TypeError, match=r"tritorch.nn.modules.linear.Linear.*state_dict\(\)"):
        torch.save(nn.Linear(1, 1), tmp_path / "x")
    assert not list(tmp_path.iterdir())
