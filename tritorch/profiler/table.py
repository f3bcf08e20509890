"""The table of a profile, with PyTorch's columns."""

from __future__ import annotations

_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0}

SORT_KEYS = (
    "cpu_time", "cpu_time_total", "self_cpu_time_total", "device_time", "device_time_total", "self_device_time_total",
    "cuda_time", "cuda_time_total", "self_cuda_time_total", "cpu_memory_usage", "self_cpu_memory_usage",
    "device_memory_usage", "self_device_memory_usage", "count", "flops",
)  # fmt: skip


def table(rows, sort_by, row_limit, widths, header, memory, time_unit):
    """Rows with names, times on the CPU and on a device, memory where it was recorded, and calls."""
    if not rows:
        return ""
    if time_unit is not None and time_unit not in _UNITS:
        raise ValueError(f"table(): time_unit must be one of {sorted(_UNITS)}, but got {time_unit!r}")
    if sort_by is not None:
        if sort_by not in SORT_KEYS:
            raise ValueError(f"table(): sort_by must be one of {', '.join(SORT_KEYS)}, but got {sort_by!r}")
        rows = sorted(rows, key=lambda row: getattr(row, sort_by), reverse=True)
    cpu = sum(row.self_cpu_time_total for row in rows)
    device = sum(row.self_device_time_total for row in rows)
    columns = _columns(rows, widths, memory, time_unit, cpu, device)
    shown = rows if row_limit < 0 else rows[:row_limit]
    cells = [[title for title, _ in columns], *([text(row) for _, text in columns] for row in shown)]
    lengths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("-" * length for length in lengths)
    lines = ["  ".join(cell.rjust(length) for cell, length in zip(line, lengths, strict=True)) for line in cells]
    total = [f"Self CPU time total: {_time(cpu, time_unit)}"]
    if device:
        total.append(f"Self CUDA time total: {_time(device, time_unit)}")
    title = [header] if header else []
    return "\n".join([*title, rule, lines[0], rule, *lines[1:], rule, *total]) + "\n"


def _columns(rows, widths, memory, unit, cpu, device):
    name_width, shape_width, source_width = widths

    def share(name, total):
        return lambda row: f"{100 * getattr(row, name) / total:.2f}%" if total else "0.00%"

    def time(name):
        return lambda row: _time(getattr(row, name), unit)

    def size(name):
        return lambda row: _bytes(getattr(row, name))

    columns = [
        ("Name", lambda row: _cut(row.key, name_width)),
        ("Self CPU %", share("self_cpu_time_total", cpu)),
        ("Self CPU", time("self_cpu_time_total")),
        ("CPU total %", share("cpu_time_total", cpu)),
        ("CPU total", time("cpu_time_total")),
        ("CPU time avg", time("cpu_time")),
    ]
    if device:
        columns += [
            ("Self CUDA", time("self_device_time_total")),
            ("Self CUDA %", share("self_device_time_total", device)),
            ("CUDA total", time("device_time_total")),
            ("CUDA time avg", time("device_time")),
        ]
    if memory:
        columns += [("CPU Mem", size("cpu_memory_usage")), ("Self CPU Mem", size("self_cpu_memory_usage"))]
        if device:
            columns += [("CUDA Mem", size("device_memory_usage")), ("Self CUDA Mem", size("self_device_memory_usage"))]
    columns.append(("# of Calls", lambda row: str(row.count)))
    if any(row.flops for row in rows):
        columns.append(("Total MFLOPs", lambda row: f"{row.flops / 1e6:.3f}" if row.flops else "--"))
    if any(row.input_shapes for row in rows):
        columns.append(("Input Shapes", lambda row: _cut(str(row.input_shapes), shape_width)))
    if any(row.stack for row in rows):
        columns.append(("Source Location", lambda row: _cut(row.stack[0] if row.stack else "", source_width)))
    return columns


def _cut(text, width):
    return text if width is None or len(text) <= width else text[: width - 3] + "..."


def _time(microseconds, unit):
    unit = unit or ("s" if microseconds >= 1e6 else "ms" if microseconds >= 1e3 else "us")
    return f"{microseconds / _UNITS[unit]:.3f}{unit}"


def _bytes(size):
    for unit, scale in (("GB", 2**30), ("MB", 2**20), ("KB", 2**10)):
        if abs(size) >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size} B"
