"""The library on the other side.

Its work runs on this library's stream: then one pair of the driver's events, recorded there, times either side; both
come after the same flush of the cache in one queue; and nothing waits for another stream, which would count as time of
whoever came second. torch's own events would be a second clock, on a stream that ours does not wait for.
"""

from __future__ import annotations

import contextlib
import importlib
import os

from tritorch.functional.interop import from_dlpack


class NoPeer(Exception):
    """The other library is not here, or cannot be used on the device; the text says what to do."""


class Torch:
    """PyTorch, imported when asked for and never otherwise."""

    name = "torch"

    def __init__(self, device):
        try:
            self.lib = importlib.import_module("torch")
            importlib.import_module("torch.nn.attention")
        except ImportError as error:
            raise NoPeer(
                f"--against torch needs PyTorch, which cannot be imported ({error}): pip install 'tritorch[bench]'"
            ) from error
        self.version = str(self.lib.__version__)
        if device.is_cuda and not self.lib.cuda.is_available():
            raise NoPeer(
                f"--against torch needs a PyTorch that sees the GPU: torch {self.version} has no CUDA here. Install "
                "one built for CUDA (extra `bench`, pip install 'tritorch[bench]'), or compare with --device cpu"
            )

    def tensors(self, tensors):
        """The same memory as tensors of the other library."""
        return [self.lib.from_dlpack(each) for each in tensors]

    def arrays(self, tensors):
        """The arrays of its results."""
        return [from_dlpack(each.detach()).array for each in tensors]

    def compiled(self, function):
        """A function or a module as the library's compiler makes it for the shapes it is called with.

        What was compiled before is forgotten: one case is compiled at a time. Gradients are asked for more than once of
        one result, so that the compiler may not reuse what was kept for them.
        """
        self.lib._dynamo.reset()
        importlib.import_module("torch._functorch.config").donated_buffer = False
        return self.lib.compile(function, dynamic=False)

    def launches(self, function):
        """How many kernels a call launches on the GPU, by the library's profiler; None where that sees none."""
        profiler = self.lib.profiler
        with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as found:
            function()
            self.lib.cuda.synchronize()
        kind = self.lib.autograd.DeviceType.CUDA  # also of stretches with a name, such as an optimizer's step
        on_gpu = [each for each in found.events() if each.device_type == kind and not each.is_user_annotation]
        return sum(not each.name.startswith(("Memcpy", "Memset")) for each in on_gpu) or None

    @contextlib.contextmanager
    def running(self, device):
        """Inside, its work is queued on this library's stream."""
        if not device.is_cuda:
            yield
            return
        from tritorch.runtime.cuda.stream import current_stream

        number = current_stream(device.index).cuda_stream
        with self.lib.cuda.stream(self.lib.cuda.ExternalStream(number, device=device.index)):
            yield

    @contextlib.contextmanager
    def multiplying(self, tf32):
        """Inside, float32 products are rounded to tf32 or exact; sums of half precision are kept in float32, as ours.

        cuDNN looks for its fastest algorithms at first calls, which are not timed. What was set before is put back.
        """
        lib = self.lib
        products = lib.get_float32_matmul_precision()
        switches = [
            (lib.backends.cudnn, "allow_tf32", tf32),
            (lib.backends.cudnn, "benchmark", True),
            (lib.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False),
            (lib.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", False),
        ]
        before = [getattr(place, name) for place, name, _ in switches]
        try:
            lib.set_float32_matmul_precision("high" if tf32 else "highest")
            for place, name, value in switches:
                setattr(place, name, value)
            yield
        finally:
            for (place, name, _), value in zip(switches, before, strict=True):
                setattr(place, name, value)
            lib.set_float32_matmul_precision(products)

    def products(self, device):
        """How it multiplies float32 now, "ieee" or "tf32", or what its switches say where they do not agree."""
        lib = self.lib
        ieee = lib.get_float32_matmul_precision() == "highest"
        if not device.is_cuda:
            return "ieee" if ieee else "tf32"
        overridden = os.environ.get("NVIDIA_TF32_OVERRIDE")  # cuBLAS and cuDNN obey it, whatever torch's flags say
        if overridden == "0":
            return "ieee (by NVIDIA_TF32_OVERRIDE=0)" if not ieee else "ieee"
        if ieee == lib.backends.cudnn.allow_tf32:
            return f"{'ieee' if ieee else 'tf32'} in products but {'tf32' if ieee else 'ieee'} in convolutions"
        return "ieee" if ieee else "tf32"


PEERS = {each.name: each for each in (Torch,)}
