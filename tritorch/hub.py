"""Checkpoints from the network: `load_state_dict_from_url` fetches a file once, checks it, and loads it.

Files are kept where PyTorch keeps them ($TORCH_HOME/hub, else $XDG_CACHE_HOME/torch/hub, else ~/.cache/torch/hub), so
that what one has fetched the other finds. Models made by code from the network are refused.
"""

from __future__ import annotations

import io
import os
import re
import sys
import zipfile
from urllib.parse import urlparse

from tritorch.refused import refuse_all
from tritorch.serialization import load as _load_file
from tritorch.utils.download import fetch

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")

globals().update(
    refuse_all(
        "hub",
        ("load", "list", "help"),
        "it would run code of a repository from the network, written for PyTorch. Fetch the repository, build the "
        "model with its code under `tritorch run`, and load its weights with hub.load_state_dict_from_url() or load().",
    )
)
_hub_dir: str | None = None


def get_dir():
    """The folder that fetched files are kept in."""
    if _hub_dir is not None:
        return _hub_dir
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    return os.path.join(os.path.expanduser(os.getenv("TORCH_HOME", os.path.join(cache, "torch"))), "hub")


def set_dir(d):
    """Keep fetched files in the folder `d`."""
    global _hub_dir
    _hub_dir = os.path.expanduser(d)


def download_url_to_file(url, dst, hash_prefix=None, progress=True):
    """Fetch a URL to a path, whole or not at all; its SHA-256 must start with `hash_prefix` where that is given.

    Raises RuntimeError where it cannot be reached, with the path to put the file at by hand, or has another hash.
    """
    fetch(url, dst, sha256=hash_prefix, progress=progress)


def load_state_dict_from_url(url, model_dir=None, map_location=None, progress=True, check_hash=False, file_name=None,
                             weights_only=False):  # fmt: skip
    """What `tritorch.load` reads from the file at a URL, which is fetched where `model_dir` does not have it yet.

    With `check_hash` the name must be such as `resnet18-5c106cde.pth`, of which the digits start the file's SHA-256.
    """
    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else os.path.expanduser(model_dir)
    os.makedirs(folder, exist_ok=True)
    name = os.path.basename(urlparse(url).path) if file_name is None else file_name
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        sys.stdout.write(f'Downloading: "{url}" to {path}\n')
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return _load_file(_unzipped(path), map_location=map_location, weights_only=weights_only)


def _unzipped(path):
    """The file itself, or the only file in it where it is a zip archive made around a checkpoint."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) != 1 or infos[0].filename.endswith(".npy"):
            return path
        if infos[0].file_size > 20 * os.path.getsize(path):
            raise RuntimeError(f"load_state_dict_from_url(): {path} unpacks to {infos[0].file_size} bytes: a zip bomb")
        return io.BytesIO(archive.read(infos[0]))
