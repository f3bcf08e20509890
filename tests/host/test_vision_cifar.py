"""CIFAR, STL-10 and SVHN, from small files in their formats."""

from __future__ import annotations

import hashlib
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pytest

from tritorch.vision import datasets, transforms

DRAW = np.random.default_rng(0)
NAMES = ["plane", "car", "bird"]


def write_batch(path, many, label_key):
    batch = {"data": DRAW.integers(0, 256, (many, 3072), dtype=np.uint8), label_key: list(range(many)), "names": b"x"}
    path.write_bytes(pickle.dumps(batch, protocol=2))
    return batch


def set_checksums(monkeypatch, kind, folder):
    """Give a dataset class the MD5 sums of the files in a folder."""

    def summed(name):
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    for part in ("train_list", "test_list"):
        monkeypatch.setattr(kind, part, [[name, summed(name)] for name, _ in getattr(kind, part)])
    if hasattr(kind, "meta"):
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": summed(kind.meta["filename"])})


def write_cifar(monkeypatch, kind, root):
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    batches = {name: write_batch(folder / name, 2, kind.label_key) for name, _ in (*kind.train_list, *kind.test_list)}
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: NAMES}, protocol=2))
    set_checksums(monkeypatch, kind, folder)
    return batches


@pytest.mark.parametrize(("kind", "many"), [(datasets.CIFAR10, 10), (datasets.CIFAR100, 2)])
def test_cifar_gives_pictures_and_classes(monkeypatch, tmp_path, kind, many):
    batches = write_cifar(monkeypatch, kind, tmp_path)
    train = kind(tmp_path, transform=transforms.PILToTensor())
    assert len(train) == many and train.data.shape == (many, 32, 32, 3) and train.targets[:2] == [0, 1]
    first = batches[kind.train_list[0][0]]["data"][1].reshape(3, 32, 32)
    image, target = train[1]
    assert (image.numpy() == first).all() and target == 1
    test = kind(tmp_path, train=False, target_transform=str)
    picture, target = test[1]
    assert picture.size == (32, 32) and picture.mode == "RGB" and target == "1" and len(test) == 2
    assert train.classes == NAMES and train.class_to_idx == {"plane": 0, "car": 1, "bird": 2}
    assert "Split: Train" in repr(train)


def test_cifar_is_fetched_and_unpacked(monkeypatch, tmp_path):
    kind = datasets.CIFAR100
    write_cifar(monkeypatch, kind, tmp_path / "there")
    with tarfile.open(tmp_path / "there" / kind.filename, "w:gz") as archive:
        archive.add(tmp_path / "there" / kind.base_folder, kind.base_folder)
    packed = tmp_path / "there" / kind.filename
    monkeypatch.setattr(kind, "url", packed.as_uri())
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(packed.read_bytes()).hexdigest())
    with pytest.raises(RuntimeError, match=r"Dataset not found or corrupted. You can use download=True to download it"):
        kind(tmp_path / "here")
    assert len(kind(tmp_path / "here", download=True)) == 2
    packed.unlink()
    assert len(kind(tmp_path / "here", download=True)) == 2  # nothing is fetched again
    (tmp_path / "here" / kind.base_folder / "test").write_bytes(b"broken")
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted"):
        kind(tmp_path / "here")


class Harmful:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_batch_that_would_run_code_is_refused(monkeypatch, tmp_path, capsys):
    kind = datasets.CIFAR100
    write_cifar(monkeypatch, kind, tmp_path)
    (tmp_path / kind.base_folder / "train").write_bytes(pickle.dumps({"data": Harmful()}))
    set_checksums(monkeypatch, kind, tmp_path / kind.base_folder)
    with pytest.raises(pickle.UnpicklingError, match=r"holds arrays, numbers and text, and no builtins\.print"):
        kind(tmp_path)
    assert capsys.readouterr().out == ""


def test_stl10(monkeypatch, tmp_path):
    folder = tmp_path / datasets.STL10.base_folder
    folder.mkdir()
    images = DRAW.integers(0, 256, (3, 3, 96, 96), dtype=np.uint8)
    for part in ("train", "test", "unlabeled"):
        (folder / f"{part}_X.bin").write_bytes(images.tobytes())
    for part in ("train", "test"):
        (folder / f"{part}_y.bin").write_bytes(bytes([3, 1, 2]))
    (folder / "class_names.txt").write_text("plane\ncar\nbird\n")
    (folder / "fold_indices.txt").write_text("\n".join(["2 0 "] * 10))
    set_checksums(monkeypatch, datasets.STL10, folder)
    found = datasets.STL10(tmp_path, transform=transforms.PILToTensor())
    image, target = found[0]
    assert target == 2 and (image.numpy() == images[0].transpose(0, 2, 1)).all() and found.classes == NAMES
    assert [target for _, target in datasets.STL10(tmp_path, folds=4)] == [1, 2]
    both = datasets.STL10(tmp_path, split="train+unlabeled")
    assert len(both) == 6 and both[5][1] == -1
    with pytest.raises(ValueError, match=r"folds should be in the range \[0, 10\), but got 10"):
        datasets.STL10(tmp_path, folds=10)


def element(kind, content):
    """An element of a MATLAB file: in four bytes where it is that short, else with its length before it."""
    if len(content) <= 4:
        return struct.pack("<HH", kind, len(content)) + content.ljust(4, b"\0")
    return struct.pack("<II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def matlab_array(name, array):
    flags = struct.pack("<II", 9, 0)  # unsigned bytes
    parts = (6, flags), (5, np.int32(array.shape).tobytes()), (1, name), (2, array.tobytes(order="F"))
    return element(14, b"".join(element(*part) for part in parts))


def test_svhn(monkeypatch, tmp_path):
    images = DRAW.integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
    packed = zlib.compress(matlab_array(b"X", images))
    content = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    content += struct.pack("<II", 15, len(packed)) + packed + matlab_array(b"y", np.uint8([[1], [10], [7]]))
    (tmp_path / "it.mat").write_bytes(content)
    entry = [(tmp_path / "it.mat").as_uri(), "test_32x32.mat", hashlib.md5(content).hexdigest()]
    monkeypatch.setitem(datasets.SVHN.split_list, "test", entry)
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted"):
        datasets.SVHN(tmp_path / "here", "test")
    found = datasets.SVHN(tmp_path / "here", "test", transforms.PILToTensor(), download=True)
    assert [target for _, target in found] == [1, 0, 7] and found.data.shape == (3, 3, 32, 32)
    assert (found[2][0].numpy() == images[..., 2].transpose(2, 0, 1)).all() and "Split: test" in repr(found)
    (tmp_path / "no.mat").write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"no\.mat is not a MATLAB file"):
        datasets.svhn.read_mat(tmp_path / "no.mat")


def test_other_datasets_say_what_to_do():
    with pytest.raises(NotImplementedError, match=r"datasets.CelebA is not here: read its files with Image"):
        datasets.CelebA("root", download=True)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        datasets.Nothing  # noqa: B018, asked for on purpose
