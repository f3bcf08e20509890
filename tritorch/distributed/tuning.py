"""Tuning tables equal on all ranks at start: the configs that rank 0 would launch are those that all launch.

Ranks may have cache folders of their own, with other winners in them. Kernels that sum in another order then give other
bits, and the slowest config holds up everybody. So rank 0 puts a digest of what its lookup would answer, and the
answers themselves, into the store. A rank whose digest differs reads them and looks them up from then on, in a
temporary folder: its own cache stays as it is, and counts again for its next process.
"""

from __future__ import annotations

import atexit
import base64
import json
import os
import re
import shutil
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

from tritorch.autotune import lookup
from tritorch.autotune.device import INTERPRETER, cuda_info, environment_of
from tritorch.autotune.digest import digest_of
from tritorch.autotune.store import Store, entry_text, file_name, is_entry
from tritorch.runtime.cuda import driver

_MODE = "TRITORCH_AUTOTUNE"
_followed: list = []  # (temporary folder of what is followed, the process that made it), while it is
_times = 0  # how often the ranks have come together in this process


def make_equal(store, rank, size):
    """Let all ranks launch what rank 0 would; every rank of a group calls it with the group's store."""
    global _times
    if size == 1:
        return
    _times += 1
    _forget()
    own = view()
    digest, place = digest_of(own, 32), f"tuning/{_times}"
    if rank == 0:
        packed = zlib.compress(json.dumps(own).encode())
        store.set(f"{place}/view", base64.b64encode(packed).decode())
        store.set(f"{place}/digest", digest)  # last: who reads it finds the view
    elif _text(store.get(f"{place}/digest")) != digest:
        _follow(json.loads(zlib.decompress(base64.b64decode(store.get(f"{place}/view")))))


@atexit.register
def _forget():
    """Look up in this process's own cache again."""
    while _followed:
        folder, process = _followed.pop()
        lookup.follow_nobody()
        if process == os.getpid():  # else it is the parent's, who goes on with it
            shutil.rmtree(folder, ignore_errors=True)


def _text(found):
    return found.decode() if isinstance(found, bytes) else found


def view():
    """What decides lookup's answers here beside the program: the mode, pinned tables, and the cache's entries."""
    store, mode = Store(), lookup.mode()
    if mode == lookup.OFF:
        return {"mode": mode, "pinned": [], "entries": {}}
    devices = [INTERPRETER]
    if driver.is_available():
        devices.append(cuda_info(driver.current_device()))
    entries = {}
    for environment in map(environment_of, devices):
        if found := _entries(store, environment):
            entries[environment.folder] = found
    pinned = [path.read_text(errors="replace") for path in lookup.pinned_files() if path.is_file()]
    return {"mode": mode, "pinned": pinned, "entries": entries}


def _entries(store, environment):
    """The entries of an environment as texts, by file name; read as they are, since there may be hundreds."""
    if not store.lasts:  # what no disk takes is in memory
        return {file_name(each.key): entry_text(each) for each in store.entries(environment)}
    folder, found = store.folder(environment), {}
    for name in sorted(store.names(environment)):
        with suppress(FileNotFoundError):  # somebody has removed it since
            found[name] = (folder / name).read_text(errors="replace")
    return found


def _follow(found):
    """Look up what another rank's `view` holds from now on."""
    temporary = tempfile.mkdtemp(prefix="tritorch-tuning-")
    _followed.append((temporary, os.getpid()))
    root, pinned = Path(temporary, "autotune"), []
    for folder, files in found["entries"].items():
        for name, text in files.items():
            if not (re.fullmatch(r"[\w-]+", folder) and re.fullmatch(r"[\w-]+\.json", name) and is_entry(name)):
                raise RuntimeError(f"tuning tables of rank 0: {folder}/{name} is not the name of an entry")
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_text(text)
    for at, text in enumerate(found["pinned"]):
        path = Path(temporary, f"pinned-{at:04d}.json")
        path.write_text(text)
        pinned.append(path)
    os.environ[_MODE] = found["mode"]
    lookup.follow(root, pinned)
