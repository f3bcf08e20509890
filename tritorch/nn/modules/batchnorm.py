"""Batch norms: activations brought to mean 0 and variance 1 over the batch, then scaled and shifted as learned.

Source: Ioffe, Szegedy, Batch Normalization, 2015.
"""

from __future__ import annotations

from tritorch import creation
from tritorch.nn import functional as F
from tritorch.nn import init
from tritorch.nn.modules.lazy import LazyModuleMixin
from tritorch.nn.modules.module import Module
from tritorch.nn.modules.utils import listed
from tritorch.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter
from tritorch.runtime.dtypes import int64

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "SyncBatchNorm",
]


class _NormBase(Module):
    """Scale and shift of each channel, and the running mean and variance: what batch and instance norms share."""

    _version = 2  # since then there is num_batches_tracked

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None,
                 dtype=None, *, bias=True):  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats

        def made(wanted):
            return Parameter(creation.empty(num_features, device=device, dtype=dtype)) if wanted else None

        self.register_parameter("weight", made(affine))
        self.register_parameter("bias", made(affine and bias))
        mean = variance = count = None
        if track_running_stats:
            mean = creation.zeros(num_features, device=device, dtype=dtype)
            variance = creation.ones(num_features, device=device, dtype=dtype)
            count = creation.tensor(0, device=device, dtype=int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", variance)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self):
        """Mean 0, variance 1, no batch seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        """Scale 1, shift 0, and fresh running statistics."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input):
        raise NotImplementedError(f"{type(self).__name__} does not say which inputs it takes")

    def extra_repr(self):
        return (
            f"{self.num_features}, {listed(self, ('eps', 'momentum', 'affine'))}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        version = local_metadata.get("version")
        if (version is None or version < 2) and self.track_running_stats:
            key = prefix + "num_batches_tracked"
            if key not in state_dict:
                state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class _BatchNorm(_NormBase):
    """(x - mean) / sqrt(variance + eps) weight + bias, with the batch's statistics while training."""

    def forward(self, input):
        self._check_input_dim(input)
        momentum, tracks = self.momentum, self.training and self.track_running_stats
        if tracks and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:  # the plain mean over all batches
                momentum = 1.0 / float(self.num_batches_tracked)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        seen = not self.training or self.track_running_stats
        return self._normalize(
            input,
            self.running_mean if seen else None,
            self.running_var if seen else None,
            by_batch,
            0.0 if momentum is None else momentum,
        )

    def _normalize(self, input, running_mean, running_var, by_batch, momentum):
        return F.batch_norm(input, running_mean, running_var, self.weight, self.bias, by_batch, momentum, self.eps)


class _LazyNormBase(LazyModuleMixin, _NormBase):
    """A norm that takes the number of channels from its first input."""

    def __init__(self, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None, *,
                 bias=True):  # fmt: skip
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=bias)
        self.affine, self.track_running_stats = affine, track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = creation.tensor(0, device=device, dtype=int64)

    def reset_parameters(self):
        """As the class that this one becomes, once there is something to start."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input):
        """Take the number of channels from the input, make the parameters and buffers and start them."""
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[1]
        for each in (self.weight, self.bias, self.running_mean, self.running_var):
            if each is not None:
                each.materialize((self.num_features,))
        self.reset_parameters()


def refuse_dims(input, *accepted):
    """Refuse an input that has another number of dimensions."""
    if input.dim() not in accepted:
        expected = " or ".join(f"{count}D" for count in accepted)
        raise ValueError(f"expected {expected} input (got {input.dim()}D input)")


class BatchNorm1d(_BatchNorm):
    """Batch norm over (N, C) or (N, C, L)."""

    def _check_input_dim(self, input):
        refuse_dims(input, 2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm over (N, C, H, W)."""

    def _check_input_dim(self, input):
        refuse_dims(input, 4)


class BatchNorm3d(_BatchNorm):
    """Batch norm over (N, C, D, H, W)."""

    def _check_input_dim(self, input):
        refuse_dims(input, 5)


class LazyBatchNorm1d(_LazyNormBase, _BatchNorm):
    """BatchNorm1d with num_features from the first input."""

    cls_to_become = BatchNorm1d

    def _check_input_dim(self, input):
        refuse_dims(input, 2, 3)


class LazyBatchNorm2d(_LazyNormBase, _BatchNorm):
    """BatchNorm2d with num_features from the first input."""

    cls_to_become = BatchNorm2d

    def _check_input_dim(self, input):
        refuse_dims(input, 4)


class LazyBatchNorm3d(_LazyNormBase, _BatchNorm):
    """BatchNorm3d with num_features from the first input."""

    cls_to_become = BatchNorm3d

    def _check_input_dim(self, input):
        refuse_dims(input, 5)


class SyncBatchNorm(_BatchNorm):
    """Batch norm over (N, C, ...) with statistics of all ranks of a process group, whose batches may differ in size.

    It is BatchNorm in one process, in evaluation, and before init_process_group.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True,
                 process_group=None, device=None, dtype=None, *, bias=True):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input):
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")
        if input.shape[1] == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")

    def _normalize(self, input, running_mean, running_var, by_batch, momentum):
        if not self.training:
            return super()._normalize(input, running_mean, running_var, by_batch, momentum)
        # Brings tritorch.distributed, which importing tritorch does not.
        from tritorch.nn.modules.sync_batch_norm import ranks_to_join, sync_batch_norm

        group = ranks_to_join(self.process_group)
        if group is None:
            return super()._normalize(input, running_mean, running_var, by_batch, momentum)
        return sync_batch_norm(input, running_mean, running_var, self.weight, self.bias, momentum, self.eps, group)

    @classmethod
    def convert_sync_batchnorm(cls, module, process_group=None):
        """The module with a SyncBatchNorm of the same tensors in the place of every batch norm inside."""
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                       process_group, bias=module.bias is not None)  # fmt: skip
            made.weight, made.bias = module.weight, module.bias
            made.running_mean, made.running_var = module.running_mean, module.running_var
            made.num_batches_tracked, made.training = module.num_batches_tracked, module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made
