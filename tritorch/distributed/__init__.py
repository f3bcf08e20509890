"""Several processes that train together: groups of ranks and their collectives, over MPI and NCCL; PyTorch's names."""

from __future__ import annotations

from tritorch.distributed.collectives import all_gather as all_gather
from tritorch.distributed.collectives import all_gather_into_tensor as all_gather_into_tensor
from tritorch.distributed.collectives import all_reduce as all_reduce
from tritorch.distributed.collectives import all_to_all as all_to_all
from tritorch.distributed.collectives import all_to_all_single as all_to_all_single
from tritorch.distributed.collectives import barrier as barrier
from tritorch.distributed.collectives import broadcast as broadcast
from tritorch.distributed.collectives import gather as gather
from tritorch.distributed.collectives import reduce as reduce
from tritorch.distributed.collectives import reduce_scatter as reduce_scatter
from tritorch.distributed.collectives import reduce_scatter_tensor as reduce_scatter_tensor
from tritorch.distributed.collectives import scatter as scatter
from tritorch.distributed.group import Backend as Backend
from tritorch.distributed.group import GroupMember as GroupMember
from tritorch.distributed.group import ProcessGroup as ProcessGroup
from tritorch.distributed.group import default_pg_timeout as default_pg_timeout
from tritorch.distributed.group import destroy_process_group as destroy_process_group
from tritorch.distributed.group import get_backend as get_backend
from tritorch.distributed.group import get_global_rank as get_global_rank
from tritorch.distributed.group import get_group_rank as get_group_rank
from tritorch.distributed.group import get_process_group_ranks as get_process_group_ranks
from tritorch.distributed.group import get_rank as get_rank
from tritorch.distributed.group import get_world_size as get_world_size
from tritorch.distributed.group import group as group
from tritorch.distributed.group import init_process_group as init_process_group
from tritorch.distributed.group import is_available as is_available
from tritorch.distributed.group import is_gloo_available as is_gloo_available
from tritorch.distributed.group import is_initialized as is_initialized
from tritorch.distributed.group import is_mpi_available as is_mpi_available
from tritorch.distributed.group import is_nccl_available as is_nccl_available
from tritorch.distributed.group import is_torchelastic_launched as is_torchelastic_launched
from tritorch.distributed.group import is_ucc_available as is_ucc_available
from tritorch.distributed.group import new_group as new_group
from tritorch.distributed.messages import P2POp as P2POp
from tritorch.distributed.messages import batch_isend_irecv as batch_isend_irecv
from tritorch.distributed.messages import irecv as irecv
from tritorch.distributed.messages import isend as isend
from tritorch.distributed.messages import recv as recv
from tritorch.distributed.messages import send as send
from tritorch.distributed.objects import all_gather_object as all_gather_object
from tritorch.distributed.objects import broadcast_object_list as broadcast_object_list
from tritorch.distributed.objects import gather_object as gather_object
from tritorch.distributed.objects import scatter_object_list as scatter_object_list
from tritorch.distributed.reduce_op import ReduceOp as ReduceOp
from tritorch.distributed.reduce_op import reduce_op as reduce_op
from tritorch.distributed.store import HashStore as HashStore
from tritorch.distributed.store import PrefixStore as PrefixStore
from tritorch.distributed.store import Store as Store
from tritorch.distributed.store import TCPStore as TCPStore
from tritorch.distributed.work import Work as Work
from tritorch.rooms import found_when_asked

__getattr__ = found_when_asked(__name__)
