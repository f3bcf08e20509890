"""From a kernel and its arguments to a cubin: needs Triton, but no GPU, no driver and no C compiler."""

from __future__ import annotations

from dataclasses import dataclass

from tritorch.runtime import debug
from tritorch.runtime.binding import binder_of
from tritorch.runtime.cubin import resource_usage
from tritorch.runtime.kernel import materialise
from tritorch.runtime.language import triton_lock
from tritorch.runtime.specialise import Pointer as Pointer
from tritorch.runtime.specialise import specialise
from tritorch.runtime.triton_key import know_triton_key

# What one block may use, by compute capability, after opting in: for compile tests on machines without that GPU.
SHARED_MEMORY = {80: 163 * 1024, 86: 99 * 1024, 89: 99 * 1024, 90: 227 * 1024, 100: 227 * 1024, 120: 99 * 1024}

_COMPILING = "while compiling kernel"  # how the note begins that an exception of the compiler gets

REGISTERS = 65536  # of a multiprocessor, on every GPU since 2014
_MOST_REGISTERS = 255  # that a thread can have, on every GPU


@dataclass(frozen=True)
class Resources:
    """What a compiled kernel takes; None is unknown. Shared memory in bytes per block, spills in bytes per thread."""

    registers: int | None
    spills: int | None
    shared_memory: int
    num_warps: int


def compile_kernel(kernel, args, constants=None, options=None, capability=90):
    """Triton's CompiledKernel of `kernel` for `args` (arrays, or `Pointer(dtype, alignment)`) on sm_`capability`.

    `args` are in the order of the parameters, `constants` the others by name, `options` num_warps, num_stages, ...
    """
    materialise()  # before binding, which asks Triton for the parameters
    values, options = binder_of(kernel)(*args, **(constants or {}), **(options or {}))
    return compile_values(kernel, values, options, capability)


def compile_values(kernel, values, options, capability):
    """The same for values already bound to the parameters, one each, and options of which some may be None."""
    materialise()  # constants may be kernels made just now
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as triton_compile

    chosen = {name: value for name, value in options.items() if value is not None}
    chosen.setdefault("enable_fp_fusion", True)  # the default is about to change between versions of Triton
    if debug.enabled:
        chosen |= {"debug": True, "sanitize_overflow": False}  # Philox and hashes overflow on purpose
    target = GPUTarget("cuda", capability, 32)
    with triton_lock:
        know_triton_key()
        source = ASTSource(kernel, *specialise(kernel, values))
        try:
            return triton_compile(source, target=target, options=chosen)
        except Exception as error:
            error.add_note(f"{_COMPILING} {kernel.__name__} for sm_{capability} with {chosen}")
            raise


def refused_by_compiler(error):
    """Whether an exception came from compiling a kernel."""
    return any(each.startswith(_COMPILING) for each in getattr(error, "__notes__", ()))


def spilled(registers, local_memory, num_warps):
    """Of the bytes of local memory that a thread takes, those that hold spilled values.

    Below the limit of registers, local memory holds arrays (the argument reduction of sin), not spilled values.
    """
    limit = min(_MOST_REGISTERS, REGISTERS // (32 * num_warps))
    return local_memory or 0 if (registers or 0) >= limit else 0


def resources(compiled):
    """Registers, spills and shared memory of a CompiledKernel, read from its metadata and its cubin."""
    metadata = compiled.metadata
    registers, spills = resource_usage(compiled.asm["cubin"], metadata.name)
    return Resources(registers, spills, metadata.shared, metadata.num_warps)
