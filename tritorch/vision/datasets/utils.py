"""Fetching, checking and unpacking the files of datasets.

A file is written beside its place under another name and renamed when it is whole and its checksum is right, so that
what stands in a dataset's folder can be trusted.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

from tritorch.runtime.files import whole_file
from tritorch.utils.download import fetch


def calculate_md5(fpath, chunk_size=1024 * 1024):
    """The MD5 sum of a file, in hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(fpath, "rb") as file:
        while chunk := file.read(chunk_size):
            digest.update(chunk)
    return digest.hexdigest()


def check_md5(fpath, md5, **kwargs):
    """Whether a file has this MD5 sum."""
    return md5 == calculate_md5(fpath, **kwargs)


def check_integrity(fpath, md5=None):
    """Whether a file is there and, where one is given, has this MD5 sum."""
    return os.path.isfile(fpath) and (md5 is None or check_md5(fpath, md5))


def download_url(url, root, filename=None, md5=None, max_redirect_hops=3, *, sha256=None):
    """Fetch `url` into the folder `root`, unless the file is there and right already.

    Errors: what cannot be reached is a RuntimeError that names the URL and where the file can be put by hand; a file
    with another sum is refused.
    """
    path = os.path.join(os.path.expanduser(root), filename or os.path.basename(url))
    if not check_integrity(path, md5):
        fetch(url, path, md5=md5, sha256=sha256)


def _check_inside(name, root):
    """Refuse a path in an archive that would be written outside of its folder."""
    target = Path(root, name).resolve()
    if not target.is_relative_to(Path(root).resolve()):
        raise RuntimeError(f"the archive holds {name!r}, which lies outside of the folder it is unpacked into")


def _extract_tar(from_path, to_path, compression):
    with tarfile.open(from_path, f"r:{compression}") as archive:
        for member in archive.getmembers():
            _check_inside(member.name, to_path)
            if not (member.isfile() or member.isdir()):
                raise RuntimeError(f"the archive holds {member.name!r}, which is neither a file nor a folder")
        archive.extractall(to_path, filter="data")


def _extract_zip(from_path, to_path):
    with zipfile.ZipFile(from_path) as archive:
        for name in archive.namelist():
            _check_inside(name, to_path)
        archive.extractall(to_path)


def _open_bz2(path):
    import bz2

    return bz2.open(path)


def _open_xz(path):
    import lzma

    return lzma.open(path)


_COMPRESSIONS = {".gz": gzip.open, ".bz2": _open_bz2, ".xz": _open_xz}
_TARS = {".tar": "", ".tgz": "gz", ".tbz": "bz2", ".tbz2": "bz2", ".tar.gz": "gz", ".tar.bz2": "bz2", ".tar.xz": "xz"}


def extract_archive(from_path, to_path=None, remove_finished=False):
    """Unpack a tar or zip archive, or a single compressed file, by the end of its name; returns where it went."""
    from_path = os.fspath(from_path)
    to_path = os.path.dirname(from_path) if to_path is None else os.fspath(to_path)
    tar = next((end for end in sorted(_TARS, key=len, reverse=True) if from_path.endswith(end)), None)
    ending = os.path.splitext(from_path)[1]
    if tar is not None:
        _extract_tar(from_path, to_path, _TARS[tar])
    elif ending == ".zip":
        _extract_zip(from_path, to_path)
    elif ending in _COMPRESSIONS:
        plain = os.path.splitext(os.path.basename(from_path))[0]
        to_path = os.path.join(to_path, plain) if os.path.isdir(to_path) else to_path
        with _COMPRESSIONS[ending](from_path) as packed, whole_file(to_path) as file:
            shutil.copyfileobj(packed, file)
    else:
        known = sorted({*_TARS, *_COMPRESSIONS, ".zip"})
        raise RuntimeError(f"Unknown compression or archive type: '{ending}'.\nKnown suffixes are: '{known}'.")
    if remove_finished:
        os.remove(from_path)
    return to_path


def download_and_extract_archive(url, download_root, extract_root=None, filename=None, md5=None, remove_finished=False):
    """Fetch an archive into `download_root` and unpack it there, or in `extract_root`."""
    download_root = os.path.expanduser(download_root)
    filename = filename or os.path.basename(url)
    download_url(url, download_root, filename, md5)
    extract_archive(os.path.join(download_root, filename), extract_root or download_root, remove_finished)


def list_dir(root, prefix=False):
    """The folders in a folder; with their whole paths if `prefix`."""
    root = os.path.expanduser(root)
    found = [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name))]
    return [os.path.join(root, name) for name in found] if prefix else found


def list_files(root, suffix, prefix=False):
    """The files in a folder whose names end in `suffix`; with their whole paths if `prefix`."""
    root = os.path.expanduser(root)
    found = [name for name in os.listdir(root) if os.path.isfile(os.path.join(root, name)) and name.endswith(suffix)]
    return [os.path.join(root, name) for name in found] if prefix else found


def verify_str_arg(value, arg=None, valid_values=None):
    """`value`, if it is one of those permitted."""
    if not isinstance(value, str):
        of = "Expected type str" if arg is None else f"Expected type str for argument {arg}"
        raise ValueError(f"{of}, but got type {type(value)}.")
    if valid_values is not None and value not in valid_values:
        listed = ", ".join(f"'{each}'" for each in valid_values)
        raise ValueError(f"Unknown value '{value}' for argument {arg}. Valid values are {{{listed}}}.")
    return value
