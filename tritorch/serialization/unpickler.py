"""A machine for pickles that builds plain values and calls only what a table of names gives it.

It reads the whole opcode language (its instructions are in `opcodes`), but a name means what `find_global` says, and
nothing is imported, called or set that was not meant to be. What it builds is bounded by the size of the pickle: no
opcode can ask for memory that the file does not fill.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tritorch.serialization.errors import ILL_FORMED, Corrupt, Refused

LONGEST_LINE = 64 * 1024


@dataclass(frozen=True)
class Global:
    """What a name in a pickle stands for: the value put in its place, and what may be done with it."""

    value: object
    call: object = None  # call(*arguments), for REDUCE
    new: object = None  # new(*arguments) makes an instance, for NEWOBJ
    kind: type | None = None  # the type of what `call` and `new` make, where BUILD may set its state
    build: object = None  # build(instance, state), for BUILD


class Machine:
    """Runs one pickle that starts at `position` of `data`; afterwards `position` is where it ended."""

    def __init__(self, data, find_global, persistent_load, position=0, encoding="ASCII"):
        self.data, self.position, self.encoding = data, position, encoding
        self.find_global, self.persistent_load = find_global, persistent_load
        self.stack: list = []
        self.marks: list = []
        self.memo: dict = {}
        self.globals: dict = {}  # id of a value -> its Global
        self.builders: dict = {}  # type -> how BUILD sets the state of its instances

    def run(self, instructions):
        """The value that the pickle holds; `instructions` is the table of opcodes."""
        try:
            while (code := self.byte()) != ord("."):
                instructions[code](self)
            return self.stack.pop()
        except ILL_FORMED as error:
            what = f"{type(error).__name__}: {error}"
            raise Corrupt(f"its pickle is corrupt near byte {self.position} ({what})") from None

    # ---------------------------------------------------------------------------------------- reading

    def byte(self):
        """The next byte as a number."""
        found = self.data[self.position]
        self.position += 1
        return found

    def take(self, count):
        """The next `count` bytes."""
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise Corrupt(f"its pickle is truncated: it wants {count} bytes after byte {self.position}")
        found = bytes(self.data[self.position : end])
        self.position = end
        return found

    def line(self):
        """The bytes up to the next line end."""
        end = bytes(self.data[self.position : self.position + LONGEST_LINE]).find(b"\n")
        if end < 0:
            raise Corrupt(f"its pickle is truncated: no line ends after byte {self.position}")
        return self.take(end + 1)[:-1]

    def number(self, layout):
        """The next number, by a layout of `struct`."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def sized(self, layout):
        """The next bytes, after their count."""
        return self.take(self.number(layout))

    def text(self, found):
        """A string of Python 2, which is bytes or text as the encoding says."""
        return found if self.encoding == "bytes" else found.decode(self.encoding)

    # ---------------------------------------------------------------------------------------- the stack

    def push(self, value):
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self):
        """Take a value off the stack."""
        if self.marks and self.marks[-1] == len(self.stack):
            raise Corrupt("its pickle takes a value where there is a mark")
        return self.stack.pop()

    def to_mark(self):
        """Take off all values since the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    # ---------------------------------------------------------------------------------------- names

    def name(self, module, name):
        """Put what a name stands for on the stack."""
        found = self.find_global(module, name)
        self.globals[id(found.value)] = found
        if found.kind is not None:
            self.builders[found.kind] = found.build
        self.push(found.value)

    def usable(self, value, way):
        """What the table allows to be done with this value, "call" or "new"."""
        found = self.globals.get(id(value))
        rule = None if found is None else getattr(found, way)
        if rule is None:
            raise Refused(f"Trying to {way} {_described(value)}, which is not allowed")
        return rule

    def build(self, instance, state):
        """Give an instance its state."""
        builder = next((self.builders[kind] for kind in type(instance).__mro__ if kind in self.builders), None)
        if builder is None:
            raise Refused(f"Trying to set the state of {_described(instance)}, which is not allowed")
        builder(instance, state)


def _described(value):
    return getattr(value, "__qualname__", None) or f"an object of type {type(value).__name__}"
