"""Checkpoints from the network: fetched once from a server made here, checked, and refused where something is wrong."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile

import pytest

import tritorch as torch
from tritorch.utils import model_zoo


@pytest.fixture
def server(tmp_path):
    """A server of a folder: the folder, its address, and the paths it was asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, format, *args):
            asked.append(self.path)

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{running.server_port}", asked
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


def checkpoint():
    stream = io.BytesIO()
    torch.serialization.save_torch({"w": torch.ones(2)}, stream)
    return stream.getvalue()


def test_a_checkpoint_is_fetched_once_and_checked(server, cache, capsys):
    folder, address, asked = server
    name = f"net-{hashlib.sha256(checkpoint()).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(checkpoint())
    for load in (torch.hub.load_state_dict_from_url, model_zoo.load_url):
        assert load(f"{address}/{name}", check_hash=True, map_location="cpu")["w"].tolist() == [1, 1]
    assert len(asked) == 1 and [entry.name for entry in cache.iterdir()] == [name]
    assert capsys.readouterr().out == f'Downloading: "{address}/{name}" to {cache / name}\n'


def test_another_hash_is_refused_and_nothing_is_kept(server, cache):
    folder, address, _ = server
    (folder / "net-01234567.pth").write_bytes(checkpoint())
    with pytest.raises(RuntimeError, match='invalid hash value \\(expected "01234567", got "'):
        torch.hub.load_state_dict_from_url(f"{address}/net-01234567.pth", check_hash=True)
    assert not list(cache.iterdir())


def test_what_cannot_be_reached_says_where_to_put_the_file(server, cache):
    _, address, _ = server
    with pytest.raises(RuntimeError, match=r"could not be fetched \(HTTP Error 404.*put the file at .*checkpoints/no"):
        torch.hub.load_state_dict_from_url(f"{address}/no.pth")
    with pytest.raises(RuntimeError, match="could not be fetched"):
        torch.hub.load_state_dict_from_url("http://127.0.0.1:9/no.pth")
    assert not list(cache.iterdir())


def test_a_file_in_the_folder_needs_no_network(cache, tmp_path):
    (tmp_path / "own.pth").write_bytes(checkpoint())
    found = torch.hub.load_state_dict_from_url("http://127.0.0.1:9/x.pth", model_dir=tmp_path, file_name="own.pth")
    assert found["w"].tolist() == [1, 1]


def test_a_checkpoint_packed_into_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "old.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("old.pth", checkpoint())
    assert torch.hub.load_state_dict_from_url("http://x/old.zip", str(tmp_path))["w"].tolist() == [1, 1]


def test_folders(monkeypatch, tmp_path):
    assert torch.hub.get_dir() == str(tmp_path / "home" / "hub")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert torch.hub.get_dir() == "/x/torch/hub"
    monkeypatch.setattr("tritorch.hub._hub_dir", None)
    torch.hub.set_dir("/y")
    assert torch.hub.get_dir() == "/y"


@pytest.mark.parametrize("name", ["load", "list", "help"])
def test_code_from_the_network_is_refused(name):
    with pytest.raises(NotImplementedError, match=rf"hub\.{name}\(\) is not in tritorch: it would run code"):
        getattr(torch.hub, name)("pytorch/vision", "resnet18")
