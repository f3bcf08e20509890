"""Write the winners of the store as a table: one JSON file, to be imported or pinned on other machines.

    tritorch autotune export -o h100.json --environment H100
    tritorch autotune export matmul softmax --device cuda

A table holds for the environment it was made in, whatever the driver: same GPU, same Triton, same kernel source.
TRITORCH_AUTOTUNE_TABLE=h100.json pins it for one process, `tritorch autotune import` for good.
"""

from __future__ import annotations

import sys

from tritorch.autotune.command.selection import Refused, add_selection, refusing, selected
from tritorch.autotune.figures import figures_of
from tritorch.autotune.key import describe_key
from tritorch.autotune.store import Store
from tritorch.autotune.tables import Row, Table, write_table
from tritorch.cli.main import FAILED, GOOD, NOTHING_VALID


def add_arguments(parser):
    """OP..., --device, --environment, -o."""
    add_selection(parser, "export")
    parser.add_argument("-o", "--output", default="autotune.json", metavar="FILE", help="default: autotune.json")


@refusing
def run(options):
    """Write the file, and say what is in it."""
    tables = [Table(part.environment, tuple(_rows(part.entries))) for part in selected(options)]
    tables = [table for table in tables if table.rows]
    if not tables:
        raise Refused(f"{Store().root} has no config that works; `tritorch autotune sweep` finds some", NOTHING_VALID)
    try:
        write_table(options.output, tables)
    except OSError as error:
        raise Refused(f"{options.output} cannot be written: {error.strerror}", FAILED) from error
    for table in tables:
        print(f"{options.output}: {len(table.rows)} configs for {table.environment.folder}")
    return GOOD


def _rows(entries):
    """The winner of each entry; one without is named."""
    for entry in entries:
        found = figures_of(entry)
        if found.best is None:
            print(f"left out, since no config works: {describe_key(entry.key)}", file=sys.stderr)
            continue
        default = found.default.seconds if found.gain is not None else None
        yield Row(entry.key, found.best.config, found.best.seconds, default)
