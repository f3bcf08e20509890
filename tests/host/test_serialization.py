"""save and load: what comes back, what other programs see, and what happens to files that are not whole."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

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
        lambda data: with_structure(data, lambda text: text.replace("tensor", "thing")),
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


class Full(io.FileIO):
    """A file on a disk with room for some writes only."""

    writes = 1000

    def write(self, data):
        if not self.writes:
            raise OSError(28, "No space left on device")
        self.writes -= 1
        return super().write(data)


@pytest.mark.parametrize("save", [torch.save, torch.serialization.save_torch])
@pytest.mark.parametrize("fails", ["write", "fsync", "replace", "interrupt"])
def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch, fails, save):
    path, data = whole_file(tmp_path)
    obj = {"a": torch.zeros(5), "b": torch.ones(3)}

    def failing(*args):
        raise KeyboardInterrupt if fails == "interrupt" else OSError(28, "No space left on device")

    def refused():
        with pytest.raises((OSError, KeyboardInterrupt)):
            save(obj, path)
        assert path.read_bytes() == data and [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]

    if fails != "write":
        monkeypatch.setattr("os.replace" if fails == "interrupt" else f"os.{fails}", failing)
        refused()
        return
    with Full(tmp_path / "other", "wb") as counted:
        save(obj, counted)
    os.unlink(tmp_path / "other")
    monkeypatch.setattr("os.fdopen", Full)
    for writes in range(1000 - counted.writes):
        monkeypatch.setattr(Full, "writes", writes)
        refused()


def test_files_and_folders_that_are_none():
    with pytest.raises(RuntimeError, match="Parent directory /no/such does not exist"):
        torch.save({}, "/no/such/file")
    with pytest.raises(AttributeError, match="expected 'f' to be string, path, or a file-like object with a 'write'"):
        torch.save({}, 3)
    with pytest.raises(FileNotFoundError, match="nothing"):
        torch.load("/no/such/nothing")
    with pytest.raises(RuntimeError, match=r"<BytesIO>: it is empty, or was read to its end before: seek\(0\)"):
        torch.load(io.BytesIO())
    with pytest.raises(RuntimeError, match="Can not safely load weights when explicit pickle_module is specified"):
        torch.load(io.BytesIO(), pickle_module=pickle, weights_only=True)


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"obj\['a'\]\['1'\] is a builtins.list_iterator, which cannot be saved"):
        torch.save({"a": [1, iter([])]}, tmp_path / "x")
    with pytest.raises(
        pickle.PicklingError, match=r"obj\['f'\] needs .*<lambda> of .*, which cannot be found by this name"
    ):
        torch.save({"f": lambda: 0}, tmp_path / "x")
    with pytest.raises(TypeError, match="a NumPy array of dtype object"):
        torch.save(np.array([None]), tmp_path / "x")
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="holds itself"):
        torch.save(loop, tmp_path / "x")
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------------- plain values


def returned(obj, **named):
    """An object after it was saved and loaded."""
    file = io.BytesIO()
    torch.save(obj, file)
    file.seek(0)
    return torch.load(file, **named)


PLAIN = [
    float("-inf"), 1e-310, -0.0, 2**70, b"a\xff", bytearray(b"x"), {1, 2}, frozenset([(1, 2)]), 1 + 2j,
    slice(1, None, 2), range(3, 9, 2), deque([1, 2], 5), Counter("aab"), defaultdict(list, {"a": [1]}),
    argparse.Namespace(lr=0.1, sizes=[1]), SimpleNamespace(a=1), Path("/a/b"), PureWindowsPath("c:/x"),
    datetime(2020, 1, 2, 3, 4, 5), date(2020, 1, 2),
    timedelta(1, 2, 3), np.float64(3.5), np.bool_(True), np.str_("é"), np.complex64(1j), np.dtype(">f4"), torch.strided,
    torch.channels_last, torch.Size([2, 3]), {None: 1, (1, "a"): 2, True: 3, 2.5: 4}, [[], [{}], ((),)],
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_plain_values_come_back(value):
    found = returned({"a": [value]})["a"][0]
    assert type(found) is type(value) and found == value and repr(found) == repr(value)


@pytest.mark.parametrize("dtype", ["complex128", "M8[D]", "U3", "S2", ">i4", "uint64", "bool", "float16", "V3"])
def test_arrays_of_every_dtype_come_back(dtype):
    array = np.array([[b"a", b"bc"], [b"", b"xy"]] if dtype in ("U3", "S2", "V3") else [[1, 2], [3, 4]]).astype(dtype)
    found = returned({"a": array, "b": array[0, 1], "none": array[:0]})
    assert found["a"].dtype == array.dtype and np.array_equal(found["a"], array) and found["none"].shape == (0, 2)
    assert found["b"].dtype == array[0, 1].dtype and found["b"].tobytes() == array[0, 1].tobytes()


def test_generators_continue_where_they_were():
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    again = returned(generator)
    assert torch.equal(torch.rand(4, generator=again), torch.rand(4, generator=generator))


# -------------------------------------------------------------------------------------------- tensors


def test_parameters_gradients_strides_and_shared_memory():
    base = torch.arange(24.0).reshape(4, 6)
    saved = {
        "base": base, "view": base.t()[::2], "row": base[1], "expanded": torch.ones(1).expand(3, 4),
        "permuted": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1), "parameter": nn.Parameter(torch.ones(3)),
        "frozen": nn.Parameter(torch.ones(3), requires_grad=False), "wanting": torch.ones(2, requires_grad=True),
        "computed": torch.ones(2, requires_grad=True) * 2, "step": torch.arange(10)[::3],
    }  # fmt: skip
    found = returned(saved)
    for name, tensor in saved.items():
        mine = found[name]
        assert type(mine) is type(tensor) and mine.dtype is tensor.dtype and mine.requires_grad == tensor.requires_grad
        assert torch.equal(mine.detach(), tensor.detach()), name
        assert name == "step" or mine.stride() == tensor.stride(), name
    found["base"].fill_(7)
    assert (found["view"] == 7).all() and (found["row"] == 7).all() and found["row"].is_contiguous()


def test_other_tensors_and_results_with_names():
    marked = nn.Parameter(torch.ones(2))
    marked.tag, marked.is_bias = "head", True
    sparse = torch.sparse.sparse_coo_tensor([[0, 1], [2, 0]], torch.tensor([3.0, 4.0]), (2, 3))
    lazy, most = nn.LazyLinear(3), torch.ones(2, 2).max(0)
    found = returned({"marked": marked, "sparse": sparse, "state": lazy.state_dict(), "most": most})
    assert found["marked"].tag == "head" and found["marked"].is_bias and isinstance(found["marked"], nn.Parameter)
    assert found["sparse"].is_sparse and torch.equal(found["sparse"].to_dense(), sparse.to_dense())
    assert type(found["state"]["weight"]) is nn.UninitializedParameter
    assert type(found["most"]).__name__ == "max" and found["most"].indices.tolist() == most.indices.tolist()


def test_columns_of_one_matrix_share_it_again():
    columns = list(torch.zeros(4, 2).unbind(1))
    first, second = returned(columns)
    first.fill_(1)
    assert not second.any() and second.stride() == (2,) and second.data_ptr() - first.data_ptr() == 4


def test_an_expanded_tensor_takes_no_more_room_than_it_has():
    file = io.BytesIO()
    torch.save(torch.zeros(1).expand(1 << 40), file)
    assert len(file.getvalue()) < 1000


# -------------------------------------------------------------------------------------------- whole modules


class Kind(Enum):
    """A choice of a model's."""

    SMALL = "s"


@dataclass
class Config:
    """What a model is made from."""

    width: int = 3
    kind: Kind = Kind.SMALL


class Net(nn.Module):
    """A model with tied weights and attributes of many kinds; making it takes an argument that files do not have."""

    def __init__(self, config):
        super().__init__()
        self.config, self.layer, self.activation = config, nn.Linear, nn.functional.relu
        self.body = nn.Sequential(nn.Linear(config.width, config.width), nn.ReLU())
        self.head, self.finish = nn.Linear(config.width, config.width), self.doubled
        self.head.weight = self.body[0].weight
        self.register_buffer("count", torch.arange(3), persistent=False)

    def doubled(self, x):
        return x * 2

    def forward(self, x):
        return self.finish(self.activation(self.head(self.body(x))))


def test_a_whole_module_is_its_class_and_its_state(tmp_path):
    path, net, x = tmp_path / "net.pt", Net(Config()), torch.randn(4, 3)
    torch.save(net, path)
    assert sorted(load_file(path)) == ["body.0.bias", "body.0.weight", "count", "head.bias"]  # one name for tied ones
    with pytest.raises(pickle.UnpicklingError, match=r"net\.pt: Weights only load failed.*\.Net was not an allowed"):
        torch.load(path)
    again = torch.load(path, weights_only=False)
    assert type(again) is Net and torch.equal(again(x), net(x)) and again.config == net.config
    assert again.layer is nn.Linear and again.head.weight is again.body[0].weight and again.count.tolist() == [0, 1, 2]
    allowed = [Net, Config, Kind, nn.Linear, nn.Sequential, nn.ReLU, nn.functional.relu]
    with torch.serialization.safe_globals(allowed):
        assert torch.equal(torch.load(path)(x), net(x))


def test_a_model_of_the_script_loads_in_another_script(tmp_path):
    model = """
import sys, tritorch as torch
class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)
    def forward(self, x):
        return self.layer(x)
"""
    run = [sys.executable, "-W", "error", "-c"]
    path, env = str(tmp_path / "net.pt"), {**os.environ, "TRITORCH_DEVICE": "cpu"}
    subprocess.run([*run, model + "torch.save(Net(2), sys.argv[1])", path], check=True, env=env)
    script = model + "print(torch.load(sys.argv[1], weights_only=False)(torch.ones(1, 2)).shape)"
    found = subprocess.run([*run, script, path], check=True, env=env, capture_output=True, text=True)
    assert found.stdout.strip() == "torch.Size([1, 1])"
    script = "import sys, tritorch as torch; torch.load(sys.argv[1], weights_only=False)"
    found = subprocess.run([*run, script, path], check=False, env=env, capture_output=True, text=True)
    assert "it needs Net of module __main__, which cannot be found; define or import the class" in found.stderr


def test_an_optimizer_saved_with_its_model_belongs_to_it():
    net = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(net.parameters(), 0.1)
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    found = returned({"net": net, "optimizer": optimizer}, weights_only=False)
    weight = found["net"].weight
    assert found["optimizer"].param_groups[0]["params"][0] is weight
    assert torch.equal(found["optimizer"].state[weight]["exp_avg"], optimizer.state[net.weight]["exp_avg"])


class Picky:
    """Refuses its own state."""

    def __init__(self):
        self.a = 1

    def __setstate__(self, state):
        raise LookupError("not mine")


def test_what_a_class_of_the_user_raises_is_seen():
    with pytest.raises(LookupError, match="not mine"):
        returned(Picky(), weights_only=False)
