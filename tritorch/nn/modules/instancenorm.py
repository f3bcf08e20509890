"""Instance norms: each channel of each sample brought to mean 0 and variance 1.

Source: Ulyanov, Vedaldi, Lempitsky, Instance Normalization, 2016.
"""

from __future__ import annotations

import warnings

from tritorch.nn import functional as F
from tritorch.nn.modules.batchnorm import _LazyNormBase, _NormBase, refuse_dims

__all__ = [
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
]


class _InstanceNorm(_NormBase):
    """(x - mean) / sqrt(variance + eps), over what each channel of each sample holds."""

    spatial = 1

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, device=None,
                 dtype=None, *, bias=True):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input):
        refuse_dims(input, self.spatial + 1, self.spatial + 2)

    def forward(self, input):
        self._check_input_dim(input)
        place = input.dim() - self.spatial - 1
        self._check_channels(input.shape[place], place)
        batch = input if place else input.unsqueeze(0)
        output = F.instance_norm(
            batch, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return output if place else output.squeeze(0)

    def _check_channels(self, count, place):
        if count == self.num_features:
            return
        if self.affine:
            raise ValueError(
                f"expected input's size at dim={place} to match num_features ({self.num_features}), but got: {count}."
            )
        warnings.warn(
            f"input's size at dim={place} does not match num_features. You can silence this warning by not passing in "
            "num_features, which is not used because affine=False",
            stacklevel=4,
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors):
        if local_metadata.get("version") is None and not self.track_running_stats:
            found = [name for name in ("running_mean", "running_var") if prefix + name in state_dict]
            if found:
                names, kind = " and ".join(f'"{prefix}{name}"' for name in found), type(self).__name__
                errors.append(
                    f"Unexpected running stats buffer(s) {names} for {kind} with track_running_stats=False. If "
                    "state_dict is a checkpoint saved before 0.4.0, this may be expected because "
                    f"{kind} does not track running stats by default since 0.4.0. Please remove these keys from "
                    "state_dict. If the running stats are actually needed, instead set track_running_stats=True in "
                    f"{kind} to enable them. See the documentation of {kind} for details."
                )
                for name in found:
                    del state_dict[prefix + name]
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)


class InstanceNorm1d(_InstanceNorm):
    """Instance norm over (N, C, L) or (C, L)."""

    spatial = 1


class InstanceNorm2d(_InstanceNorm):
    """Instance norm over (N, C, H, W) or (C, H, W)."""

    spatial = 2


class InstanceNorm3d(_InstanceNorm):
    """Instance norm over (N, C, D, H, W) or (C, D, H, W)."""

    spatial = 3


class _LazyInstanceNorm(_LazyNormBase, _InstanceNorm):
    def initialize_parameters(self, input):
        """Take the number of channels from the input, batched or not."""
        self._check_input_dim(input)
        super().initialize_parameters(input if input.dim() == self.spatial + 2 else input.unsqueeze(0))


class LazyInstanceNorm1d(_LazyInstanceNorm):
    """InstanceNorm1d with num_features from the first input."""

    cls_to_become, spatial = InstanceNorm1d, 1


class LazyInstanceNorm2d(_LazyInstanceNorm):
    """InstanceNorm2d with num_features from the first input."""

    cls_to_become, spatial = InstanceNorm2d, 2


class LazyInstanceNorm3d(_LazyInstanceNorm):
    """InstanceNorm3d with num_features from the first input."""

    cls_to_become, spatial = InstanceNorm3d, 3
