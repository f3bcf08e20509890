"""What fully sharded modules are asked for: strategies, precisions, and the forms of their state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from tritorch.runtime import dtypes


class ShardingStrategy(Enum):
    """What is spread over ranks, and how long a unit's parameters stay gathered.

    FULL_SHARD gathers them for a forward and again for its backward; SHARD_GRAD_OP from the forward to the end of the
    backward; NO_SHARD keeps them whole. The HYBRID ones do so within one group, and average gradients over another.
    """

    FULL_SHARD = auto()
    SHARD_GRAD_OP = auto()
    NO_SHARD = auto()
    HYBRID_SHARD = auto()
    _HYBRID_SHARD_ZERO2 = auto()


class BackwardPrefetch(Enum):
    """When the unit that backward needs next is gathered; both are before this unit's gradients are computed."""

    BACKWARD_PRE = auto()
    BACKWARD_POST = auto()


@dataclass
class MixedPrecision:
    """Dtypes of gathered parameters, of gradients as they are reduced (param_dtype's if None), and of buffers."""

    param_dtype: dtypes.dtype | None = None
    reduce_dtype: dtypes.dtype | None = None
    buffer_dtype: dtypes.dtype | None = None
    keep_low_precision_grads: bool = False
    cast_forward_inputs: bool = False
    cast_root_forward_inputs: bool = True


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """The same of `fully_shard`: dtypes of gathered parameters, of reductions, and of what forward returns."""

    param_dtype: dtypes.dtype | None = None
    reduce_dtype: dtypes.dtype | None = None
    output_dtype: dtypes.dtype | None = None
    cast_forward_inputs: bool = True


class StateDictType(Enum):
    """The form of a state_dict: whole tensors, ShardedTensors, or this rank's bare parts."""

    FULL_STATE_DICT = auto()
    LOCAL_STATE_DICT = auto()
    SHARDED_STATE_DICT = auto()


@dataclass
class StateDictConfig:
    """Where tensors of a state_dict are put."""

    offload_to_cpu: bool = False


@dataclass
class FullStateDictConfig(StateDictConfig):
    """Also whether ranks other than 0 get an empty one."""

    rank0_only: bool = False


@dataclass
class ShardedStateDictConfig(StateDictConfig):
    """As StateDictConfig."""


@dataclass
class LocalStateDictConfig(StateDictConfig):
    """As StateDictConfig."""


@dataclass
class OptimStateDictConfig:
    """Where tensors of an optimizer's state are put."""

    offload_to_cpu: bool = True


@dataclass
class FullOptimStateDictConfig(OptimStateDictConfig):
    """Also whether ranks other than 0 get an empty one."""

    rank0_only: bool = False


@dataclass
class ShardedOptimStateDictConfig(OptimStateDictConfig):
    """As OptimStateDictConfig."""


CONFIGS = {
    StateDictType.FULL_STATE_DICT: (FullStateDictConfig, FullOptimStateDictConfig),
    StateDictType.LOCAL_STATE_DICT: (LocalStateDictConfig, OptimStateDictConfig),
    StateDictType.SHARDED_STATE_DICT: (ShardedStateDictConfig, ShardedOptimStateDictConfig),
}
