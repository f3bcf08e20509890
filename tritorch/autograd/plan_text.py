"""The function of a plan: its text, by what was noted of a call, and the constants that the text is bound to."""

from __future__ import annotations

import functools
import math

from tritorch.runtime import launcher
from tritorch.runtime.cuda import memory
from tritorch.runtime.cuda.array import CudaArray, layout_of
from tritorch.runtime.cuda.stream import current_stream
from tritorch.runtime.device import CPU
from tritorch.runtime.packing import packer_of, scratch_bytes


class NoPlan(Exception):
    """A call that cannot be replayed."""


class Place:
    """Where a pointer of a plan points to: bytes past the start of an argument or of an allocation, by its name."""

    def __init__(self, name, offset, array):
        self.name, self.offset = name, offset
        self.described = array.shape, array.strides, array.dtype, array.device

    @property
    def pointer(self):
        """Itself: packing leaves pointers alone, so that they can be told from numbers afterwards."""
        return self


def make_plan(cls, given, trace, results):
    """The function that does again what a Trace says; `given` are the arguments of the call, stand-ins for arrays."""
    return _Writer(cls, given, trace, results).function()


class _Writer:
    """Writes the text of a plan and gathers its constants."""

    def __init__(self, cls, given, trace, results):
        self.constants, self.lines, self.launches = [], [], []
        numbers = cls.numbers(*given) if cls.passed else ()
        self.passed = dict(zip(cls.passed if numbers else (), numbers, strict=True))
        self.taken = set()  # of those, which launches were found to take
        self.origins, self.names = {}, {}  # id of a block -> (name, pointer); id of an argument -> name
        self.parameters = [f"a{at}" for at in range(len(given))]
        for name, value in zip(self.parameters, given, strict=True):
            if value.__class__ is CudaArray:
                self.origins[id(value.block)] = name, value.pointer
                self.names[id(value)] = name
        for at, array in enumerate(trace.made):
            if array.block is not None:
                self.origins[id(array.block)] = f"b{at}", array.block.pointer
                self._allocate(f"b{at}", array)
        for entry, config, values in trace.launches:
            self._launch(entry, config, values)
        if self.launches and self.taken != self.passed.keys():
            raise NoPlan  # how a number reaches the launches cannot be told
        device = self._device(given, trace)
        if self.lines:
            self._begin(cls, device)
        self.lines.append(f"return {self._result(results)}")

    def _device(self, given, trace):
        devices = {each.device for each in (*given, *trace.made) if each.__class__ is CudaArray}
        if len(devices) > 1:
            raise NoPlan
        return devices.pop() if devices else CPU

    def constant(self, value):
        """The name by which the text knows a value."""
        self.constants.append(value)
        return f"c{len(self.constants) - 1}"

    def _begin(self, cls, device):
        index = self.constant(device.index)
        start = [f"stream = current_stream({index})"]
        if self.passed:
            numbers = self.constant(cls.numbers)
            start.append(f"{', '.join(self.passed)}, = {numbers}({', '.join(self.parameters)})")
        if self.launches:
            watch = self.constant(functools.partial(_Watched, self.launches, tuple(self.passed)))
            passed = "".join(f"{name}, " for name in self.passed)
            start += [f"deliver = {watch}(stream, ({passed})) if hooks else launch", "core = stream.core"]
        self.lines[:0] = start

    def _allocate(self, name, array):
        nbytes = array.nbytes
        take = self.constant(memory.allocator(array.device.index).take)
        charged, capacity = map(self.constant, (memory.charged_bytes(nbytes), memory.chunk_capacity(nbytes)))
        self.lines.append(f"{name} = {take}({charged}, {capacity}, stream)")

    # -------------------------------------------------------------------------------------------- launches

    def _launch(self, entry, config, values):
        placed = tuple([self._placed(value) for value in values])
        packed = self._packed(entry, config, placed)
        pointers = tuple([at for at, each in enumerate(packed) if each.__class__ is Place])
        self.launches.append((entry, placed, pointers))
        name = self.constant(config)
        kernel = self.constant(entry.core)
        texts = [self._pointer_text(each) if each.__class__ is Place else self.constant(each) for each in packed]
        for parameter in self._passed_to(entry, values):
            at = self._place_of(entry, config, placed, packed, parameter)
            pack = packer_of(entry.signature[parameter])
            texts[at] = parameter if pack is None else f"{self.constant(pack)}({parameter})"
        if scratch_bytes(entry.metadata):
            texts[-2] = self._scratch(entry, config)
        self.lines.append(f"deliver(core, {name}, {kernel}, {', '.join(texts)})")

    def _scratch(self, entry, config):
        """The expression of the pointer to memory that a launch keeps to itself, after the lines that find it."""
        nbytes = scratch_bytes(entry.metadata) * math.prod(config.grid)
        scratch_of = self.constant(memory.allocator(entry.device_index).scratch_of)
        self.lines.append(f"scratch = {scratch_of}({self.constant(nbytes)}, stream)")
        return "scratch.pointer"

    def _passed_to(self, entry, values):
        """The names of an entry's parameters that take numbers which change."""
        found = []
        for parameter, value in zip(entry.kernel.params, values, strict=True):
            if parameter.name in self.passed:
                specialised = not (parameter.do_not_specialize or parameter.annotation_type in ("fp32", "fp64"))
                if parameter.is_constexpr or specialised or value != self.passed[parameter.name]:
                    raise NoPlan
                found.append(parameter.name)
        self.taken.update(found)
        return found

    def _place_of(self, entry, config, placed, packed, parameter):
        """Where among the packed parameters one is, which shows when it gets another value."""
        others = [-value - 1 if each.name == parameter else value
                  for each, value in zip(entry.kernel.params, placed, strict=True)]  # fmt: skip
        again = self._packed(entry, config, others)
        places = [
            at for at, (a, b) in enumerate(zip(packed, again, strict=True)) if a.__class__ is not Place and a != b
        ]
        if len(places) != 1:
            raise NoPlan
        return places[0]

    def _placed(self, value):
        """A value of a launch with Places for arrays."""
        if value.__class__ is tuple:
            return tuple([self._placed(each) for each in value])
        if value.__class__ is not CudaArray:
            if hasattr(value, "pointer"):
                raise NoPlan
            return value
        if value.block is None:
            return value  # an empty array, without memory
        name, start = self._origin(value)
        return Place(name, value.pointer - start, value)

    def _origin(self, array):
        found = self.origins.get(id(array.block))
        if found is None:
            raise NoPlan  # memory from elsewhere, which may be somewhere else at the next call
        return found

    @staticmethod
    def _packed(entry, config, placed):
        packed = []
        stream = current_stream(entry.device_index)
        entry.call(lambda _stream, _config, _core, *each: packed.extend(each), stream, config, *placed)
        return packed

    def _pointer_text(self, place):
        start = f"{place.name}.pointer"
        return f"{start} + {self.constant(place.offset)}" if place.offset else start

    # -------------------------------------------------------------------------------------------- results

    def _result(self, result):
        """The expression of a result, after the lines that make it."""
        if result is None:
            return "None"
        if isinstance(result, tuple):
            texts = "".join(f"{self._result(each)}, " for each in result)
            return f"{self.constant(type(result)._make)}(({texts}))" if hasattr(result, "_make") else f"({texts})"
        if result.__class__ is not CudaArray:
            raise NoPlan
        found = self.names.get(id(result))
        return found if found is not None else self._made(result)

    def _made(self, array):
        name = self.names[id(array)] = f"r{len(self.names)}"
        block, pointer = "None", self.constant(array.pointer)
        if array.block is not None:
            origin, start = self._origin(array)
            place = Place(origin, array.pointer - start, array)
            pointer, block = self._pointer_text(place), origin if origin[0] == "b" else f"{origin}.block"
        shape, steps, dtype, code, device, layout = map(self.constant, (
            array.shape, array.strides, array.dtype, array.code, array.device, layout_of(array)
        ))  # fmt: skip
        self.lines += [
            f"{name} = new(CudaArray)",
            f"{name}.block = {block}; {name}.pointer = {pointer}; {name}.shape = {shape}; {name}.strides = {steps}",
            f"{name}.dtype = {dtype}; {name}.code = {code}; {name}.device = {device}; {name}.layout = {layout}",
        ]
        return name

    def function(self):
        """The plan."""
        constants = ", ".join(f"c{at}" for at in range(len(self.constants)))
        body = "\n".join(f"        {line}" for line in self.lines)
        parameters = ", ".join(self.parameters)
        text = f"def make({constants}):\n    def plan({parameters}):\n{body}\n    return plan\n"
        return _maker(text)(*self.constants)


@functools.lru_cache(maxsize=1024)
def _maker(text):
    """What binds constants to the text of a plan."""
    names = {
        "launch": launcher.core_launch(), "hooks": launcher._hooks, "current_stream": current_stream,
        "CudaArray": CudaArray, "new": object.__new__,
    }  # fmt: skip
    exec(text, names)
    return names["make"]


class _Watched:
    """What gets the launches of a plan where a hook wants to see them: with arrays, as an op makes them."""

    def __init__(self, launches, passed, stream, numbers):
        self.launches, self.stream = iter(launches), stream
        self.numbers = dict(zip(passed, numbers, strict=True))

    def __call__(self, _core, config, _kernel, *packed):
        entry, values = self.next_launch(packed)
        entry.hand_over(self.stream, config, config.grid, *values)

    def next_launch(self, packed):
        """The entry of the launch that comes next, and the values of its parameters."""
        entry, values, pointers = next(self.launches)
        found = iter([packed[at] for at in pointers])
        named = zip(entry.kernel.params, values, strict=True)
        return entry, [self.numbers.get(each.name, _filled(value, found)) for each, value in named]


def _filled(value, pointers):
    """A value of a launch, with arrays at the pointers of now in the place of Places."""
    if value.__class__ is tuple:
        return tuple([_filled(each, pointers) for each in value])
    return CudaArray(None, next(pointers), *value.described) if value.__class__ is Place else value
