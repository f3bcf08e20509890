"""Sorting, order statistics, and what sorted sequences and bins are searched and counted with."""
