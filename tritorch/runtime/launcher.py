"""Launches compiled kernels on a GPU: per kernel one generated function that goes from arguments to a queued launch.

The function computes a key from all that compiled code depends on: the dtype and alignment of arrays, the class of
integers, the types of other numbers, constants with their types, options. The key leads to an `Entry`, whose own
generated function packs the parameters. A launch that is already known costs two to four microseconds, by the number of
arguments; `tritorch bench launch` measures it.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np

from tritorch.runtime import interpreter, plans
from tritorch.runtime.binding import OPTIONS, binder_of, checked_grid, parameters
from tritorch.runtime.language import triton_lock
from tritorch.runtime.launch_key import class_of, is_device_array, key_text, tag_of, type_of
from tritorch.runtime.packing import check_packed, generate_call

_LARGEST_CONFIGS = 4096  # grids remembered per entry
_DEFAULT_SHARED_MEMORY = 48 * 1024  # more has to be asked for
_COOPERATIVE_LAUNCH_TOO_LARGE = 720  # the driver's error
_hooks: dict = {}  # "instead": what gets launches in the place of the driver; "around": see set_launch_watcher


def set_launch_hook(function):
    """Call `function(kernel, grid, args, constants, options)` in the place of the driver's launch; None ends that.

    Binding, compiling, loading and packing still run. `args` are the values of the parameters that are no constants, in
    order; `constants` and `options` are by name. Gives the hook that was there before.
    """
    return _set_hook("instead", function)


def set_launch_watcher(function):
    """Enter `function(kernel, stream)`, a context manager, around launches; None ends that. Gives the one before."""
    return _set_hook("around", function)


def set_launch_note(function):
    """Call `function(entry, config, values)` before each launch, None ends that; gives the one before.

    The Entry is that of the compiled kernel, the config cuda-core's, the values those of all parameters in order.
    """
    return _set_hook("note", function)


def is_diverted():
    """Whether launches go to a hook in the place of the driver."""
    return "instead" in _hooks


def _set_hook(kind, function):
    before = _hooks.pop(kind, None)
    if function is not None:
        _hooks[kind] = function
    return before


def interpret_instead(kernel, grid, args, constants, options):
    """A launch hook for a driver whose device memory is the host's: every launch is interpreted on that memory."""
    names = [each.name for each in kernel.params if not each.is_constexpr]
    interpreter.interpret(kernel, grid, (), {**dict(zip(names, args, strict=True)), **constants, **options})


def find_device_array(values):
    """The first array of a GPU among arguments of a launch, also in tuples, or None."""
    for value in values:
        if type(value) is tuple:
            found = find_device_array(value)
            if found is not None:
                return found
        elif is_device_array(value):
            return value
    return None


def launcher_of(kernel, device_index, args, keywords):
    """The launcher of a materialised kernel for a GPU; the arguments are those of the first launch, if it is one."""
    launchers = kernel.__dict__.get("_launchers")
    if launchers is None:
        launchers = kernel._launchers = {}
    launcher = launchers.get(device_index)
    if launcher is None:
        values, _ = binder_of(kernel)(*args, **keywords)
        launcher = launchers[device_index] = Launcher(kernel, device_index, values)
        if len(launchers) == 1 and launcher.knows_its_device:
            kernel.start = launcher.run  # from now on `kernel[grid]` leads there without a detour
    return launcher


def forget(kernel):
    """Let go of all that was compiled and loaded for a kernel in this process."""
    kernel.__dict__.pop("_launchers", None)
    kernel.__dict__.pop("start", None)
    plans.invalidate()


def entries(kernel):
    """All compiled and loaded versions of a kernel in this process, for looking at their resources."""
    return [each for launcher in kernel.__dict__.get("_launchers", {}).values() for each in launcher.entries.values()]


class Launcher:
    """A kernel on one device: its generated function `run(grid, *args, **keywords)` and the entries it leads to.

    The function is fastest for arguments of the types that `values`, those of the first launch, have. It hands a launch
    whose first array is not on its device to `kernel.launch`.
    """

    def __init__(self, kernel, device_index, values):
        self.kernel, self.device_index = kernel, device_index
        self.entries: dict = {}
        self.knows_its_device = False  # whether `run` looks at an argument to see that it is on this device
        self.run = self._generate(values)

    def _generate(self, expected):
        from tritorch.runtime.cuda.stream import current_stream

        text, names = parameters(self.kernel)
        values = "".join(f"{each.name}, " for each in self.kernel.params)
        pairs = list(zip(self.kernel.params, expected, strict=True))
        key = "".join(f"{key_text(each, value, names)}, " for each, value in pairs)
        source = (
            f"def {self.kernel.__name__}(_grid, {text}):\n"
            f"{self._guard(pairs, names)}"
            f"    try:\n"
            f"        _key = ({key}{', '.join(OPTIONS)})\n"
            f"        _entry = _find(_key) or _miss(_key, ({values}), ({', '.join(OPTIONS)}))\n"
            f"        _config = _entry.configs.get(_grid) or _entry.config(_grid)\n"
            f"        if _config is None:\n"
            f"            return\n"
            f"        if _hooks:\n"
            f"            _entry.hand_over(_stream({self.device_index}), _config, _grid, {values})\n"
            f"        else:\n"
            f"            _entry.call(_launch, _stream({self.device_index}), _config, {values})\n"
            f"    except Exception as _error:\n"
            f"        raise _failed(_error, _grid, ({values}), ({', '.join(OPTIONS)}))\n"
        )
        names |= {"_find": self.entries.get, "_miss": self._miss, "_stream": current_stream, "_hooks": _hooks}
        names["_failed"] = self._failed
        names |= {"_class": class_of, "_type": type_of, "_tag": tag_of, "_launch": core_launch()}
        exec(source, names)
        return names[self.kernel.__name__]

    def _guard(self, pairs, names):
        """The text that hands over what is for another device, if an argument itself is an array."""
        for parameter, value in pairs:
            if not parameter.is_constexpr and is_device_array(value):
                self.knows_its_device = True
                names |= {"_array": type(value), "_device": value.device, "_handed_over": self._handed_over}
                test = f"{parameter.name}.__class__ is _array and {parameter.name}.device is _device"
                arguments = "".join(f"{each.name}, " for each, _ in pairs)
                launch = f"_grid, ({arguments}), ({', '.join(OPTIONS)})"
                return f"    if not ({test}) and _handed_over({launch}):\n        return\n"
        return ""

    def _handed_over(self, grid, values, options):
        """Whether a launch is for another device, and was handed over: another array may say that it is for this."""
        array = find_device_array(values)
        if array is not None and array.device.index == self.device_index:
            return False
        self.kernel.launch(grid, *values, **_chosen(options))
        return True

    def _failed(self, error, grid, values, options):
        """The exception to raise for one that a launch ended with: it tells the launch, and is ours."""
        from tritorch.runtime.cuda import driver
        from tritorch.runtime.kernel import note_failure

        failure = driver.translated(error, f"launching kernel {self.kernel.__name__}")
        note_failure(failure, self.kernel, grid, values, _chosen(options))
        return failure

    def _miss(self, key, values, options):
        for parameter, value in zip(self.kernel.params, values, strict=True):
            if isinstance(value, np.ndarray):
                raise TypeError(
                    f"kernel {self.kernel.__name__}: argument {parameter.name!r} is a NumPy array on the host, others "
                    f"are on cuda:{self.device_index}; a launch takes arrays of one device"
                )
        with triton_lock:
            entry = self.entries.get(key)
            if entry is None:
                entry = self.entries[key] = Entry(
                    self.kernel, values, dict(zip(OPTIONS, options, strict=True)), self.device_index
                )
        return entry


def _chosen(options):
    return {name: value for name, value in zip(OPTIONS, options, strict=True) if value is not None}


class Entry:
    """A compiled kernel, loaded on a device, for one key.

    `registers` per thread, `spills` (bytes of local memory per thread) and `shared_memory` (bytes per block) are what
    it takes, `constants` and `options` what it was compiled for; `call(launch, stream, config, *values)` launches it.
    """

    def __init__(self, kernel, values, options, device_index):
        from tritorch.runtime.compile import compile_values, resources
        from tritorch.runtime.cuda import driver

        self.kernel, self.device_index = kernel, device_index
        self.options = {name: value for name, value in options.items() if value is not None}
        self.constants = {
            each.name: value for each, value in zip(kernel.params, values, strict=True) if each.is_constexpr
        }
        properties = driver.properties(device_index)
        major, minor = properties.capability
        compiled = compile_values(kernel, values, options, 10 * major + minor)
        self.metadata = compiled.metadata
        self.shared_memory = self.metadata.shared
        available = properties.shared_memory_per_block_optin
        if self.shared_memory > available:
            raise OutOfResources(
                f"kernel {kernel.__name__} with {self.options} and {self.constants} needs {self.shared_memory} bytes "
                f"of shared memory per block, the device has {available}"
            )
        used = resources(compiled)
        self.registers, self.spills = used.registers, used.spills
        self.core = self._load(compiled, driver)
        self.signature = compiled.src.signature  # the types of its parameters by name
        self.call = generate_call(kernel, self.signature, self.metadata, self.core, device_index)
        self.configs: dict = {}  # grid -> cuda-core's LaunchConfig

    def _load(self, compiled, driver):
        from cuda.core import ObjectCode

        driver.activate(self.device_index)
        with driver.core_errors(f"loading kernel {self.kernel.__name__}"):
            self._object = ObjectCode.from_cubin(compiled.asm["cubin"])
            core = self._object.get_kernel(self.metadata.name)
        if self.shared_memory > _DEFAULT_SHARED_MEMORY:
            api = driver.api()
            attribute = api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            driver.call(api.cuKernelSetAttribute, attribute, self.shared_memory, core.handle, self.device_index)
        return core

    def config(self, grid):
        """cuda-core's LaunchConfig of a grid, or None for a grid without programs."""
        found = self.configs.get(grid, self)
        if found is not self:
            return found
        if len(self.configs) >= _LARGEST_CONFIGS:
            self.configs.clear()
        found = self.configs[grid] = self._new_config(checked_grid(self.kernel, grid))
        return found

    def _new_config(self, grid):
        if 0 in grid:
            return None
        from cuda.core import LaunchConfig

        metadata = self.metadata
        if metadata.launch_cooperative_grid:
            self._check_all_run_at_once(grid)
        return LaunchConfig(
            grid=grid,
            block=32 * metadata.num_warps,
            cluster=(metadata.num_ctas, 1, 1) if metadata.num_ctas > 1 else None,  # the grid counts clusters then
            shmem_size=metadata.shared,
            is_cooperative=bool(metadata.launch_cooperative_grid),
            programmatic_stream_serialization=bool(metadata.launch_pdl),
        )

    def _check_all_run_at_once(self, grid):
        from tritorch.runtime.cuda import driver

        programs, sms = math.prod(grid), driver.properties(self.device_index).multi_processor_count
        each = self.core.occupancy.max_active_blocks_per_multiprocessor(
            32 * self.metadata.num_warps, self.shared_memory
        )
        if programs * self.metadata.num_ctas > each * sms:
            raise OutOfResources(
                f"kernel {self.kernel.__name__} with {self.options}: launch_cooperative_grid=True for {programs} "
                f"programs, of which {each * sms // self.metadata.num_ctas} run at once on the device",
                _COOPERATIVE_LAUNCH_TOO_LARGE,
            )

    def hand_over(self, stream, config, grid, *values):
        """A launch that is watched, or handed to a hook: then its parameters are packed as for the driver."""
        around, instead = _hooks.get("around"), _hooks.get("instead")
        if "note" in _hooks:
            _hooks["note"](self, config, values)
        with around(self.kernel, stream) if around is not None else nullcontext():
            self.call(core_launch() if instead is None else check_packed, stream, config, *values)
            if instead is not None:
                named = zip(self.kernel.params, values, strict=True)
                args = tuple(value for each, value in named if not each.is_constexpr)
                instead(self.kernel, grid, args, self.constants, self.options)


class OutOfResources(RuntimeError):
    """A compiled kernel needs more of something than the device has; another configuration may fit.

    `code` is the number of the error that the driver would have answered with, where it has one for that.
    """

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


def core_launch():
    from cuda.core import launch

    return launch
