"""`__version__` as scripts know it from PyTorch: a string that compares as a version does."""

from __future__ import annotations

import re


class TorchVersion(str):
    """A version whose <, <=, > and >= compare release numbers, so that "2.13.0" is above "2.4" and above (2, 4)."""

    __slots__ = ()

    def __lt__(self, other):
        return _release(self) < _release(other)

    def __le__(self, other):
        return _release(self) <= _release(other)

    def __gt__(self, other):
        return _release(self) > _release(other)

    def __ge__(self, other):
        return _release(self) >= _release(other)

    def __eq__(self, other):
        return str(self) == other or (isinstance(other, tuple) and _release(self) == _release(other))

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def _release(version):
    """The numbers of a version given as text or as a tuple, without zeros at their end."""
    numbers = version if isinstance(version, tuple) else re.match(r"[\d.]*", str(version))[0].strip(".").split(".")
    numbers = [int(number) for number in numbers if str(number).isdigit()]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers
