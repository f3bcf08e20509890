"""Datasets of images: their files, what they give, and how they are fetched."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tritorch as torch
from tritorch import vision
from tritorch.vision import datasets, transforms
from tritorch.vision.datasets import utils

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (5, 28, 28), dtype=np.uint8)
CLASSES = np.array([3, 0, 9, 1, 3], np.uint8)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for part, many in (("train", 5), ("t10k", 2)):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(GREY[:many]))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(CLASSES[:many]))


@pytest.fixture
def server(tmp_path):
    """The URL of a folder, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Say nothing."""

    found = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}/", folder
    found.shutdown()
    thread.join()
    found.server_close()


# ------------------------------------------------------------------------------------------------ MNIST


def test_mnist_gives_pictures_and_classes(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    train = datasets.MNIST(tmp_path, transform=transforms.ToTensor(), target_transform=lambda target: target + 1)
    test = datasets.MNIST(str(tmp_path), train=False)
    assert (len(train), len(test)) == (5, 2)
    assert train.data.dtype == torch.uint8 and train.data.shape == (5, 28, 28)
    assert train.targets.dtype == torch.int64 and train.targets.tolist() == CLASSES.tolist()
    image, target = train[2]
    assert target == 10 and (image.numpy() == GREY[2:3].astype(np.float32) / np.float32(255)).all()
    picture, target = test[1]
    assert picture.mode == "L" and (np.asarray(picture) == GREY[1]).all() and target == 0
    assert train.classes[3] == "3 - three" and train.class_to_idx["9 - nine"] == 9
    assert train.processed_folder == os.path.join(tmp_path, "MNIST", "processed")
    with pytest.warns(UserWarning, match="train_labels has been renamed targets"):
        assert train.train_labels is train.targets
    assert repr(test) == f"Dataset MNIST\n    Number of datapoints: 2\n    Root location: {tmp_path}\n    Split: Test"


def test_mnist_goes_through_a_loader_and_into_a_subset(tmp_path):
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    data = datasets.FashionMNIST(tmp_path, transform=transforms.ToTensor())
    batches = list(torch.utils.data.DataLoader(data, batch_size=3))
    assert [images.shape for images, _ in batches] == [(3, 1, 28, 28), (2, 1, 28, 28)]
    assert batches[1][1].tolist() == [1, 3] and data.classes[0] == "T-shirt/top"
    data.targets = torch.where(data.targets == 3, 7, data.targets)  # as scripts do
    assert data[0][1] == 7


def test_mnist_that_is_not_there(tmp_path):
    with pytest.raises(RuntimeError, match=r"Dataset not found. You can use download=True to download it"):
        datasets.MNIST(tmp_path)


def test_mnist_files_that_are_broken(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw)
    (raw / "train-images-idx3-ubyte").write_bytes(idx(GREY)[:-1])
    with pytest.raises(RuntimeError, match=r"should hold \(5, 28, 28\) numbers, and holds 3919"):
        datasets.MNIST(tmp_path)
    (raw / "train-images-idx3-ubyte").write_bytes(idx(GREY[:4]))
    with pytest.raises(RuntimeError, match=r"\(5,\) labels do not belong to \(4, 28, 28\) images"):
        datasets.MNIST(tmp_path)
    (raw / "train-images-idx3-ubyte").write_bytes(b"<html>")
    with pytest.raises(RuntimeError, match="is not an idx file"):
        datasets.MNIST(tmp_path)


def serve_mnist(monkeypatch, server):
    url, folder = server
    write_mnist(folder / "plain")
    resources = []
    for path in sorted((folder / "plain").iterdir()):
        packed = gzip.compress(path.read_bytes())
        (folder / f"{path.name}.gz").write_bytes(packed)
        resources.append((f"{path.name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{url}moved/", url])
    return folder


def test_mnist_is_fetched_from_the_mirror_that_has_it(monkeypatch, server, tmp_path):
    folder = serve_mnist(monkeypatch, server)
    found = datasets.MNIST(tmp_path / "here", download=True)
    assert found.targets.tolist() == CLASSES.tolist()
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    assert len(datasets.MNIST(tmp_path / "here", train=False, download=True)) == 2  # nothing is fetched again


def test_mnist_without_a_network_says_what_to_do(monkeypatch, server, tmp_path):
    folder = serve_mnist(monkeypatch, server)
    name = datasets.MNIST.resources[0][0]
    (folder / name).unlink()
    with pytest.raises(RuntimeError) as caught:
        datasets.MNIST(tmp_path / "here", download=True)
    for mirror in datasets.MNIST.mirrors:
        assert f"{mirror}{name} could not be fetched (HTTP Error 404" in str(caught.value)
    assert f"put the file at {tmp_path / 'here' / 'MNIST' / 'raw' / name}" in str(caught.value)


def test_emnist_takes_its_split(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "emnist-letters-train-images-idx3-ubyte").write_bytes(idx(GREY))
    (raw / "emnist-letters-train-labels-idx1-ubyte").write_bytes(idx(CLASSES))
    found = datasets.EMNIST(tmp_path, "letters")
    assert found.classes[:2] == ["N/A", "a"] and found[2][1] == 9
    assert len(datasets.EMNIST.classes_split_dict["byclass"]) == 62
    assert len(datasets.EMNIST.classes_split_dict["balanced"]) == 47
    with pytest.raises(ValueError, match=r"Unknown value 'all' for argument split. Valid values are {'byclass', "):
        datasets.EMNIST(tmp_path, "all")


# ------------------------------------------------------------------------------------------------ files


def test_a_file_with_another_checksum_is_not_kept(server, tmp_path):
    url, folder = server
    (folder / "file").write_bytes(b"other")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        utils.download_url(f"{url}file", tmp_path / "here", md5="0" * 32)
    assert os.listdir(tmp_path / "here") == []
    utils.download_url(f"{url}file", tmp_path / "here", md5=hashlib.md5(b"other").hexdigest())
    assert os.listdir(tmp_path / "here") == ["file"]


def test_a_file_is_fetched_by_a_file_url_too(tmp_path):
    (tmp_path / "there").write_bytes(b"some bytes")
    utils.download_url((tmp_path / "there").as_uri(), tmp_path / "here", filename="as")
    assert (tmp_path / "here" / "as").read_bytes() == b"some bytes"


def test_archives_are_unpacked(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    with tarfile.open(tmp_path / "it.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "in", "in")
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        archive.write(tmp_path / "in" / "a.txt", "in/a.txt")
    for name in ("it.tar.gz", "it.zip"):
        (tmp_path / f"from {name}").mkdir()
        utils.extract_archive(tmp_path / name, tmp_path / f"from {name}", remove_finished=True)
        assert (tmp_path / f"from {name}" / "in" / "a.txt").read_text() == "a"
        assert not (tmp_path / name).exists()
    with pytest.raises(RuntimeError, match=r"Unknown compression or archive type: '.txt'"):
        utils.extract_archive(tmp_path / "in" / "a.txt")


@pytest.mark.parametrize("name", ["../evil", "in/../../evil", "/evil"])
def test_archives_write_nothing_outside_their_folder(tmp_path, name):
    with tarfile.open(tmp_path / "it.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with zipfile.ZipFile(tmp_path / "it.zip", "w") as archive:
        archive.writestr(name, "evil")
    for end in ("tar", "zip"):
        with pytest.raises(RuntimeError, match="lies outside of the folder"):
            utils.extract_archive(tmp_path / f"it.{end}", tmp_path / "to")


def test_archives_with_links_are_refused(tmp_path):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    with tarfile.open(tmp_path / "it.tar", "w") as archive:
        archive.addfile(link)
    with pytest.raises(RuntimeError, match="neither a file nor a folder"):
        utils.extract_archive(tmp_path / "it.tar", tmp_path / "to")


# ------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def folders(tmp_path):
    for number, name in enumerate(["cat/b.png", "cat/a.PNG", "dog/deep/c.jpg", "dog/readme.txt"]):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no picture")
        else:
            Image.new("L", (4, 3), 50 * number).save(path)
    return tmp_path / "set"


def test_image_folder(folders):
    found = datasets.ImageFolder(str(folders), transforms.ToTensor())
    assert found.classes == ["cat", "dog"] and found.class_to_idx == {"cat": 0, "dog": 1}
    assert [os.path.relpath(path, folders) for path, _ in found.imgs] == ["cat/a.PNG", "cat/b.png", "dog/deep/c.jpg"]
    assert found.samples is found.imgs and found.targets == [0, 0, 1] and len(found) == 3
    image, target = found[0]
    assert image.shape == (3, 3, 4) and target == 0 and abs(image.mean().item() - 50 / 255) < 1e-6
    assert "Number of datapoints: 3" in repr(found)
    assert repr(found).endswith("    StandardTransform\nTransform: ToTensor()")


def test_image_folder_that_lacks_something(folders):
    (folders / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"no valid file for the classes empty. Supported extensions are: .jpg, "
    ):
        datasets.ImageFolder(folders)
    assert len(datasets.ImageFolder(folders, allow_empty=True)) == 3
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder in"):
        datasets.ImageFolder(folders / "empty")


def test_dataset_folder_reads_by_its_loader(folders):
    read, is_text = (lambda path: Path(path).read_text()), (lambda path: path.endswith("txt"))
    found = datasets.DatasetFolder(folders, read, is_valid_file=is_text, allow_empty=True)
    assert found[0] == ("no picture", 1)
    with pytest.raises(ValueError, match="Both extensions and is_valid_file cannot be None or not None"):
        datasets.DatasetFolder(folders, open)


def test_fake_data_repeats_itself():
    found = datasets.FakeData(3, (3, 4, 5), 7, transforms.ToTensor())
    assert len(found) == 3 and found[1][0].shape == (3, 4, 5) and 0 <= found[1][1] < 7
    assert (found[1][0] == found[1][0]).all() and not (found[1][0] == found[2][0]).all()
    state = torch.get_rng_state()
    found[0]
    assert (torch.get_rng_state() == state).all()
    moved = datasets.FakeData(3, (3, 4, 5), 7, transforms.ToTensor(), random_offset=1)
    assert (moved[0][0] == found[1][0]).all()
    with pytest.raises(IndexError, match="FakeData index out of range"):
        found[3]


def test_pillow_reads_pictures():
    assert vision.get_image_backend() == "PIL"
    vision.set_image_backend("PIL")
    with pytest.raises(ValueError, match=r"Invalid backend 'accimage'\. Options are 'PIL'"):
        vision.set_image_backend("accimage")


def test_importing_vision_brings_no_pillow():
    code = "import sys, tritorch.vision as v; v.transforms, v.datasets, v.utils; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
