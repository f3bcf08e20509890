"""The least time of every case of `tritorch bench`, from its operations and bytes: what a kernel can be held against.

    python benchmarks/predict.py [--dtype bfloat16] [-o FILE]

For each case: the operations it takes, the bytes it moves at least, and the larger of the two times on an H200 as
`autotune/roofline.py` knows it (what was attained there, not the datasheet). Of suites bound by bytes the sizes of
`--quick`: others follow from theirs. Needs no GPU; writes a Markdown table.
"""

from __future__ import annotations

import argparse
import sys

from tritorch.autotune.roofline import PRETENDED
from tritorch.bench.suites import suites


def rows(dtypes):
    """(suite, case, its Work) of all cases that have one."""
    for name, suite in suites().items():
        quick = hasattr(suite, "AXIS")
        chosen = [each for each in suite.DTYPES if each in dtypes] or list(suite.DTYPES)
        for case in suite.cases(chosen, quick, False):
            if case.work is not None:
                yield name, case


def line(suite, case):
    """The row of a case, in Markdown."""
    work = case.work
    seconds = PRETENDED.seconds(work)
    bound = "operations" if work.flops / PRETENDED.rate(work.dtype) >= seconds else "bytes"
    figure = f"{case.figure(seconds):.4g} {case.unit}"
    return (
        f"| {suite} | {case.name} | {case.dtype} | {work.flops / 1e9:.4g} | {work.bytes / 1e6:.4g} | {bound} "
        f"| {seconds * 1e6:.4g} | {figure} |"
    )


def main():
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dtype", action="append", help="only this dtype; may be given again (default: bfloat16)")
    parser.add_argument("-o", "--output", help="the file to write instead of the terminal")
    options = parser.parse_args()
    text = "\n".join(
        [
            "| suite | case | dtype | GFLOP | MB | bound by | least us on an H200 | that is |",
            "|---|---|---|---|---|---|---|---|",
            *(line(*each) for each in rows(options.dtype or ["bfloat16"])),
        ]
    )
    if options.output:
        with open(options.output, "w") as file:
            file.write(text + "\n")
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
