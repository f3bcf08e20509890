"""PyTorch's own checkpoint files, written here by hand: what loads, and what a user allows."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import pickletools
import zipfile
from collections import Counter, OrderedDict, defaultdict
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from torch_format import FLOATS, Call, Name, legacy_file, legacy_tensor, tar_file, tensor, zip_file

import tritorch as torch
import tritorch.nn as nn


def loaded(data, **named):
    return torch.load(io.BytesIO(data), **named)


# -------------------------------------------------------------------------------------------- what loads


def test_a_state_dict_with_its_metadata():
    weights = tensor("0", FLOATS, (2, 3), (3, 1)), tensor("1", FLOATS[:2])
    items = Call(Name("collections", "OrderedDict"), [("weight", weights[0]), ("bias", weights[1])],
                 state={"_metadata": OrderedDict([("", {"version": 1})])})  # fmt: skip
    found = loaded(zip_file(items, {"0": FLOATS, "1": FLOATS[:2]}))
    assert type(found) is OrderedDict and found._metadata == {"": {"version": 1}}
    layer = nn.Linear(3, 2)
    layer.load_state_dict(found)
    assert layer.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and layer.bias.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool", "bfloat16"])
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_every_dtype_in_both_byte_orders(dtype, byteorder):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = np.array([0, 1, 2, 3]).astype(kind)
    if byteorder == "big" and dtype == "bfloat16":  # NumPy has no other byte order of it
        data = zip_file(tensor("0", array), {"0": array.view(np.uint16)}, byteorder)
    else:
        data = zip_file(tensor("0", array), {"0": array}, byteorder)
    found = loaded(data)
    assert found.dtype is getattr(torch, dtype) and found.tolist() == array.astype(float).tolist()


def test_strides_offsets_and_shared_storages():
    value = [
        tensor("0", FLOATS, (3, 2), (1, 3)),
        tensor("0", FLOATS, (2,), (2,), 1),
        tensor("0", FLOATS, (2, 2), (0, 1)),
    ]
    across, step, expanded = loaded(zip_file(value, {"0": FLOATS}))
    assert across.tolist() == [[0, 3], [1, 4], [2, 5]] and across.stride() == (1, 3)
    assert step.tolist() == [1, 3] and expanded.tolist() == [[0, 1], [0, 1]] and expanded.stride() == (0, 1)
    across[0, 0] = 9
    assert expanded[1, 0].item() == 9


def test_parameters_and_tensors_that_want_gradients():
    hooks = Call(Name("collections", "OrderedDict"))
    parameter = Call(Name("torch._utils", "_rebuild_parameter"), tensor("0", FLOATS), True, hooks)
    found, plain = loaded(zip_file([parameter, tensor("0", FLOATS, requires_grad=True)], {"0": FLOATS}))
    assert isinstance(found, nn.Parameter) and found.requires_grad and found.tolist() == FLOATS.tolist()
    assert plain.requires_grad and not isinstance(plain, nn.Parameter)
    plain.detach().zero_()
    assert not found.any()


def test_what_else_a_training_state_holds():
    dtype = Call(Name("numpy", "dtype"), "f8", False, True, state=(3, "<", None, None, None, -1, -1, 0))
    data = Call(Name("_codecs", "encode"), np.array([1.5, 2]).tobytes().decode("latin1"), "latin1")
    empty = Name("numpy._core.multiarray", "_reconstruct"), Name("numpy", "ndarray"), (0,), b"b"
    found = loaded(zip_file({
        "epoch": 3, "none": None, "flags": (True, False), "big": 2**70, "rate": 0.1, "inf": float("inf"), "name": "é",
        "size": Call(Name("torch", "Size"), (2, 3)), "device": Call(Name("torch", "device"), "cuda", 1),
        "dtype": Name("torch", "bfloat16"), "layout": Call(Name("torch.serialization", "_get_layout"), "torch.strided"),
        "counter": Call(Name("collections", "Counter"), {"a": 2}),
        "default": Call(Name("collections", "defaultdict"), Name("__builtin__", "list")),
        "set": Call(Name("__builtin__", "set"), [1, 2]),
        "scalar": Call(Name("numpy._core.multiarray", "scalar"), dtype,
                       Call(Name("_codecs", "encode"), np.float64(7).tobytes().decode("latin1"), "latin1")),
        "array": Call(*empty, state=(1, (2,), dtype, False, data)),
        1: {("x", 2): []},
    }, {}))  # fmt: skip
    assert found["epoch"] == 3 and found["none"] is None and found["flags"] == (True, False) and found["big"] == 2**70
    assert found["rate"] == 0.1 and found["inf"] == float("inf") and found["name"] == "é"
    assert type(found["size"]) is torch.Size and found["size"] == (2, 3) and found["device"] == torch.device("cuda:1")
    assert found["dtype"] is torch.bfloat16 and found["layout"] is torch.strided
    assert type(found["counter"]) is Counter and found["counter"]["a"] == 2 and found["set"] == {1, 2}
    assert type(found["default"]) is defaultdict and found["default"]["new"] == []
    assert found["scalar"] == 7 and type(found["scalar"]) is np.float64 and found["array"].tolist() == [1.5, 2]
    assert found[1] == {("x", 2): []}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(protocol):
    value = {"a": [1, -1, 255, 70000, 2**40, 2**3000, 1.5, "text" * 100, b"bytes" * 100, None, True], (1, 2, 3, 4): {},
             "b": frozenset([1]), "c": ({1, 2}, bytearray(b"x")), "long": list(range(2000))}  # fmt: skip
    if protocol < 2:
        value = {"a": [1, -1, 255, 70000, 2**40, 1.5, "té\nxt", None, True, False], (1, 2): {"b": ()}}
    value["same"] = value["a"]
    found = loaded(zip_file(pickle.dumps(value, protocol), {}))
    assert found == value and found["same"] is found["a"]


def test_the_format_before_1_6():
    value = {"a": legacy_tensor("7", FLOATS, size=(2, 3), stride=(3, 1)), "b": legacy_tensor("7", FLOATS),
             "view": legacy_tensor("7", FLOATS, ("8", 2, 3), size=(3,))}  # fmt: skip
    found = loaded(legacy_file(value, {"7": FLOATS}))
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["view"].tolist() == [2, 3, 4]
    found["a"][1, 0] = 9
    assert found["b"][3].item() == 9


def test_the_format_before_0_1_10():
    assert loaded(tar_file())["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_map_location_gets_each_storage_once():
    value = [tensor("0", FLOATS, location="cuda:0"), tensor("0", FLOATS, (2,), location="cuda:0"), tensor("1", FLOATS)]
    data, seen = zip_file(value, {"0": FLOATS, "1": FLOATS}), []

    def keep(whole, location):
        seen.append((whole.numel(), location))
        return whole

    assert [each.device.type for each in loaded(data, map_location=keep)] == ["cpu"] * 3
    assert seen == [(6, "cuda:0"), (6, "cpu")]
    found = loaded(data, map_location={"cuda:0": "interpreter"})
    assert [each.device.type for each in found] == ["interpreter", "interpreter", "cpu"]
    assert loaded(data, map_location=torch.device("cpu"))[0].tolist() == FLOATS.tolist()


def test_streams_and_compressed_files(tmp_path):
    data = zip_file(tensor("0", FLOATS), {"0": FLOATS})
    with gzip.open(tmp_path / "x.gz", "wb") as file:
        file.write(data)
    with gzip.open(tmp_path / "x.gz") as file:
        assert torch.load(file).tolist() == FLOATS.tolist()
    plain = io.BytesIO(data)
    only = SimpleNamespace(read=plain.read, seek=plain.seek, tell=plain.tell)
    assert torch.load(only).tolist() == torch.load(SimpleNamespace(read=io.BytesIO(data).read)).tolist()
    behind = io.BytesIO(b"header" + data)
    behind.seek(6)
    assert torch.load(behind).tolist() == FLOATS.tolist()


def test_the_names_that_a_file_needs_allowed_are_listed(tmp_path):
    path = tmp_path / "x.pt"
    value = {"a": Call(Name("collections", "OrderedDict")), "b": Name("posix", "system"), "c": Name("torch", "int8")}
    for data in (value, pickle.dumps({"a": OrderedDict(), "b": os.system}, 4)):
        path.write_bytes(zip_file(data, {}))
        assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == ["posix.system"]
    torch.save({"a": nn.ReLU(), "b": torch.ones(2)}, path)
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == ["tritorch.nn.modules.activation.ReLU"]


def test_mapped_files_change_in_memory_only(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(zip_file(tensor("0", FLOATS), {"0": FLOATS}))
    torch.load(path, mmap=True).fill_(1)
    assert torch.load(path, mmap=True).tolist() == FLOATS.tolist()
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        torch.load(io.BytesIO(path.read_bytes()), mmap=True)


# -------------------------------------------------------------------------------------------- what a user allows


class Config:
    """A class of the user's own."""

    def __init__(self, width):
        self.width = width


def test_classes_that_the_user_allows():
    data = zip_file(pickle.dumps(Config(3), 2), {})
    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL .*test_torch_files\.Config was not an allowed global"):
        loaded(data)
    with torch.serialization.safe_globals([Config]):
        assert loaded(data).width == 3 and torch.serialization.get_safe_globals() == [Config]
    assert not torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([(Config, "old.place.Config")])
    assert torch.serialization.get_safe_globals() == [(Config, "old.place.Config")]
    assert loaded(zip_file(b"cold.place\nConfig\n)\x81}X\x01\x00\x00\x00aK\x02sb.", {})).a == 2
    torch.serialization.clear_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        loaded(data)


def test_a_whole_module_asks_for_trust():
    data = zip_file(
        b"ctorch.nn.modules.activation\nReLU\n)\x81}(X\x07\x00\x00\x00inplace\x88X\x08\x00\x00\x00training\x88ub.", {}
    )
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.nn\.modules\.activation\.ReLU was not an allowed"):
        loaded(data)
    assert type(loaded(data, weights_only=False)) is nn.ReLU
    with torch.serialization.safe_globals([nn.ReLU]):
        assert loaded(data).inplace


# -------------------------------------------------------------------------------------------- files for PyTorch


def test_files_written_for_pytorch_load_here_as_they_were():
    base = torch.arange(24.0).reshape(4, 6)
    again = [None, True, -7, 2**40, 2**70, float("inf"), "é"]
    saved = {
        "state": nn.Linear(2, 3).state_dict(), "base": base, "view": base.t()[::2],
        "expanded": torch.ones(1).expand(3, 4), "parameter": nn.Parameter(torch.ones(3)),
        "wanting": torch.ones(2, requires_grad=True), "empty": torch.empty(0, 3),
        "small": torch.tensor([1, 2]).to(torch.float8_e4m3fn), "again": [again, again], "bytes": b"a\xff",
        "set": {1, 2},
        "size": torch.Size([1, 2]), "device": torch.device("cuda:1"), "dtype": torch.bfloat16, "layout": torch.strided,
        "default": defaultdict(list, {1: [2]}), "counter": Counter("aab"), "array": np.arange(3, dtype=">i4"),
        "strings": np.array(["a", "bc"]), "scalar": np.float64(2.5), 1: {(1, "a"): 1 + 2j},
    }  # fmt: skip
    stream = io.BytesIO()
    torch.serialization.save_torch(saved, stream)
    found = loaded(stream.getvalue())
    assert list(found) == list(saved) and found["state"]._metadata == saved["state"]._metadata
    for name, value in saved.items():
        mine = found[name]
        assert type(mine) is type(value), name
        if isinstance(value, torch.Tensor):
            assert mine.dtype is value.dtype and mine.shape == value.shape and mine.tolist() == value.tolist(), name
            assert mine.requires_grad == value.requires_grad and (not value.numel() or mine.stride() == value.stride())
        elif name not in ("state", "array", "strings"):
            assert mine == value, name
    assert found["array"].tolist() == [0, 1, 2] and found["strings"].tolist() == ["a", "bc"]
    assert found["again"][0] is found["again"][1]
    found["base"].fill_(7)
    assert (found["view"] == 7).all()


def test_what_only_code_could_make_again_is_not_written_for_pytorch(tmp_path):
    with pytest.raises(TypeError, match=r"save_torch\(\): obj\['a'\]\[1\] is a tritorch.nn.*ReLU, which only running"):
        torch.serialization.save_torch({"a": [1, nn.ReLU()]}, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())


def test_the_opcodes_written_for_pytorch_are_these():
    stream = io.BytesIO()
    torch.serialization.save_torch({"w": torch.ones(2)}, stream)
    with zipfile.ZipFile(stream) as archive:
        assert archive.namelist() == ["archive/data.pkl", "archive/byteorder", "archive/data/0", "archive/version"]
        assert (
            archive.read("archive/version") == b"3\n" and archive.read("archive/data/0") == np.ones(2, "f4").tobytes()
        )
        data = archive.read("archive/data.pkl")
    names = [argument for code, argument, _ in pickletools.genops(data) if code.name == "GLOBAL"]
    assert names == ["torch._utils _rebuild_tensor_v2", "torch FloatStorage", "collections OrderedDict"]
