"""The store: what was found out about configs, one readable file an entry, safe with many processes and no locks.

    <cache>/autotune/<device>-<digest of the environment>/manifest.json
                                                         /<kernel>-<digest of the key>.json

A file is replaced whole and on the disk before it counts. Whoever replaces one gets the version that stood there, and
where that holds a trial of another process writes once more with both, so that concurrent writers lose nothing.
"""

from __future__ import annotations

import json
import platform
import time
import warnings
from dataclasses import asdict, fields, replace
from pathlib import Path

import tritorch
from tritorch.autotune.device import Environment
from tritorch.autotune.search import EFFORTS
from tritorch.autotune.trial import OK, Entry, config_name
from tritorch.runtime.files import cache_folder, replace_file

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST = 64 << 20  # bytes of a file; what is larger was not written here
_LEFT_OVER = 3600.0  # seconds after which a temporary file's writer is taken to be dead
NOT_JSON = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
    OverflowError,
)  # of a file that is no entry
NOWHERE = (FileNotFoundError, NotADirectoryError)

_warned: set[str] = set()
_memory: dict[Path, Entry] = {}  # entries of this process that no disk would take, by the file they belong in
_cleaned: set[Path] = set()


def warn_once(about, text):
    """Warn with `text`, once a process for each `about`."""
    if about not in _warned:
        _warned.add(about)
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def forget_warnings():
    """Warn again about what was warned about before, and forget what is only in memory."""
    _warned.clear()
    _memory.clear()
    _cleaned.clear()


def read_json(path):
    """What a JSON file of this tuner holds; an OSError or one of NOT_JSON where there is none."""
    return parse_json(_bytes_of(path))


def _bytes_of(path):
    """What a file holds, cut where it is too large to have been written here."""
    with open(path, "rb") as file:
        return file.read(LARGEST + 1)


def parse_json(data):
    """The value that bytes of JSON spell, without the numbers that JSON does not have; one of NOT_JSON else."""
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST >> 20} MiB")
    return json.loads(data.decode(), parse_constant=_refuse_constant)


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


class Store:
    """The entries under one folder, by default `autotune` in the cache folder.

    Where that cannot be written they are kept in memory, with one warning. A file that is no entry is a miss, with one
    warning that names it, and the next `save` replaces it.
    """

    def __init__(self, root=None):
        self.root = Path(root) if root is not None else cache_folder() / "autotune"
        self._last: tuple = (None, None, None)  # path, bytes and entry of the last save: most saves add to it

    @property
    def lasts(self):
        """Whether all that was saved is on disk, for other processes and later ones."""
        return not any(path.is_relative_to(self.root) for path in _memory)

    def folder(self, environment):
        """Where the entries of an environment lie."""
        return self.root / environment.folder

    def path(self, environment, key):
        """The file of a key's entry."""
        return self.folder(environment) / file_name(key)

    def load(self, environment, key):
        """The Entry of a key, or None."""
        path = self.path(environment, key)
        if path in _memory:
            return _copy(_memory[path])
        try:
            return self._parse(path, _bytes_of(path))
        except NOWHERE:
            return None
        except OSError as error:
            warn_once(str(path), f"autotune: {path} cannot be read ({error.strerror}); its kernel takes its default")
            return None

    def save(self, environment, entry):
        """Add what an Entry holds to what is known of its key; gives both together, as they are in the store now.

        Of two trials of one config the failure counts, then the one from the finals, then this one.
        """
        path = self.path(environment, entry.key)
        whole = _copy(entry)
        if path in _memory:
            whole = merged(_memory[path], whole)
        try:
            found = _bytes_of(path) if path.exists() else None
            whole = merged(self._known(path, found), whole)
            self._make_folder(environment)
            whole = self._write(path, whole, found)
        except OSError as error:
            _memory[path] = whole
            warn_once(
                "memory",
                f"autotune: {self.root} cannot be written ({error.strerror}); what is found out is kept until this "
                "process ends. Set TRITORCH_CACHE_DIR to a folder that can be written.",
            )
        else:
            _memory.pop(path, None)
        return _copy(whole)

    def _known(self, path, found):
        """The entry that the bytes of a file are, None where they are none; those written last need no reading."""
        last_path, last_bytes, last = self._last
        return last if (last_path, last_bytes) == (path, found) else self._parse(path, found)

    def _write(self, path, whole, found):
        """Put `whole` where the bytes `found` stand; gives it with what others have put there meanwhile."""
        while True:
            data = entry_text(whole).encode()
            if data == found:
                break
            before = replace_file(path, data)
            if before is None or before == found:
                break
            more = merged(self._parse(path, before), whole)  # another process was between
            if more is whole:
                break
            whole, found = more, data
        self._last = (path, data, _copy(whole))
        return whole

    def _parse(self, path, data):
        """The entry that a file's bytes are, None with a warning where they are none or another key's."""
        if data is None:
            return None
        try:
            found = parse_json(data)
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']!r}, this tritorch reads {FORMAT}")
            entry = Entry.from_json(found)
            if file_name(entry.key) != path.name:
                raise ValueError("it holds the entry of another key")
        except NOT_JSON as error:
            warn_once(str(path), f"autotune: {path} is no entry and is not used ({_reason(error)})")
            return None
        return entry

    def entries(self, environment):
        """Every Entry of an environment, by file name."""
        folder = self.folder(environment)
        found = {}
        for name in sorted(self.names(environment)):
            path = folder / name
            try:
                entry = _copy(_memory[path]) if path in _memory else self._parse(path, _bytes_of(path))
            except OSError as error:
                warn_once(str(path), f"autotune: {path} cannot be read ({error.strerror})")
                continue
            if entry is not None:
                found[name] = entry
        return list(found.values())

    def names(self, environment):
        """The file names of an environment's entries, without reading them."""
        folder = self.folder(environment)
        names = {path.name for path in _memory if path.parent == folder}
        try:
            names.update(each.name for each in folder.iterdir() if is_entry(each.name))
        except NOWHERE:
            pass
        except OSError as error:
            warn_once(str(folder), f"autotune: {folder} cannot be read ({error.strerror}); kernels take their defaults")
        return names

    def environments(self):
        """Each environment there are entries of, with its folder."""
        found = []
        try:
            folders = sorted(each for each in self.root.iterdir() if each.is_dir())
        except NOWHERE:
            return found
        for folder in folders:
            manifest = folder / MANIFEST
            try:
                environment = environment_from(read_json(manifest)["environment"])
            except NOWHERE:
                continue
            except (OSError, *NOT_JSON) as error:
                warn_once(str(manifest), f"autotune: {manifest} is no manifest, its folder is left out ({error})")
                continue
            if environment.folder == folder.name:
                found.append((environment, folder))
        return found

    def remove(self, environment, key=None):
        """Remove the entry of a key, or all of an environment with its folder; gives how many files went."""
        folder = self.folder(environment)
        names = self.names(environment) if key is None else {file_name(key)}
        gone = 0
        for name in names:
            kept = _memory.pop(folder / name, None)
            there = (folder / name).exists()
            (folder / name).unlink(missing_ok=True)
            gone += there or kept is not None
        self._last = (None, None, None)
        if key is None and folder.is_dir():
            for each in (folder / MANIFEST, *folder.glob(".*.tmp")):
                each.unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()
        return gone

    def _make_folder(self, environment):
        """The folder of an environment with its manifest, rid once a process of what dead writers left."""
        folder = self.folder(environment)
        if folder in _cleaned and folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "format": FORMAT,
            "environment": asdict(environment),
            "written_by": f"tritorch {tritorch.__version__}",
            "python": platform.python_version(),
            "host": platform.node(),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        if not self._has_manifest(folder, environment):
            replace_file(folder / MANIFEST, json.dumps(manifest, indent=1).encode() + b"\n")
        for each in folder.glob(".*.tmp"):
            try:
                if time.time() - each.stat().st_mtime > _LEFT_OVER:
                    each.unlink()
            except NOWHERE:  # its writer, or another who cleans, was faster
                continue
        _cleaned.add(folder)

    @staticmethod
    def _has_manifest(folder, environment):
        try:
            return environment_from(read_json(folder / MANIFEST)["environment"]) == environment
        except (OSError, *NOT_JSON):  # none, or none that can be read: it is written anew
            return False


def file_name(key):
    """The name of the file that holds a key's entry: the kernel for people, the digest for certainty."""
    return f"{key.kernel.rpartition('.')[2]}-{key.digest}.json"


def is_entry(name):
    """Whether a file of an environment's folder is an entry, by its name."""
    return name.endswith(".json") and name != MANIFEST and not name.startswith(".")


def environment_from(found):
    """The Environment whose fields are `found`; one of NOT_JSON where it is none."""
    kinds = {each.name: {"str": str, "int": int}[str(each.type)] for each in fields(Environment)}
    if set(found) != set(kinds):
        raise ValueError(f"an environment has the fields {', '.join(kinds)}, got {', '.join(map(str, found))}")
    for name, kind in kinds.items():
        if type(found[name]) is not kind:
            raise TypeError(f"field {name!r} of an environment is {found[name]!r}")
    return Environment(**found)


_encode = json.JSONEncoder(allow_nan=False).encode


def entry_text(entry):
    """An entry as the text of its file: JSON with one line a field and one line a trial, for people and for diff."""
    found = {"format": FORMAT, **entry.to_json()}
    trials = found.pop("trials")
    lines = [f" {_encode(name)}: {_encode(value)},\n" for name, value in found.items()]
    trials = ",\n".join(f"  {_encode(each)}" for each in trials)
    return f'{{\n{"".join(lines)} "trials": [\n{trials}\n ]\n}}\n'


def merged(there, ours):
    """What two entries of one key know together; `ours` itself where the other adds nothing."""
    if there is None:
        return ours
    mine = {config_name(each.config): each for each in ours.trials}
    adds = any(_weight(each) > _weight(mine.get(config_name(each.config))) for each in there.trials)
    furthest = there if _effort(there) > _effort(ours) else ours
    problem, work = ours.problem or there.problem, ours.work or there.work
    if not adds and furthest is ours and (problem, work) == (ours.problem, ours.work):
        return ours
    trials = {}
    for each in there.trials:  # in the order they were made: a tie goes to the earlier one
        other = mine.pop(config_name(each.config), None)
        trials[config_name(each.config)] = each if _weight(each) > _weight(other) else other
    return replace(
        ours, trials=[*trials.values(), *mine.values()], finished=furthest.finished, space=furthest.space,
        problem=problem, work=work,
    )  # fmt: skip


def _effort(entry):
    """How much the last sweep that was finished has tried."""
    return list(EFFORTS).index(entry.finished) if entry.finished in EFFORTS else -1


def _weight(trial):
    """Which of two trials of one config counts: a failure, since it may come again, then a timing of the finals."""
    if trial is None:
        return 0
    return 3 if trial.state != OK else 2 if trial.final is not None else 1


def _copy(entry):
    return replace(entry, trials=list(entry.trials))


def _reason(error):
    return f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
