"""Files from the network: fetched whole, checked, and put in their place only then."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import urllib.request

from tritorch.runtime.files import whole_file

_PART = 128 * 1024
_TIMEOUT = 60  # seconds without an answer


def fetch(url, path, *, md5=None, sha256=None, progress=True):
    """Fetch a URL to a path; its MD5 sum must be `md5` where that is given, its SHA-256 sum start with `sha256`.

    Raises RuntimeError where it cannot be reached, with the path to put the file at by hand, where it ends too early,
    or where it has another sum.
    """
    path = os.path.expanduser(os.fspath(path))
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    request = urllib.request.Request(url, headers={"User-Agent": "tritorch"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response, whole_file(path) as file:
            _copy(response, file, os.path.basename(path), md5, sha256, progress)
    except OSError as error:  # no network, no such host, no such file: all of urllib's errors are of this kind
        raise RuntimeError(
            f"{url} could not be fetched ({error}). Without a network, put the file at {os.path.abspath(path)}"
        ) from error


def _copy(response, file, name, md5, sha256, progress):
    length = response.headers.get("Content-Length")
    digest = hashlib.md5(usedforsecurity=False) if md5 is not None else hashlib.sha256()
    done = 0
    with progress_of_bytes(name, int(length) if length else None, progress) as told:
        while part := response.read(_PART):
            file.write(part)
            digest.update(part)
            done += len(part)
            told(len(part))
    if length and done != int(length):
        raise RuntimeError(f"{response.url} ended after {done} of {length} bytes")
    expected, found = md5 or sha256 or "", digest.hexdigest()
    if not found.startswith(expected):
        raise RuntimeError(f'invalid hash value (expected "{expected}", got "{found}") of {response.url}')


@contextlib.contextmanager
def progress_of_bytes(name, total, wanted=True):
    """A function to be told of each piece of bytes, which moves a bar where there is a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total)
        yield lambda size: bar.advance(task, size)
