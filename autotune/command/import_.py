"""Pin tables that `export` wrote: launches take their configs before those of the store. All of them, or none.

    tritorch autotune import h100.json

A table is data: it is checked against its schema, against what numbers and texts may be, and against the spaces of the
kernels that it names, and nothing in it is ever executed. Files are copied to the cache folder; to unpin one, remove
its copy, which `tritorch autotune show` names.
"""

from __future__ import annotations

import sys

from tritorch.autotune.command.selection import Refused, need_triton, refusing
from tritorch.autotune.command.table import printable
from tritorch.autotune.figures import count_text
from tritorch.autotune.key import describe_key
from tritorch.autotune.lookup import forget
from tritorch.autotune.tables import TableError, outside, parse_table, pin, unusable
from tritorch.cli.main import FAILED, GOOD

NAME = "import"
_MOST_SHOWN = 20  # faults, and configs that are of no use here, of one file


def add_arguments(parser):
    """FILE..."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a table that `tritorch autotune export` wrote")


@refusing
def run(options):
    """Check every file, then pin them all; or name the faults and pin none."""
    need_triton()
    from tritorch import ops  # noqa: F401  every kernel of ours, to hold configs against their spaces

    read = {file: _read(file) for file in options.files}
    faults = [fault for tables in read.values() for fault in tables if isinstance(fault, str)]
    if faults:
        for fault in faults[:_MOST_SHOWN]:
            print(f"tritorch autotune import: {printable(fault)}", file=sys.stderr)
        more = f", {len(faults) - _MOST_SHOWN} of them not shown" if len(faults) > _MOST_SHOWN else ""
        raise Refused(f"{count_text(len(faults), 'fault')}{more}; nothing was imported", FAILED)
    for file, tables in read.items():
        _pin(file, tables)
    forget()
    return GOOD


def _read(file):
    """The tables of a file, or what is wrong with it as texts that say where."""
    try:
        tables = parse_table(file)
    except TableError as error:
        return [str(error)]
    faults = [
        f"{file}, entry {at} of table {number}: {reason}"
        for number, table in enumerate(tables)
        for at, row in enumerate(table.rows)
        if (reason := outside(row, table.environment))
    ]
    return faults or tables


def _pin(file, tables):
    try:
        copy = pin(file)
    except OSError as error:
        raise Refused(f"{error.filename} cannot be written: {error.strerror}", FAILED) from error
    for table in tables:
        print(printable(f"{file}: {len(table.rows)} configs for {table.environment.folder}, pinned in {copy}"))
    for at, (row, reason) in enumerate(unusable(tables)):
        if at == _MOST_SHOWN:
            print("and more of the kind", file=sys.stderr)
            break
        print(printable(f"held against no space: {describe_key(row.key)}: {reason}"), file=sys.stderr)
