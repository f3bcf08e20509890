"""Where files of our own go, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import tempfile
from pathlib import Path


def cache_folder():
    """Where compiled kernels, tuning results and data sets are kept."""
    chosen = os.environ.get("TRITORCH_CACHE_DIR")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tritorch"
    except RuntimeError:  # a user without a home, as in some containers: a folder that nothing can be written to
        return Path(os.devnull) / "tritorch"


@contextlib.contextmanager
def whole_file(path):
    """A binary file to write, which takes its place at `path` when the block has ended without an error.

    Until then it has another name in the same folder; it is on the disk before it takes an old file's place, and gets
    the old file's permissions.
    """
    with _temporary(path) as (file, temporary):
        yield file
        _finish(file, temporary, path)
        os.replace(temporary, path)


def replace_file(path, data):
    """Put a file with the bytes `data` at `path`, whole and on the disk; gives the bytes it took the place of, or None.

    Of many processes that do so at once, each version is given to exactly one, the one that took it away, so nobody's
    bytes are lost unseen. Where the file system cannot exchange two names (network folders), what another process puts
    there between our last look and our rename is not seen.
    """
    with _temporary(path) as (file, temporary):
        file.write(data)
        _finish(file, temporary, path)
        before = _take_place(temporary, path)
    _sync_folder(os.path.dirname(path))
    return before


def replace_folder(temporary, path):
    """Give a folder the name `path`, of a folder beside it, whose old one is removed, or of nothing.

    Whenever this is interrupted, one of the two is at `path`; but where the file system cannot exchange two names, the
    old one has, for a moment, ".old" behind its name.
    """
    _sync_folder(temporary)
    parent, old = os.path.dirname(os.path.abspath(path)), f"{os.fspath(path)}.old"
    exchange = _exchange()
    if not os.path.exists(path):
        os.rename(temporary, path)
    elif exchange is not None and exchange(temporary, path) == 0:
        old = temporary
    else:
        if os.path.exists(old):  # left by one that was interrupted, and `path` is newer
            shutil.rmtree(old)
        os.rename(path, old)
        os.rename(temporary, path)
    _sync_folder(parent)
    if os.path.exists(old):
        shutil.rmtree(old)


@contextlib.contextmanager
def _temporary(path):
    """An empty file beside `path` to write to, and its name; it is removed if it still has its own name at the end."""
    folder, name = os.path.split(os.path.abspath(os.fspath(path)))
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _finish(file, temporary, path):
    """Have the file `temporary` on the disk, with the permissions it needs at `path`, and closed."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    os.chmod(temporary, _permissions(path))


def _take_place(temporary, path):
    """Give the file `temporary` the name `path`; gives the bytes of the file that had it, or None."""
    exchange = _exchange()
    while exchange is not None:
        try:
            os.link(temporary, path)
            return None
        except FileExistsError:
            pass
        except OSError:  # no second names here
            break
        code = exchange(temporary, path)
        if code == 0:
            return Path(temporary).read_bytes()
        if code != errno.ENOENT:  # else it was removed meanwhile
            break
    before = Path(path).read_bytes() if os.path.exists(path) else None
    os.replace(temporary, path)
    return before


@functools.cache
def _exchange():
    """A function that exchanges two files' names and gives 0 or the error's number; None where the system has none."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return None
    from_here, both_ways = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux

    def exchange(one, other):
        names = os.fsencode(one), os.fsencode(other)
        return 0 if rename(from_here, names[0], from_here, names[1], both_ways) == 0 else ctypes.get_errno()

    return exchange


def _sync_folder(folder):
    """Have the names in a folder on the disk, not only the files; nothing to do on a system without that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _permissions(path):
    """What the file has that is replaced, or what a new file gets."""
    if os.path.exists(path):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
