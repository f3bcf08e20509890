"""How the arguments of a launch reach their parameters: a function generated once per kernel, so that Python binds."""

from __future__ import annotations

# The options of a launch that the compiler takes; Triton ignores what it does not know, here it is a TypeError.
OPTIONS = (
    "num_warps",
    "num_stages",
    "num_ctas",
    "maxnreg",
    "enable_fp_fusion",
    "launch_pdl",
    "launch_cooperative_grid",
)
_LARGEST_GRID = (2**31 - 1, 65535, 65535)


def parameters(kernel):
    """The text of the kernel's parameter list with the options behind it, and the names that text refers to."""
    names = {}
    texts = []
    for each in kernel.params:
        if each.name in OPTIONS or each.name.startswith("_"):
            raise TypeError(f"kernel {kernel.__name__}: a parameter cannot be named {each.name!r}")
        texts.append(f"{each.name}=_default_{each.name}" if each.has_default else each.name)
        if each.has_default:
            names[f"_default_{each.name}"] = each.default
    return ", ".join([*texts, "*", *(f"{option}=None" for option in OPTIONS)]), names


def binder_of(kernel):
    """A function from the arguments of a launch to (values in the order of the parameters, options by name)."""
    binder = kernel.__dict__.get("_bind")
    if binder is None:
        text, names = parameters(kernel)
        values = "".join(f"{each.name}, " for each in kernel.params)
        options = ", ".join(f"{option!r}: {option}" for option in OPTIONS)
        source = f"def {kernel.__name__}({text}):\n    return ({values}), {{{options}}}\n"
        exec(source, names)
        binder = kernel._bind = names[kernel.__name__]
    return binder


def checked_grid(kernel, grid):
    """`grid` as three numbers of programs that a GPU can launch."""
    if not 1 <= len(grid) <= 3:
        raise ValueError(f"kernel {kernel.__name__}: a grid has one to three numbers, got {grid}")
    grid = (*grid, 1, 1)[:3]
    for number, largest in zip(grid, _LARGEST_GRID, strict=True):
        if not 0 <= number <= largest:
            raise ValueError(f"kernel {kernel.__name__}: grid {grid} is outside of {_LARGEST_GRID}")
    return grid
