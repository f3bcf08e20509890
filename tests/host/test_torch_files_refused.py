"""PyTorch's own checkpoint files, written here by hand: what is refused, by its name, and nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from torch_format import FLOATS, Persistent, legacy_file, legacy_tensor, pickled, tar_file, tensor, zip_file

import tritorch as torch
import tritorch.nn as nn


def loaded(data, **named):
    return torch.load(io.BytesIO(data), **named)


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
    "a dtype of times": b"cnumpy\ndtype\nX\x02\x00\x00\x00M8\x85R.",
    "a dtype that is code": b"cnumpy\ndtype\nX\x02\x00\x00\x0008\x85R.",
    "a dtype with fields": b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R(K\x03X\x01\x00\x00\x00<K\x01NNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb.",
    "an array by its size": b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85N\x87R.",
    "a codec": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00zlib\x86R.",
    "a quantised tensor": b"ctorch._utils\n_rebuild_qtensor\n.",
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


def own_file():
    stream = io.BytesIO()
    torch.save({"a": torch.ones(4, 2).t(), "b": [1, 2.5, "x", (None,)], "c": torch.ones(1).expand(3, 2)}, stream)
    return stream.getvalue()


WHOLE = {
    "zip": zip_file({"a": tensor("0", FLOATS, (2, 3), (3, 1)), "b": [1, 2.5, "x", (None, True)]}, {"0": FLOATS}),
    "legacy": legacy_file({"a": legacy_tensor("0", FLOATS), "b": [1, 2.5]}, {"0": FLOATS}),
    "tar": tar_file(),
    "own": own_file(),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whatever_is_changed_in_a_file_it_loads_or_is_refused_by_its_name(name):
    draw = random.Random(5)
    for _ in range(400):
        data = bytearray(WHOLE[name])
        for _ in range(draw.choice([1, 1, 2, 4])):
            place = draw.randrange(len(data))
            change = draw.choice(["set", "set", "drop", "insert"])
            data[place : place + (change != "insert")] = b"" if change == "drop" else bytes([draw.randrange(256)])
        try:
            loaded(bytes(data))
        except (RuntimeError, pickle.UnpicklingError) as error:
            assert str(error).startswith(("load(): <BytesIO>: ", "don't know how to restore data location"))


def test_places_that_are_none_are_refused():
    with pytest.raises(RuntimeError, match=r"don't know how to restore data location .* \(tagged with xpu:0\)"):
        loaded(zip_file(tensor("0", FLOATS, location="xpu:0"), {"0": FLOATS}))
