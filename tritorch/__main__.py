"""`python -m tritorch` is the `tritorch` command."""

from __future__ import annotations

import sys

from tritorch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
