"""What a store's entries come to, and figures of it as text: times, rates, gains."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from tritorch.autotune.problem import problem_from
from tritorch.autotune.trial import Entry, Trial

# From how many multiplications and additions for a byte people speak of an op's TFLOP/s; below, of its GB/s.
_ARITHMETIC = 4.0


def time_text(seconds):
    """Seconds to three digits: "12.3 us"."""
    if not math.isfinite(seconds):
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{_three_digits(seconds / scale)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns"


def duration_text(seconds):
    """A time that people wait: "42 s", "3 min", "1.5 h", "36 h", "12 days"."""
    for unit, scale in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * scale or (seconds >= scale and unit != "days"):
            count = seconds / scale
            return f"{count:.2g} {unit}" if count < 9.95 else f"{count:.0f} {unit}"
    return f"{seconds:.0f} s"


def count_text(count, what):
    """How many of something: "1 new trial", "3 new trials"."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _three_digits(value):
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def rate_text(work, seconds):
    """How fast work is done: "512 TFLOP/s", "2910 GB/s", or "-"."""
    found = rate(work, seconds)
    if not found:
        return "-"
    return f"{_three_digits(found / 1e12)} TFLOP/s" if _is_arithmetic(work) else f"{_three_digits(found / 1e9)} GB/s"


def rate(work, seconds):
    """FLOP/s or, where there is little arithmetic, bytes a second; 0 where the work is not known."""
    return work.get("flops" if _is_arithmetic(work) else "bytes", 0) / seconds


def _is_arithmetic(work):
    return work.get("flops", 0) > _ARITHMETIC * work.get("bytes", 0)


def gain_text(gain):
    """By how much something is faster: "1.34x", or "-" for None."""
    return "-" if gain is None else f"{gain:.2f}x"


def share_text(share):
    """A share as "83%", or "-" for None."""
    return "-" if share is None else f"{share * 100:.{0 if share >= 0.1 else 1}f}%"


@dataclass(frozen=True)
class Figures:
    """What an entry comes to.

    name     the op, or the user's kernel;  kernel  the kernel, of which an op may have several
    dtypes   of the arrays;  sizes  of the problem where it can be made again, else of the key
    best     the trial to use;  default  that of the config by formula, which a sweep tries first
    gain     default's time over best's;  share  of the time that the hardware would take at least
    failures {state: how many}
    """

    entry: Entry
    name: str
    kernel: str
    dtypes: str
    sizes: str
    best: Trial | None
    default: Trial | None
    gain: float | None
    share: float | None
    failures: dict[str, int]

    @property
    def title(self):
        """The op, and the kernel where its name is another."""
        return self.name if self.kernel.removesuffix("_kernel") == self.name else f"{self.name} ({self.kernel})"

    @property
    def seconds(self):
        """The best config's time, or infinity."""
        return math.inf if self.best is None else self.best.seconds

    @property
    def failed(self):
        """How many trials failed."""
        return sum(self.failures.values())

    @property
    def rate(self):
        """The best config's FLOP/s or bytes a second, 0 where it is not known."""
        return rate(self.entry.work, self.seconds)

    @property
    def rate_text(self):
        """The best config's TFLOP/s or GB/s."""
        return rate_text(self.entry.work, self.seconds)

    @property
    def measured_seconds(self):
        """How long the device ran for what was measured: compiling, checking and warming up not counted."""
        timings = [timing for trial in self.entry.trials for timing in (trial.timing, trial.final) if timing]
        return sum(timing.p50 * timing.repeats for timing in timings)


def figures_of(entry):
    """The Figures of an entry."""
    best, default = entry.best(), next(iter(entry.trials), None)
    both = best is not None and default is not None and default.ok
    name, sizes = _names(entry)
    roofline = entry.work.get("roofline")
    return Figures(
        entry=entry,
        name=name,
        kernel=kernel_name(entry.key),
        dtypes=", ".join(each for each in dict.fromkeys(entry.key.arrays) if each != "none"),
        sizes=sizes,
        best=best,
        default=default,
        gain=default.seconds / best.seconds if both else None,
        share=roofline / best.seconds if best is not None and roofline else None,
        failures=dict(Counter(trial.state for trial in entry.trials if not trial.ok)),
    )


def kernel_name(key):
    """The kernel of a key without its module and the underscores of a private name."""
    return key.kernel.rpartition(".")[2].strip("_")


def _names(entry):
    """The op's or kernel's name and the sizes: as the problem has them, else by the key."""
    sizes = " ".join(map(_size, entry.key.sizes))
    try:
        problem = problem_from(entry.problem)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError):  # of another version, or of a file not here
        name = entry.problem.get("op", entry.problem.get("kernel"))
        return name if isinstance(name, str) else kernel_name(entry.key), sizes
    return problem.name, problem.label or sizes


def _size(size):
    text = str(size).removesuffix(" of 16")
    return f"{size.name}{text}" if text.startswith("<=") else f"{size.name}={text}"


def mean_gain(gains):
    """The geometric mean of gains, None of none."""
    logs = [math.log(each) for each in gains if each is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None
