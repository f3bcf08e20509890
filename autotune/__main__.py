"""`python -m tritorch.autotune` is `tritorch autotune`."""

from __future__ import annotations

import sys

from tritorch.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["autotune", *sys.argv[1:]]))
