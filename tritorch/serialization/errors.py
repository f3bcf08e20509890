"""What is wrong with a file, before `load` puts the file's name to it."""

from __future__ import annotations

import pickle
import struct

# What Python raises where a file says things that do not fit together; exceptions of the user's classes are `Raised`.
ILL_FORMED = (LookupError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError, struct.error)


class Corrupt(Exception):
    """The file is not whole, or says things that cannot be."""


class Raised(Exception):
    """An exception of a user's class, on its way out."""

    def __init__(self, error):
        super().__init__(error)
        self.error = error


class Refused(pickle.UnpicklingError):
    """The file asks for something that loading does not do."""
