"""Random tensors and tensors filled at random: rand, randn, randint, randperm, bernoulli, uniform_ and their kin."""

from __future__ import annotations

import math
import numbers

import numpy as np

from tritorch import creation
from tritorch.autograd.variable import Variable
from tritorch.ops.base import EXPORTS, TABLE, export
from tritorch.ops.creation import lying, strides_of_like
from tritorch.ops.promotion import C_NAMES, KIND_NAMES
from tritorch.ops.random.draws import blocks
from tritorch.ops.random.permutation import BLOCKS as PERMUTATION_BLOCKS
from tritorch.random import generator_of
from tritorch.runtime import device as devices
from tritorch.runtime import dtypes

Uniform, Normal, Integers = TABLE["uniform"], TABLE["normal"], TABLE["random_integers"]
Permutation, Bernoulli = TABLE["random_permutation"], TABLE["bernoulli"]


def draw_uniform(size, low, high, dtype, device, generator):
    """Uniform numbers of a NumPy dtype."""
    seed, offset = generator.take(blocks(math.prod(size), dtype))
    return Uniform.apply(size, low, high, dtype, seed, offset, device)


def draw_normal(size, mean, std, dtype, device, generator):
    """Normal numbers of a NumPy dtype."""
    seed, offset = generator.take(blocks(math.prod(size), dtype))
    return Normal.apply(size, mean, std, dtype, seed, offset, device)


def draw_integers(size, low, high, dtype, device, generator):
    """Integers from `low` up to, without, `high`."""
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    least, most = _limits(dtype)
    for name, value in (("from", low), ("to - 1", high - 1)):
        if not least <= value <= most:
            raise RuntimeError(f"{name} is out of bounds for {C_NAMES[dtype.name]}")
    seed, offset = generator.take(Integers.blocks(math.prod(size), high - low))
    return Integers.apply(size, low, high, dtype.numpy, seed, offset, device)


def _limits(dtype):
    if dtype is dtypes.bool_:
        return 0, 1
    if dtype.is_floating_point:
        return -(2**63), 2**63
    found = np.iinfo(dtype.numpy)
    return int(found.min), int(found.max)


def _floating(op, dtype, kernel):
    dtype = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype, op)
    if not dtype.is_floating_point:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{KIND_NAMES[dtype.name]}'")
    return dtype.numpy


def finish(made, out, requires_grad=False):
    """The result of a factory: into `out` if there is one, wanting a gradient if asked."""
    if out is not None:
        return out.resize_(made.shape).copy_(made)
    return made.requires_grad_() if requires_grad else made


def _size(op, size, named):
    if not size and "size" in named:
        size = (named.pop("size"),)
    elif not size:
        raise TypeError(f'{op}() missing 1 required positional arguments: "size"')
    if named:
        raise TypeError(f"{op}() got an unexpected keyword argument '{next(iter(named))}'")
    return creation.size_of(op, size)


@export("rand")
def rand(*size, generator=None, out=None, dtype=None, layout=None, device=None, requires_grad=False,
         pin_memory=False, names=None, **named):  # fmt: skip
    """Uniform numbers in [0, 1)."""
    size, source = _size("rand", size, named), generator_of("rand", generator)
    kind = _floating("rand", dtype, "check_uniform_bounds")
    return finish(draw_uniform(size, 0, 1, kind, devices.resolve(device), source), out, requires_grad)


@export("randn")
def randn(*size, generator=None, out=None, dtype=None, layout=None, device=None, requires_grad=False,
          pin_memory=False, names=None, **named):  # fmt: skip
    """Numbers of the standard normal distribution."""
    size, source = _size("randn", size, named), generator_of("randn", generator)
    kind = _floating("randn", dtype, "normal_kernel_cpu")
    return finish(draw_normal(size, 0, 1, kind, devices.resolve(device), source), out, requires_grad)


@export("randint")
def randint(*args, low=None, high=None, size=None, generator=None, out=None, dtype=None, layout=None, device=None,
            requires_grad=False, pin_memory=False):  # fmt: skip
    """Integers from `low` (0 if not given) up to, without, `high`: randint(high, size) or randint(low, high, size)."""
    args = list(args)
    if size is None and args and not isinstance(args[-1], numbers.Integral):
        size = args.pop()
    if not isinstance(size, (tuple, list)):
        got = type(args[-1] if size is None and args else size).__name__
        raise TypeError(f"randint(): argument 'size' (position {max(len(args), 1)}) must be tuple of ints, not {got}")
    if high is None:
        high = args.pop() if args else None
    low = args.pop(0) if args else low or 0
    for name, value in (("low", low), ("high", high)):
        if not hasattr(value, "__index__"):
            raise TypeError(f"randint(): argument '{name}' must be int, not {type(value).__name__}")
    source, size = generator_of("randint", generator), creation.size_of("randint", (size,))
    dtype = dtypes.int64 if dtype is None else dtypes.as_dtype(dtype, "randint")
    made = draw_integers(size, low.__index__(), high.__index__(), dtype, devices.resolve(device), source)
    return finish(made, out, requires_grad)


@export("randperm")
def randperm(n, *, generator=None, out=None, dtype=None, layout=None, device=None, requires_grad=False,
             pin_memory=False):  # fmt: skip
    """The integers below `n` in a random order."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    dtype = dtypes.int64 if dtype is None else dtypes.as_dtype(dtype, "randperm")
    if n - 1 > (2 ** (24 if dtype is dtypes.float32 else 53) if dtype.is_floating_point else _limits(dtype)[1]):
        raise RuntimeError(f"value cannot be converted to type {dtype.name}_t without overflow")
    if n >= 2**32:
        raise RuntimeError(f"randperm(): n must be below 2^32, got {n}")
    seed, offset = generator_of("randperm", generator).take(PERMUTATION_BLOCKS)
    return finish(Permutation.apply(int(n), dtype.numpy, seed, offset, devices.resolve(device)), out, requires_grad)


def _like(op, input, format, draw, dtype, device, **rest):
    """What `draw` gives of the size, dtype, device and strides of a tensor, unless told otherwise."""
    if not isinstance(input, Variable):
        raise TypeError(f"{op}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    dtype, device, strides = dtype or input.dtype, device or input.device, strides_of_like(op, input, format)
    return lying(tuple(input.array.shape), strides, lambda size: draw(size=size, dtype=dtype, device=device, **rest))


@export("rand_like")
def rand_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None, generator=None):
    """Uniform numbers in [0, 1), of the size, dtype and device of `input`."""
    return finish(
        _like("rand_like", input, memory_format, rand, dtype, device, generator=generator), None, requires_grad
    )


@export("randn_like")
def randn_like(input, *, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None, generator=None):
    """Standard normal numbers, of the size, dtype and device of `input`."""
    return finish(
        _like("randn_like", input, memory_format, randn, dtype, device, generator=generator), None, requires_grad
    )


@export("randint_like")
def randint_like(input, low, high=None, *, dtype=None, layout=None, device=None, requires_grad=False,
                 memory_format=None, generator=None):  # fmt: skip
    """Integers from `low` up to, without, `high`, of the size, dtype and device of `input`."""
    low, high = (0, low) if high is None else (low, high)
    made = _like("randint_like", input, memory_format, randint, dtype, device, low=low, high=high, generator=generator)
    return finish(made, None, requires_grad)


@export("normal")
def normal(mean=0.0, std=1.0, size=None, *, generator=None, out=None, dtype=None, layout=None, device=None,
           requires_grad=False, pin_memory=False):  # fmt: skip
    """Normal numbers: of one mean and deviation and a size, or with a tensor for either."""
    source = generator_of("normal", generator)
    if size is not None:
        _check_deviation(std)
        kind = _floating("normal", dtype, "normal_kernel_cpu")
        size = creation.size_of("normal", (size,))
        return finish(draw_normal(size, mean, std, kind, devices.resolve(device), source), out, requires_grad)
    tensor = mean if isinstance(mean, Variable) else std
    if not isinstance(tensor, Variable):
        raise TypeError("normal(): missing argument 'size': without it, mean or std must be a Tensor")
    if isinstance(std, Variable):
        if std.array.size and (std < 0).any():
            raise RuntimeError("normal expects all elements of std >= 0.0")
    else:
        _check_deviation(std)
    sample = (mean + std).detach()
    drawn = draw_normal(sample.array.shape, 0, 1, sample.array.dtype, sample.device, source) * std + mean
    if not drawn.requires_grad:
        return finish(drawn, out)
    # PyTorch's gradient of a draw is zero, not that of noise * std + mean.
    never = creation.full_of("normal", drawn.array.shape, False, dtypes.bool_, drawn.device)
    return TABLE["where"].apply(never, drawn, drawn.detach())


def _check_deviation(std):
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")


@export("bernoulli", "Tensor.bernoulli")
def bernoulli(input, p=None, *, generator=None, out=None):
    """1 with the probability that each element of `input` has (or with probability `p`), else 0."""
    source = generator_of("bernoulli", generator)
    if p is not None:
        return finish(input.detach().clone().bernoulli_(p, generator=generator), out)
    if not input.is_floating_point():
        raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{KIND_NAMES[input.dtype.name]}'")
    if input.device.is_host and not ((input.on_host() >= 0) & (input.on_host() <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    seed, offset = source.take(blocks(input.array.size, np.dtype(np.float32)))
    return finish(Bernoulli.apply(input, seed, offset), out)


# ---------------------------------------------------------------- filled in place


@export("Tensor.uniform_")
def uniform_(self, from_=0.0, to=1.0, *, generator=None, **named):
    """Write uniform numbers between `from` and `to` to every element."""
    low = named.pop("from", from_)
    if low > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    kind = _floating("uniform_", self.dtype, "check_uniform_bounds")
    source = generator_of("uniform_", generator)
    return self.copy_(draw_uniform(self.array.shape, low, to, kind, self.device, source))


@export("Tensor.normal_")
def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Write normal numbers to every element."""
    _check_deviation(std)
    kind = _floating("normal_", self.dtype, "normal_kernel_cpu")
    return self.copy_(draw_normal(self.array.shape, mean, std, kind, self.device, generator_of("normal_", generator)))


@export("Tensor.exponential_")
def exponential_(self, lambd=1.0, *, generator=None):
    """Write exponentially distributed numbers, -log(1 - u) / lambd, to every element."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    kind = _floating("exponential_", self.dtype, "exponential")
    u = draw_uniform(self.array.shape, 0, 1, kind, self.device, generator_of("exponential_", generator))
    return self.copy_((1 - u).log() * (-1 / lambd))


@export("Tensor.cauchy_")
def cauchy_(self, median=0.0, sigma=1.0, *, generator=None):
    """Write numbers of the Cauchy distribution, median + sigma tan(pi (u - 1/2)), to every element."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    if not self.is_floating_point():
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {C_NAMES[self.dtype.name]} int"
        )
    u = _uniform_like(self, generator_of("cauchy_", generator))
    return self.copy_(((u - 0.5) * math.pi).tan() * sigma + median)


@export("Tensor.log_normal_")
def log_normal_(self, mean=1.0, std=2.0, *, generator=None):
    """Write exp of normal numbers to every element."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    kind = _floating("log_normal_", self.dtype, "log_normal_cpu")
    source = generator_of("log_normal_", generator)
    return self.copy_(draw_normal(self.array.shape, mean, std, kind, self.device, source).exp())


@export("Tensor.geometric_")
def geometric_(self, p, *, generator=None):
    """Write how many trials of probability `p` it takes to succeed, ceil(log(1 - u) / log(1 - p)), to every element."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    u = _uniform_like(self, generator_of("geometric_", generator))
    return self.copy_(((1 - u).log() * (1 / math.log1p(-p))).ceil().clamp_min(1))


def _uniform_like(tensor, generator):
    """Uniform numbers in [0, 1) in float32 at least: half precision has too few of them."""
    kind = np.dtype(np.float64 if tensor.array.dtype == np.float64 else np.float32)
    return draw_uniform(tensor.array.shape, 0, 1, kind, tensor.device, generator)


@export("Tensor.bernoulli_")
def bernoulli_(self, p=0.5, *, generator=None):
    """Write 1 with probability `p` (a number or a tensor of probabilities), else 0, to every element."""
    if isinstance(p, Variable):
        return self.copy_(bernoulli(p.expand(self.shape), generator=generator))
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    source = generator_of("bernoulli_", generator)
    return self.copy_(draw_uniform(self.array.shape, 0, 1, np.dtype(np.float32), self.device, source) < p)


@export("Tensor.random_")
def random_(self, from_=0, to=None, *, generator=None, **named):
    """Write integers: random_(), random_(to) or random_(from, to); without a bound, all that the dtype can count."""
    low, dtype = named.pop("from", from_), self.dtype
    if to is None and low:
        low, to = 0, low
    if to is None:
        exact = {dtypes.float64: 53, dtypes.float16: 11, dtypes.bfloat16: 8}
        to = 2 ** exact.get(dtype, 24) + 1 if dtype.is_floating_point else _limits(dtype)[1] + 1
    source = generator_of("random_", generator)
    return self.copy_(draw_integers(self.array.shape, int(low), int(to), dtype, self.device, source))


_SHORTEST_WAIT = 2.0**-30


@export("multinomial", "Tensor.multinomial")
def multinomial(input, num_samples, replacement=False, *, generator=None, out=None):
    """Indices drawn with the probabilities that the rows of `input` are proportional to.

    Of exponentially distributed waiting times with these rates, each index is first with its probability; without
    replacement the `num_samples` first are taken.
    """
    _check_multinomial(input, num_samples, replacement)
    if out is not None and out.dtype is not dtypes.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {KIND_NAMES[out.dtype.name]}")
    shape = input.array.shape
    kind = dtypes.promote_types(input.dtype, dtypes.float32)  # waits in half precision would often be equal
    source, rows = generator_of("multinomial", generator), input.detach().to(kind).unsqueeze(-2)
    draws = (*shape[:-1], num_samples if replacement else 1, shape[-1])
    waits = input.detach().new_zeros(draws, dtype=kind).exponential_(generator=source)
    waits.clamp_(min=_SHORTEST_WAIT)  # no 0 / 0, by which an index of probability 0 would come first
    if replacement:
        return finish((rows / waits).argmax(-1), out)
    speeds, found = (rows / waits).squeeze(-2), []
    places = creation.arange(shape[-1], device=input.device)
    for _ in range(num_samples):
        found.append(speeds.argmax(-1, keepdim=True))
        speeds = speeds.masked_fill(places == found[-1], -1.0)
    return finish(EXPORTS["cat"](found, -1), out)


def _check_multinomial(input, num_samples, replacement):
    if not 1 <= input.array.ndim <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not input.is_floating_point():
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {KIND_NAMES[input.dtype.name]}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.array.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    array = input.on_host() if input.device.is_host else None
    if input.device.is_host and not (np.isfinite(array) & (array >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if input.device.is_host and (array.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
