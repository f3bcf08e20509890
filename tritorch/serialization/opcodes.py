"""The instructions of pickles, protocols 0 to 5 but for out-of-band buffers and `copyreg` extensions."""

from __future__ import annotations

import pickle

from tritorch.serialization.errors import Corrupt

INSTRUCTIONS: dict = {}


def _on(code):
    def register(function):
        INSTRUCTIONS[code[0]] = function
        return function

    return register


def _pushes(code, make):
    INSTRUCTIONS[code[0]] = lambda machine: machine.push(make(machine))


# -------------------------------------------------------------------------------------------- what has no value

INSTRUCTIONS[pickle.FRAME[0]] = lambda machine: machine.take(8)  # says how to read ahead
INSTRUCTIONS[pickle.MARK[0]] = lambda machine: machine.marks.append(len(machine.stack))
INSTRUCTIONS[pickle.POP_MARK[0]] = lambda machine: machine.to_mark()


@_on(pickle.PROTO)
def _proto(machine):
    protocol = machine.byte()
    if protocol > pickle.HIGHEST_PROTOCOL:
        raise Corrupt(f"its pickle has protocol {protocol}, which does not exist")


@_on(pickle.POP)
def _pop(machine):
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


# -------------------------------------------------------------------------------------------- numbers and strings


def _int_line(line):
    """The text of an INT: "00" and "01" are the bools of protocol 0."""
    return line == b"01" if line in (b"00", b"01") else int(line)


def _quoted(line):
    """The bytes of a STRING, a literal in quotes."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise Corrupt("its pickle has a string without quotes")
    return line[1:-1].decode("unicode_escape").encode("latin-1")


def _utf8(found):
    return found.decode("utf-8", "surrogatepass")


def _little(found):
    return int.from_bytes(found, "little", signed=True)


_pushes(pickle.NONE, lambda machine: None)
_pushes(pickle.NEWTRUE, lambda machine: True)
_pushes(pickle.NEWFALSE, lambda machine: False)
_pushes(pickle.INT, lambda machine: _int_line(machine.line()))
_pushes(pickle.LONG, lambda machine: int(machine.line().rstrip(b"L")))
_pushes(pickle.BININT, lambda machine: machine.number("<i"))
_pushes(pickle.BININT1, lambda machine: machine.byte())
_pushes(pickle.BININT2, lambda machine: machine.number("<H"))
_pushes(pickle.LONG1, lambda machine: _little(machine.sized("<B")))
_pushes(pickle.LONG4, lambda machine: _little(machine.sized("<i")))
_pushes(pickle.FLOAT, lambda machine: float(machine.line()))
_pushes(pickle.BINFLOAT, lambda machine: machine.number(">d"))
_pushes(pickle.STRING, lambda machine: machine.text(_quoted(machine.line())))
_pushes(pickle.BINSTRING, lambda machine: machine.text(machine.sized("<i")))
_pushes(pickle.SHORT_BINSTRING, lambda machine: machine.text(machine.sized("<B")))
_pushes(pickle.UNICODE, lambda machine: machine.line().decode("raw-unicode-escape"))
_pushes(pickle.BINUNICODE, lambda machine: _utf8(machine.sized("<I")))
_pushes(pickle.SHORT_BINUNICODE, lambda machine: _utf8(machine.sized("<B")))
_pushes(pickle.BINUNICODE8, lambda machine: _utf8(machine.sized("<Q")))
_pushes(pickle.BINBYTES, lambda machine: machine.sized("<I"))
_pushes(pickle.SHORT_BINBYTES, lambda machine: machine.sized("<B"))
_pushes(pickle.BINBYTES8, lambda machine: machine.sized("<Q"))
_pushes(pickle.BYTEARRAY8, lambda machine: bytearray(machine.sized("<Q")))

# -------------------------------------------------------------------------------------------- containers

_pushes(pickle.EMPTY_TUPLE, lambda machine: ())
_pushes(pickle.EMPTY_LIST, lambda machine: [])
_pushes(pickle.EMPTY_DICT, lambda machine: {})
_pushes(pickle.EMPTY_SET, lambda machine: set())
_pushes(pickle.TUPLE, lambda machine: tuple(machine.to_mark()))
_pushes(pickle.LIST, lambda machine: machine.to_mark())
_pushes(pickle.DICT, lambda machine: dict(_pairs(machine.to_mark())))
_pushes(pickle.FROZENSET, lambda machine: frozenset(machine.to_mark()))
_pushes(pickle.DUP, lambda machine: machine.stack[-1])
_pushes(pickle.TUPLE1, lambda machine: _tuple(machine, 1))
_pushes(pickle.TUPLE2, lambda machine: _tuple(machine, 2))
_pushes(pickle.TUPLE3, lambda machine: _tuple(machine, 3))


def _pairs(items):
    if len(items) % 2:
        raise Corrupt("its pickle has a dict with a key that has no value")
    return zip(items[::2], items[1::2], strict=True)


def _tuple(machine, count):
    return tuple([machine.pop() for _ in range(count)][::-1])


def _holder(machine, kinds):
    """The container on top of the stack, which items are put into."""
    found = machine.stack[-1]
    if not isinstance(found, kinds):
        raise Corrupt(f"its pickle puts items into {type(found).__name__}")
    return found


@_on(pickle.APPEND)
def _append(machine):
    value = machine.pop()
    _holder(machine, list).append(value)


@_on(pickle.APPENDS)
def _appends(machine):
    items = machine.to_mark()
    _holder(machine, list).extend(items)


@_on(pickle.SETITEM)
def _setitem(machine):
    value, key = machine.pop(), machine.pop()
    _holder(machine, dict)[key] = value


@_on(pickle.SETITEMS)
def _setitems(machine):
    items = machine.to_mark()
    holder = _holder(machine, dict)
    for key, value in _pairs(items):
        holder[key] = value


@_on(pickle.ADDITEMS)
def _additems(machine):
    items = machine.to_mark()
    _holder(machine, set).update(items)


# -------------------------------------------------------------------------------------------- the memo


@_on(pickle.PUT)
def _put(machine):
    machine.memo[int(machine.line())] = machine.stack[-1]


@_on(pickle.BINPUT)
def _binput(machine):
    machine.memo[machine.byte()] = machine.stack[-1]


@_on(pickle.LONG_BINPUT)
def _long_binput(machine):
    machine.memo[machine.number("<I")] = machine.stack[-1]


@_on(pickle.MEMOIZE)
def _memoize(machine):
    machine.memo[len(machine.memo)] = machine.stack[-1]


_pushes(pickle.GET, lambda machine: machine.memo[int(machine.line())])
_pushes(pickle.BINGET, lambda machine: machine.memo[machine.byte()])
_pushes(pickle.LONG_BINGET, lambda machine: machine.memo[machine.number("<I")])

# -------------------------------------------------------------------------------------------- names and calls

_pushes(pickle.PERSID, lambda machine: machine.persistent_load(machine.line().decode("ascii")))
_pushes(pickle.BINPERSID, lambda machine: machine.persistent_load(machine.pop()))


@_on(pickle.GLOBAL)
def _global(machine):
    module, name = machine.line().decode("utf-8"), machine.line().decode("utf-8")
    machine.name(module, name)


@_on(pickle.STACK_GLOBAL)
def _stack_global(machine):
    name, module = machine.pop(), machine.pop()
    if not (isinstance(module, str) and isinstance(name, str)):
        raise Corrupt("its pickle names something by what is not text")
    machine.name(module, name)


@_on(pickle.REDUCE)
def _reduce(machine):
    arguments, function = machine.pop(), machine.pop()
    machine.push(machine.usable(function, "call")(*arguments))


@_on(pickle.NEWOBJ)
def _newobj(machine):
    arguments, kind = machine.pop(), machine.pop()
    machine.push(machine.usable(kind, "new")(*arguments))


@_on(pickle.NEWOBJ_EX)
def _newobj_ex(machine):
    named, arguments, kind = machine.pop(), machine.pop(), machine.pop()
    machine.push(machine.usable(kind, "new")(*arguments, **named))


@_on(pickle.BUILD)
def _build(machine):
    state = machine.pop()
    machine.build(machine.stack[-1], state)
