"""Safetensors files both ways with the package that defines the format, checkpoints in several files, and npz."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open as official_open
from safetensors.numpy import load_file as official_load
from safetensors.numpy import save_file as official_save

import tritorch as torch
import tritorch.nn as nn
from tritorch.utils import safetensors

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
          "float8_e4m3fn", "float8_e5m2"]  # fmt: skip


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight


def test_every_dtype_both_ways(tmp_path):
    path = tmp_path / "all.safetensors"
    tensors = {name: torch.arange(6).reshape(2, 3).to(getattr(torch, name)) for name in DTYPES}
    safetensors.save_file(tensors, path, {"made": "here"})
    with official_open(path, "np") as file:
        assert sorted(file.keys()) == sorted(DTYPES) and file.metadata() == {"made": "here"}
        assert file.get_tensor("float32").tolist() == [[0, 1, 2], [3, 4, 5]]
    for found in (safetensors.load_file(path), safetensors.load(path.read_bytes()), torch.load(path)):
        for name in DTYPES:
            assert found[name].dtype is getattr(torch, name) and torch.equal(found[name], tensors[name])
    assert safetensors.save(tensors, {"made": "here"}) == path.read_bytes()


def test_files_of_the_official_package(tmp_path):
    path = tmp_path / "official.safetensors"
    half = np.arange(4).astype(ml_dtypes.bfloat16)
    official_save({"half": half, "empty": np.zeros((0, 2), np.int8), "scalar": np.array(3.5)}, path)
    found = safetensors.load_file(path, device="cpu")
    assert found["half"].dtype is torch.bfloat16 and found["half"].tolist() == [0, 1, 2, 3]
    assert found["empty"].shape == (0, 2) and found["scalar"].item() == 3.5


def test_one_tensor_or_a_part_of_it(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.save_file({"b": torch.arange(6.0).reshape(2, 3), "a": torch.zeros(1, dtype=torch.bfloat16)}, path)
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        assert file.keys() == ["a", "b"] and file.offset_keys() == ["b", "a"] and file.metadata() is None
        part = file.get_slice("b")
        assert part.get_shape() == [2, 3] and part.get_dtype() == "F32" and part[:, 1:2].tolist() == [[1], [4]]
        with pytest.raises(KeyError, match="does not contain tensor c"):
            file.get_tensor("c")


def test_tied_weights_are_saved_once_and_loaded_into_both(tmp_path):
    path, model, other = tmp_path / "tied.safetensors", Tied(), Tied()
    safetensors.save_model(model, path)
    assert sorted(official_load(path)) == ["a.bias", "a.weight", "b.bias"]
    assert safetensors.load_model(other, path) == (set(), [])
    assert torch.equal(other.b.weight, model.b.weight) and other.b.weight is other.a.weight
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict"):
        safetensors.load_model(nn.Linear(3, 3), path)
    missing, unexpected = safetensors.load_model(nn.Linear(3, 3), path, strict=False)
    assert missing == {"weight", "bias"} and sorted(unexpected) == ["a.bias", "a.weight", "b.bias"]


def test_what_other_programs_could_not_read_is_refused(tmp_path):
    tensor = torch.ones(3, 2)
    for bad, error, text in (
        ({"a": tensor.t()}, ValueError, "You are trying to save a non contiguous tensor: `a` which is not allowed"),
        ({"a": tensor, "b": tensor[1]}, RuntimeError, "Some tensors share memory"),
        ([tensor], ValueError, "Expected a dict of"),
        ({"a": 1}, ValueError, "Key `a` is invalid, expected torch.Tensor but received"),
    ):
        with pytest.raises(error, match=text):
            safetensors.save_file(bad, tmp_path / "x")
    with pytest.raises(TypeError, match="metadata must be text by text"):
        safetensors.save_file({}, tmp_path / "x", {"a": 1})
    assert not list(tmp_path.iterdir())


def raw_file(header, size):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def entry(start, end, shape=None, dtype="F32"):
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


LIES = {
    "overlap": raw_file({"a": entry(0, 8), "b": entry(4, 12)}, 12),
    "gap": raw_file({"a": entry(0, 8), "b": entry(12, 16)}, 16),
    "beyond the end": raw_file({"a": entry(0, 80)}, 8),
    "more than is used": raw_file({"a": entry(0, 8)}, 16),
    "backwards": raw_file({"a": entry(8, 0, [2])}, 8),
    "negative": raw_file({"a": entry(-8, 0)}, 8),
    "shape": raw_file({"a": entry(0, 8, [3])}, 8),
    "huge shape": raw_file({"a": entry(0, 8, [2**40, 2**40])}, 8),
    "fraction": raw_file({"a": entry(0, 8, [2.0])}, 8),
    "dtype": raw_file({"a": entry(0, 8, dtype="F4")}, 8),
    "no dtype": raw_file({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8),
    "list": raw_file([], 0),
    "metadata": raw_file({"__metadata__": {"a": 1}}, 0),
    "huge header": struct.pack("<Q", 2**62) + b"{}",
    "twice": struct.pack("<Q", 13) + b'{"a":1,"a":1}',
    "unsigned tensor": raw_file({"a": entry(0, 8, [1], "U64")}, 8),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie_are_refused_by_name(tmp_path, lie):
    path = tmp_path / "lie.safetensors"
    path.write_bytes(LIES[lie])
    for load in (torch.load, safetensors.load_file):
        with pytest.raises(RuntimeError, match=r"lie\.safetensors: "):
            load(path)


def test_a_structure_that_lies_is_refused_within_a_memory_cap():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for view in ([0, [2**40], [1]], [0, [2], [2**50]], [-1, [1], [1]], [3, [1], [1]], [0, [2**40], [0, 1]], [0]):
        structure = {"tensor": "a", "device": ["cpu", None], "view": view}
        header = {"__metadata__": {"tritorch": json.dumps(structure)}, "a": entry(0, 8)}
        with pytest.raises(RuntimeError, match="load"):
            torch.load(io.BytesIO(raw_file(header, 8)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


# -------------------------------------------------------------------------------------------- several files


def test_a_checkpoint_in_several_files(tmp_path):
    safetensors.save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    torch.serialization.save_torch({"b": torch.zeros(3)}, tmp_path / "model-2.bin")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"b": "model-2.bin", "a": "model-1.safetensors"}}))
    for path in (index, tmp_path):
        found = safetensors.load_sharded(path)
        assert list(found) == ["b", "a"] and found["a"].tolist() == [1, 1] and found["b"].shape == (3,)


@pytest.mark.parametrize(
    ("index", "error"),
    [
        ('{"weight_map": {"a": "../x"}}', "refers to files outside its folder"),
        ('{"weight_map": {"a": "/x"}}', "refers to files outside its folder"),
        ('{"weight_map": {"c": "x"}}', r"\['c'\] are not in the files"),
        ("{}", "not an index"),
        ("[", "not an index"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, index, error):
    safetensors.save_file({"a": torch.ones(2)}, tmp_path / "x")
    path = tmp_path / "model.index.json"
    path.write_text(index)
    with pytest.raises(RuntimeError, match=rf"model\.index\.json.*{error}"):
        safetensors.load_sharded(tmp_path)


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no \*\.index\.json"):
        safetensors.load_sharded(tmp_path)


# -------------------------------------------------------------------------------------------- npz


def test_npz_both_ways(tmp_path):
    path, net, other = tmp_path / "net.npz", nn.Linear(3, 2), nn.Linear(3, 2)
    np.savez(path, **net.state_dict())
    other.load_state_dict(torch.load(path))
    assert torch.equal(other.weight, net.weight)
    np.savez_compressed(
        path, a=np.asfortranarray(np.arange(6.0).reshape(2, 3)), b=np.arange(3, dtype=">i4"), c=np.float32(2)
    )
    found = torch.load(path, map_location="interpreter")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["b"].tolist() == [0, 1, 2] and found["c"].item() == 2
    assert found["b"].dtype is torch.int32 and found["a"].device.type == "interpreter"


def test_npz_files_that_lie_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([None]))
    with pytest.raises(pickle.UnpicklingError, match=r"x\.npz: .*holds pickled objects"):
        torch.load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(300 << 20), compresslevel=1)
    with pytest.raises(pickle.UnpicklingError, match="zip bomb"):
        torch.load(path)
    np.savez(path, a=np.arange(10))
    path.write_bytes(path.read_bytes().replace(b"(10,)", b"(99,)"))
    with pytest.raises(RuntimeError, match=r"x\.npz: array 'a'"):
        torch.load(path)
    np.savez(path, a=np.array(["text"]))
    with pytest.raises(RuntimeError, match=r"x\.npz: array 'a' has dtype <U4, which tensors do not have"):
        torch.load(path)
