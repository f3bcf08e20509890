"""GPU tier: skipped without a GPU."""
