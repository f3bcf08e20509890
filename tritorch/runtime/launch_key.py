"""What of the arguments of a launch decides which compiled version of a kernel it takes.

That is all that `specialise` tells the compiler of them, as numbers and types that are quick to find: the dtype and
alignment of arrays, the class of integers, the types of other numbers, constants with their types.
"""

from __future__ import annotations

_holds_pointer: dict[type, bool] = {}  # whether values of a type are device arrays


def is_device_array(value):
    """Whether a value is an array on a GPU."""
    kind = type(value)
    known = _holds_pointer.get(kind)
    if known is None:
        known = _holds_pointer[kind] = hasattr(kind, "pointer") and hasattr(kind, "device")
    return known


def key_text(parameter, expected, names):
    """The expression by which a parameter's value enters the key; what `expected` is like is worked out in place."""
    name = parameter.name
    if parameter.is_constexpr:
        kind = type(expected)
        if kind in (float, tuple):
            return f"{name}, _tag({name})"
        names[f"_kind_{name}"] = kind
        return f"{name}, (_kind_{name} if {name}.__class__ is _kind_{name} else _tag({name}))"
    fixed = parameter.annotation_type
    if fixed and (parameter.do_not_specialize or fixed == "u1" or fixed[:2] in ("fp", "bf")):
        return f"{name}.__class__"
    if parameter.do_not_specialize:
        if type(expected) is not int:
            return f"_type({name})"
        return f"(3 if {name}.__class__ is int and -0x80000000 <= {name} <= 0x7FFFFFFF else _type({name}))"
    if parameter.do_not_specialize_on_alignment:
        return f"_class({name}, False)"
    return _class_text(name, f"_kind_{name}", expected, names)


def _class_text(text, kind_name, expected, names):
    """The expression for `class_of` of an argument, worked out in place where it is like `expected`."""
    kind = names[kind_name] = type(expected)
    same, general = f"{text}.__class__ is {kind_name}", f"_class({text})"
    if kind is int:
        found = f"(1 if {text} == 1 else 3 if {text} & 15 else 2)"
        return f"({found} if {same} and -0x80000000 <= {text} <= 0x7FFFFFFF else {general})"
    if kind is float or kind is bool or expected is None:
        return f"({kind_name} if {same} else {general})"
    if kind is tuple:
        parts = (_class_text(f"{text}[{at}]", f"{kind_name}_{at}", each, names) for at, each in enumerate(expected))
        return (
            f"(({''.join(f'{part}, ' for part in parts)}) if {same} and len({text}) == {len(expected)} else {general})"
        )
    if _holds_pointer.get(kind):
        return f"({text}.code * 2 + (16 if {text}.pointer & 15 else 17) if {same} else {general})"
    return general


def class_of(value, aligned=True):
    """What compiled code knows of an argument: the dtype and alignment of an array, the class of a number."""
    kind = type(value)
    if kind is int:
        if value == 1:
            return 1
        divisible = aligned and not value & 15
        if -0x80000000 <= value <= 0x7FFFFFFF:
            return 2 if divisible else 3
        if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
            return 4 if divisible else 5
        return 6 if divisible else 7
    if kind is tuple:
        return tuple(map(class_of, value))
    if _holds_pointer.get(kind):
        return 16 + 2 * value.code + (not value.pointer & 15 and aligned)
    return kind


def type_of(value):
    """The same for a parameter that is not specialised: the type only."""
    kind = type(value)
    if kind is int:
        return 3 if -0x80000000 <= value <= 0x7FFFFFFF else 5 if -(1 << 63) <= value < 1 << 63 else 7
    if kind is tuple:
        return tuple(map(class_of, value))
    if _holds_pointer.get(kind):
        return 16 + 2 * value.code
    return kind


def tag_of(value):
    """What tells constants apart that compare equal: 1, True and 1.0, or 0.0 and -0.0."""
    kind = type(value)
    if kind is tuple:
        return tuple(map(tag_of, value))
    return value.hex() if kind is float else kind
