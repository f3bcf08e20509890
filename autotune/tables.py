"""Tables: winners that can be carried to another machine, as JSON that is checked and never executed.

    {"format": 1, "written_by": "tritorch 0.1.0", "tables": [
      {"environment": {...}, "entries": [{"key": {...}, "config": {...}, "seconds": 1e-3, "default_seconds": 2e-3}]}]}

A table counts where a user pins it (`pin`, or TRITORCH_AUTOTUNE_TABLE names it) and where it came with the package
(the folder `bundled` beside this file).
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import tritorch
from tritorch.autotune.device import DeviceInfo, Environment
from tritorch.autotune.key import POLICIES, Key, describe_key, source_hash
from tritorch.autotune.store import NOT_JSON, environment_from, read_json
from tritorch.autotune.trial import config_from_json, config_to_json
from tritorch.autotune.tunable import KERNELS
from tritorch.runtime.files import cache_folder, whole_file

FORMAT = 1
BUNDLED = Path(__file__).parent / "bundled"
_MOST_ENTRIES, _MOST_ITEMS, _LONGEST_TEXT, _LARGEST_NUMBER, _LONGEST_TIME = 100_000, 64, 4096, 1 << 62, 1e5


class TableError(ValueError):
    """A file is no table, or holds what no table may; the message says where."""


@dataclass(frozen=True)
class Row:
    """The winner of a key, how long it took, and how long the default config took (None where nobody measured)."""

    key: Key
    config: dict
    seconds: float
    default_seconds: float | None = None


@dataclass(frozen=True)
class Table:
    """What was found in one environment."""

    environment: Environment
    rows: tuple[Row, ...]


def write_table(path, tables):
    """Write Tables to a file, whole or not at all: one line an entry, for people and for diff."""
    parts = []
    for table in tables:
        rows = ",\n".join(f"   {json.dumps(_row_to_json(row), allow_nan=False)}" for row in table.rows)
        environment = json.dumps(asdict(table.environment))
        parts.append(f'  {{"environment": {environment}, "entries": [\n{rows}\n  ]}}')
    head = f'"format": {FORMAT}, "written_by": {json.dumps(f"tritorch {tritorch.__version__}")}'
    with whole_file(path) as file:
        file.write(f'{{{head}, "tables": [\n{",".join(parts)}\n]}}\n'.encode())


def _row_to_json(row):
    found = {"key": row.key.to_json(), "config": config_to_json(row.config), "seconds": row.seconds}
    return found if row.default_seconds is None else found | {"default_seconds": row.default_seconds}


def read_table(path):
    """The Tables of a file, checked: its schema, its ranges, and that every config lies in its kernel's space.

    A TableError names the file and the entry. Entries of kernels that are not there, or have other code now, cannot be
    held against a space; `unusable` names them, and no launch takes them.
    """
    tables = parse_table(path)
    for table in tables:
        for row in table.rows:
            reason = outside(row, table.environment)
            if reason:
                raise TableError(f"{path}: {describe_key(row.key)}: {reason}")
    return tables


def parse_table(path):
    """The Tables of a file, with schema and ranges checked; a TableError names what is wrong with it."""
    try:
        found = _fields(read_json(path), "the table", {"format", "tables"}, {"written_by"})
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']!r}, this tritorch reads {FORMAT}")
        return [_table(each, f"table {at}") for at, each in enumerate(_list(found["tables"], "tables", _MOST_ENTRIES))]
    except OSError as error:
        raise TableError(f"{path}: {error.strerror}") from error
    except NOT_JSON as error:
        raise TableError(f"{path} is no tuning table: {error}") from error


def _table(found, where):
    _fields(found, where, {"environment", "entries"})
    rows = _list(found["entries"], f"the entries of {where}", _MOST_ENTRIES)
    environment = environment_from(_fields(found["environment"], f"the environment of {where}"))
    return Table(environment, tuple(_row(each, f"entry {at} of {where}") for at, each in enumerate(rows)))


def _row(found, where):
    _fields(found, where, {"key", "config", "seconds"}, {"default_seconds"})
    seconds = _seconds(found["seconds"], f"seconds of {where}")
    default = found.get("default_seconds")
    if default is not None:
        default = _seconds(default, f"default_seconds of {where}")
    config = _fields(found["config"], f"the config of {where}")
    for name, value in config.items():
        for each in _list(value, f"{name} of {where}", _MOST_ITEMS) if isinstance(value, list) else (value,):
            _plain(each, f"{name} of {where}")
    return Row(_key(found["key"], where), config_from_json(config), seconds, default)


def _key(found, where):
    _fields(found, f"the key of {where}", {"kernel", "source", "policy", "arrays", "facts", "sizes"})
    arrays = _list(found["arrays"], f"the arrays of {where}", _MOST_ITEMS)
    facts, sizes = (_fields(found[name], f"the {name} of {where}") for name in ("facts", "sizes"))
    for text in (found["kernel"], found["source"], *arrays, *facts.values()):
        if type(text) is not str or len(text) > _LONGEST_TEXT:
            raise ValueError(f"the key of {where} is made of texts, got {str(text)[:80]!r}")
    for name, size in sizes.items():
        if type(size) is not list or list(map(type, size)) != [int, bool] or not 0 <= size[0] <= _LARGEST_NUMBER:
            raise ValueError(f"size {name} of {where} is {str(size)[:80]}, it takes [a number, true or false]")
    if found["policy"] not in POLICIES:
        raise ValueError(f"the policy of {where} is {str(found['policy'])[:80]!r}, which is none of {POLICIES}")
    return Key.from_json(found)


def _fields(found, where, needed=frozenset(), allowed=None):
    """`found` as a dict with the fields `needed` and no others than those `allowed`, any where that is None."""
    if type(found) is not dict:
        raise TypeError(f"{where} is {type(found).__name__}, it takes an object")
    if len(found) > _MOST_ITEMS or any(len(name) > _LONGEST_TEXT for name in found):
        raise ValueError(f"{where} has too many fields, or too long names")
    missing = sorted(needed - found.keys())
    unknown = sorted(found.keys() - needed - (allowed or set())) if needed else []
    if missing or unknown:
        words = [f"has no {name!r}" for name in missing] + [f"has an unknown field {name[:80]!r}" for name in unknown]
        raise ValueError(f"{where} {' and '.join(words)}")
    return found


def _list(found, where, most):
    if type(found) is not list:
        raise TypeError(f"{where} is {type(found).__name__}, it takes a list")
    if len(found) > most:
        raise ValueError(f"{where} has {len(found)} items, more than {most}")
    return found


def _plain(value, where):
    """Refuse what no knob can be."""
    right = (
        type(value) is bool
        or (type(value) is int and abs(value) <= _LARGEST_NUMBER)
        or (type(value) is float and math.isfinite(value))
        or (type(value) is str and len(value) <= _LONGEST_TEXT)
    )
    if not right:
        raise ValueError(f"{where} is {str(value)[:80]}, it takes a number or a text")


def _seconds(value, where):
    if type(value) not in (int, float) or not 0 < value <= _LONGEST_TIME:
        raise ValueError(f"{where} is {str(value)[:80]}, it takes a time above 0")
    return float(value)


def outside(row, environment):
    """What the space of a row's kernel has against its config, "" for nothing or where that space is not known."""
    kernel = KERNELS.get(row.key.kernel)
    if kernel is None or source_hash(kernel) != row.key.source:
        return ""
    try:
        kernel.space.check_values(row.config, row.key.kernel)
    except ValueError as error:
        return str(error)
    fits = kernel.space.allows(row.config, device=device_of(environment))
    return "" if fits else f"{row.key.kernel}: {config_to_json(row.config)} breaks a condition of its space"


def unusable(tables):
    """Each row that no launch here will take, with the reason: its kernel is not there, or has other code now."""
    for table in tables:
        for row in table.rows:
            kernel = KERNELS.get(row.key.kernel)
            if kernel is None:
                yield row, f"there is no kernel {row.key.kernel}"
            elif source_hash(kernel) != row.key.source:
                yield row, f"{row.key.kernel} has other code now ({source_hash(kernel)}, the table's {row.key.source})"


def device_of(environment):
    """The DeviceInfo that an Environment tells of."""
    kind = "cuda" if environment.capability else "interpreter"
    return DeviceInfo(kind, environment.sms, environment.shared_memory, environment.capability, environment.device)


def pinned_folder():
    """Where tables lie that a user has pinned."""
    return cache_folder() / "autotune" / "pinned"


def pin(path):
    """Let launches of this user take the configs of a table; gives the copy that they take them from."""
    tables = read_table(path)
    folder = pinned_folder()
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / f"{re.sub('[^A-Za-z0-9._-]+', '-', Path(path).stem).lstrip('.') or 'table'}.json"
    write_table(copy, tables)
    return copy


def named_tables():
    """The tables that TRITORCH_AUTOTUNE_TABLE names, several with a colon (on Windows a semicolon) between them."""
    return [Path(each) for each in os.environ.get("TRITORCH_AUTOTUNE_TABLE", "").split(os.pathsep) if each]


def tables_in(folder):
    """The files of tables in a folder, none where it cannot be listed."""
    try:
        return sorted(each for each in folder.iterdir() if each.suffix == ".json" and not each.name.startswith("."))
    except OSError:
        return []
