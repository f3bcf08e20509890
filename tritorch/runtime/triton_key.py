"""Triton's name for its own build, which is a part of the name of all it compiled, without reading that build again.

Triton hashes its files when a process first compiles or finds something compiled: 300 MB, which takes 0.4 to 0.7 s of
each start. Here the answer is kept under $TRITORCH_CACHE_DIR/triton_keys by what the file system says of those files:
their sizes, and when they were last changed, moved or put in another's place.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from pathlib import Path

from tritorch.runtime.files import cache_folder, whole_file

_PLACES = ("_C", "backends", "compiler", "language", "runtime")  # below the package, what Triton hashes and a bit more


@functools.cache
def know_triton_key():
    """Let Triton take the key that it computed in an earlier process, or keep what it computes now."""
    import triton
    from triton.runtime import cache

    path = cache_folder() / "triton_keys" / state_of_files(Path(triton.__file__).parent)
    key = ""
    # A folder that cannot be read or written costs time at each start, and nothing else.
    with contextlib.suppress(OSError):
        key = path.read_text()
    if not key.startswith(triton.__version__):
        key = cache.triton_key()
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(key.encode())
    cache.triton_key = lambda: key


def state_of_files(package):
    """A digest of the names, sizes and times of the files of Triton's package that decide what it compiles."""
    found = hashlib.sha256()
    waiting = [package / place for place in _PLACES]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.is_dir():
                    if entry.name != "__pycache__":
                        waiting.append(entry.path)
                else:
                    state = entry.stat()
                    found.update(f"{entry.path} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
    return found.hexdigest()
