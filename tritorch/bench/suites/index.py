"""Rows by number: embeddings and their gradient, gathers, and sums into rows."""

from __future__ import annotations

from tritorch.bench.bandwidth import LONG, Op, chosen, family
from tritorch.bench.case import Input

DTYPES = ("bfloat16", "float16", "float32")
AXIS = "rows"

# rows that are asked for, width, rows that there are
FULL = tuple((count, 768, 50304) for count in (512, 2048, 8192, 16384, 65536))
QUICK, SMALL, TINY = ((8192, 768, 50304),), ((256, 64, 1000), (1024, 64, 1000)), ((8, 16, 20),)


def _table(count, width, rows):
    return Input((rows, width), requires_grad=True), Input((count,), below=rows)


def _table_and_rows(count, width, rows):
    return Input((rows, width)), Input((count,), below=rows), Input((count, width))


def _looked_up(count, width, rows):
    return (count, width)


def _bytes(size, count, width, rows):
    return 2 * count * width * size + count * LONG


def _gathered(size, count, width, rows):
    return count * width * (2 * size + LONG)


def _added(size, count, width, rows):
    return (2 * rows + count) * width * size + count * LONG


def _gather(lib, table, numbers):
    return table.gather(0, numbers.view(-1, 1).expand(-1, table.shape[1]).contiguous())


OPS = (
    Op("embedding", lambda lib, table, numbers: lib.nn.functional.embedding(numbers, table), _table, _looked_up,
       kept=lambda count, width, rows: 0, moved=_bytes),
    Op("index_select", lambda lib, table, numbers: table.index_select(0, numbers), _table, _looked_up, moved=_bytes),
    Op("gather", _gather, _table, _looked_up, moved=_gathered),
    Op("index_add", lambda lib, table, numbers, x: table.index_add(0, numbers, x), _table_and_rows,
       lambda count, width, rows: (rows, width), moved=_added),
)  # fmt: skip


def cases(dtypes, quick, small):
    """Every op over counts of rows."""
    shapes = chosen(FULL, QUICK, SMALL, TINY, quick, small)
    return family(OPS, shapes, dtypes, size=lambda shape: shape[0], length=lambda shape: shape[0])
