"""PyTorch's own checkpoint files, written here by hand: what loads, what is refused, and that nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import resource
import struct
import tarfile
import zipfile
from collections import Counter, OrderedDict, defaultdict

import ml_dtypes
import numpy as np
import pytest
from torch_format import Call, Name, Persistent, legacy_file, legacy_tensor, pickled, tensor, zip_file

import tritorch as torch
import tritorch.nn as nn

FLOATS = np.arange(6, dtype=np.float32)


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


def tar_file(shape=(2, 3), count=6):
    """The format before 0.1.10: one tensor on one storage."""
    members = {
        "storages": pickled(1) + pickled(("5", "cpu", Name("torch", "FloatStorage"))) + struct.pack("<q", count)
        + FLOATS.tobytes() + pickled([]),
        "tensors": pickled(1) + pickled((3, "5", Name("torch", "FloatTensor")))
        + struct.pack("<i4x5q", 2, *shape, 3, 1, 0),
        "pickle": pickled({"w": Persistent("3")}),
    }  # fmt: skip
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


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


def test_mapped_files_change_in_memory_only(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(zip_file(tensor("0", FLOATS), {"0": FLOATS}))
    torch.load(path, mmap=True).fill_(1)
    assert torch.load(path, mmap=True).tolist() == FLOATS.tolist()
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        torch.load(io.BytesIO(path.read_bytes()), mmap=True)


# -------------------------------------------------------------------------------------------- what is refused


class Evil:
    """Runs something when it is unpickled by Python."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("weights_only", [None, True, False])
@pytest.mark.parametrize("pack", [lambda data: zip_file(data, {}), lambda data: data])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path, weights_only, pack, protocol):
    path = tmp_path / "evil.pt"
    path.write_bytes(pack(pickle.dumps({"weight": 1, "evil": Evil(tmp_path / "ran")}, protocol)))
    with pytest.raises(pickle.UnpicklingError, match=r"evil\.pt: .*(posix|nt)\.mkdir"):
        torch.load(path, weights_only=weights_only)
    assert not (tmp_path / "ran").exists()


HOSTILE = {
    "a function": b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
    "what a module holds": b"ctorch\nload\n.",
    "state of a class": b"ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",
    "state of a dict": b"}}b.",
    "call of a list": b"]K\x01\x85R.",
    "call of what is only named": b"cbuiltins\nint\nK\x01\x85R.",
    "bytes by their count": b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "bytes by their count, made": b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85\x81.",
    "a factory": b"ccollections\ndefaultdict\nctorch\ndevice\n\x85R.",
    "objects in an array": b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.",
    "an array by its size": b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85N\x87R.",
    "a codec": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.",
    "a sparse tensor": b"ctorch._utils\n_rebuild_sparse_tensor\n.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_opcodes_are_refused(name):
    with pytest.raises(pickle.UnpicklingError, match="<BytesIO>: "):
        loaded(zip_file(HOSTILE[name], {}))
    assert not hasattr(OrderedDict, "a")


CORRUPT = {
    "nothing on the stack": b".",
    "an unknown opcode": b"\xff.",
    "no end": b"K\x01",
    "a text longer than the file": b"X\xff\xff\xff\x7fabc.",
    "bytes longer than any file": b"\x8e" + b"\xff" * 8 + b".",
    "a list that goes on": b"](K\x01K\x02",
    "no mark": b"K\x01t.",
    "a value missing under a mark": b"K\x01(\x85.",
    "a key without value": b"}(K\x01u.",
    "what has no hash": b"}]K\x01s.",
    "what nobody remembered": b"h\x07.",
    "no storage": b"K\x01Q.",
    "a future protocol": b"\x80\x63K\x01.",
    "items for a number": b"K\x01K\x02a.",
    "an extension": b"\x82\x01.",
    "a line without end": b"ctorch",
    "a tensor of something else": b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00K\x01\x85K\x01\x85\x89NtR.",
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_pickles_are_refused_by_name(tmp_path, name):
    path = tmp_path / "net.pt"
    path.write_bytes(zip_file(CORRUPT[name], {}))
    with pytest.raises(RuntimeError, match=r"net\.pt: "):
        torch.load(path)


def with_size(size=(6,), stride=(1,), offset=0, count=6, stored=FLOATS):
    made = tensor("0", FLOATS, size, stride, offset)
    identity = made.arguments[0].value
    made.arguments = (Persistent((*identity[:-1], count)), *made.arguments[1:])
    return zip_file(made, {"0": stored})


@pytest.mark.parametrize(
    "lie",
    [
        with_size(size=(7,)), with_size(offset=1), with_size(stride=(2,)), with_size(offset=-1), with_size(size=(-1,)),
        with_size(stride=(-1,), offset=5), with_size(size=(2, 3)), with_size(size=(2**40, 2**40), stride=(1, 1)),
        with_size(count=7), with_size(count=5), with_size(count=2**62), with_size(count=-1), with_size(count="6"),
        with_size(stored=FLOATS[:5]),
    ],
)  # fmt: skip
def test_sizes_that_lie_are_refused(lie):
    with pytest.raises(RuntimeError, match="load"):
        loaded(lie)


def test_old_files_that_lie_are_refused():
    huge = np.broadcast_to(np.float32(0), 2**40)
    for data in (
        legacy_file(legacy_tensor("7", huge), {}),
        legacy_file(legacy_tensor("7", FLOATS), {}),
        legacy_file(legacy_tensor("7", FLOATS), {"7": FLOATS[:5]}),
        legacy_file(legacy_tensor("7", FLOATS), {"8": FLOATS}),
        legacy_file(legacy_tensor("7", FLOATS, ("8", 4, 3), size=(3,)), {"7": FLOATS}),
        legacy_file(legacy_tensor("7", FLOATS), {"7": FLOATS})[:-1],
        tar_file(count=7), tar_file(count=2**60), tar_file(shape=(3, 3)), tar_file()[:700],
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="load"):
            loaded(data)


def test_a_zip_bomb_is_refused():
    value, zeros = tensor("0", FLOATS), np.zeros(1 << 20, np.float32)
    with pytest.raises(pickle.UnpicklingError, match=r"'archive/data/0' is compressed.*zip bomb"):
        loaded(zip_file(value, {"0": zeros}, compress_type=zipfile.ZIP_DEFLATED))


def test_members_that_overlap_are_refused():
    data = zip_file([tensor("0", FLOATS), tensor("1", FLOATS)], {"0": FLOATS, "1": FLOATS})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        first, second = (archive.getinfo(f"archive/data/{key}").header_offset for key in "01")
    central = data.rindex(b"archive/data/1") - 4
    assert struct.unpack_from("<I", data, central)[0] == second
    with pytest.raises(pickle.UnpicklingError, match="overlap"):
        loaded(data[:central] + struct.pack("<I", first) + data[central + 4 :])


def test_loading_what_lies_stays_within_a_memory_cap():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for lie in (with_size(count=2**40), with_size(size=(2**33,), stride=(0,)), tar_file(count=2**40)):
        try:
            loaded(lie)
        except RuntimeError:
            continue
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.parametrize("end", [4, 30, 100, -1, -30, -100])
def test_truncated_files_name_themselves_and_leave_the_model_as_it_was(tmp_path, end):
    path, layer = tmp_path / "net.pt", nn.Linear(3, 2)
    before = layer.weight.tolist()
    path.write_bytes(zip_file({"weight": tensor("0", FLOATS, (2, 3), (3, 1))}, {"0": FLOATS})[:end])
    with pytest.raises(RuntimeError, match=r"net\.pt: "):
        layer.load_state_dict(torch.load(path))
    assert layer.weight.tolist() == before


def test_a_changed_element_is_noticed():
    data = zip_file(tensor("0", FLOATS), {"0": FLOATS})
    with pytest.raises(RuntimeError, match="'data/0' is corrupt: its checksum differs"):
        loaded(data.replace(np.float32(5).tobytes(), np.float32(-5).tobytes()))


def test_programs_and_cuda_tensors_without_cuda_are_refused_with_the_reason():
    stream = io.BytesIO(zip_file({}, {}))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("archive/constants.pkl", pickled(()))
    with pytest.raises(pickle.UnpicklingError, match="TorchScript"):
        loaded(stream.getvalue())
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
            loaded(zip_file(tensor("0", FLOATS, location="cuda:0"), {"0": FLOATS}))


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
