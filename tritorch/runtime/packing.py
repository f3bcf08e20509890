"""Packs the parameters of a launch as cuda-core takes them: one generated function for each compiled kernel."""

from __future__ import annotations

import struct


def check_packed(_stream, _config, core, *packed):
    """What cuda-core would refuse or cut: a slot takes a bool or an integer of 64 bits with its sign."""
    for each in packed:
        if type(each) is not bool and not (type(each) is int and -(1 << 63) <= each < 1 << 63):
            raise TypeError(f"kernel parameter {each!r} of {core} is neither a bool nor a signed 64-bit integer")


def generate_call(kernel, signature, metadata, core, device_index):
    """The function that packs a launch: pointers as integers, floats as raw bits, then two scratch pointers."""
    texts = []
    for name, type in signature.items():
        _pack_texts(name, type, texts)
    values = ", ".join(each.name for each in kernel.params)
    lines = [f"def call(_launch, _stream, _config, {values}):"]
    names = {"_core": core, "_signed": _signed} | {f"_bits_{type}": pack for type, pack in _BITS.items()}
    scratch = scratch_bytes(metadata)
    if scratch:
        from tritorch.runtime.cuda.memory import allocator

        if metadata.launch_pdl:
            raise ValueError(
                f"kernel {kernel.__name__}: launch_pdl=True with tensor descriptors made in the kernel, which it would "
                "write while the launch before it still reads its own in the same memory"
            )
        names["_scratch_of"] = allocator(device_index).scratch_of
        lines += ["    _x, _y, _z = _config.grid", f"    _scratch = _scratch_of({scratch} * _x * _y * _z, _stream)"]
    texts += ["_scratch.pointer" if scratch else "0", "0"]  # the second is the profiler's, which we do not use
    lines.append(f"    _launch(_stream.core, _config, _core, {', '.join(texts)})")
    exec("\n".join(lines), names)
    return names["call"]


def scratch_bytes(metadata):
    """What each program of a launch keeps to itself in device memory, such as its tensor descriptors."""
    return metadata.global_scratch_size * metadata.num_ctas


def packer_of(type):
    """What packs a number for a parameter of a type; None where it is packed as it is."""
    return _signed if type == "u64" else _BITS.get(type)


def _pack_texts(name, type, texts):
    if isinstance(type, tuple):
        for at, each in enumerate(type):
            _pack_texts(f"{name}[{at}]", each, texts)
    elif type[0] == "*":
        texts.append(f"{name}.pointer")
    elif type in _BITS:
        texts.append(f"_bits_{type}({name})")
    elif type == "u64":
        texts.append(f"_signed({name})")
    elif type != "constexpr":
        texts.append(name)


_float, _double, _half = struct.Struct("<f").pack, struct.Struct("<d").pack, struct.Struct("<e").pack
_unsigned32, _signed64 = struct.Struct("<I").unpack, struct.Struct("<q").unpack
_unsigned16 = struct.Struct("<H").unpack


def _signed(value):
    """cuda-core keeps an integer in a signed 64-bit slot."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _bits_of_single(value):
    try:
        return _unsigned32(_float(value))[0]
    except OverflowError:  # too large for float32: what a conversion on the GPU gives
        return 0x7F800000 if value > 0 else 0xFF800000


def _bits_of_bfloat16(value):
    bits = _bits_of_single(value)
    if value != value:
        return 0x7FC0
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to nearest even


def _bits_of_half(value):
    try:
        return _unsigned16(_half(value))[0]
    except OverflowError:
        return 0x7C00 if value > 0 else 0xFC00


_BITS = {
    "fp32": _bits_of_single,
    "fp64": lambda value: _signed64(_double(value))[0],
    "fp16": _bits_of_half,
    "bf16": _bits_of_bfloat16,
}
