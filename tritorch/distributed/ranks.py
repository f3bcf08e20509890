"""Which process this is of how many: what the launcher left in the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

# The launcher's variables: rank, size, rank on this machine, ranks on this machine. The first whose rank is set is
# believed: MPI's own launchers before torchrun's words (a script may have set those for itself), and Slurm's last (a
# job step of one task that runs mpiexec has them too).
_MPI = (
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMIX_RANK", "PMIX_SIZE", "PMIX_LOCAL_RANK", "PMIX_LOCAL_SIZE"),
)
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")


@dataclass(frozen=True)
class Rank:
    """One process of those that were started together."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launcher: str = "none"  # "mpi", "environment", "slurm" or "none": a process that nobody numbered
    master: tuple[str, int] | None = None


def _number(environment, name, default):
    text = environment.get(name)
    if text is None:
        return default
    head = text.split("(")[0].split(",")[0]  # Slurm writes 4(x2) for two nodes of four
    try:
        return int(head)
    except ValueError:
        raise ValueError(f"environment variable {name} is {text!r}, and a number is expected") from None


def _master(environment):
    address = environment.get("MASTER_ADDR")
    return (address, _number(environment, "MASTER_PORT", 29500)) if address else None


def rank_of_environment(environment=None):
    """The Rank that MPI's launch, RANK and WORLD_SIZE, or Slurm gave this process; rank 0 of 1 without any."""
    environment = os.environ if environment is None else environment
    tables = [("mpi", names) for names in _MPI] + [("environment", _TORCHRUN), ("slurm", _SLURM)]
    for launcher, (rank, size, local_rank, local_size) in tables:
        if rank not in environment or size not in environment:
            continue
        found = _number(environment, rank, 0), _number(environment, size, 1)
        if not 0 <= found[0] < found[1]:
            raise ValueError(f"{rank}={found[0]} is not a rank of {size}={found[1]}")
        local = _number(environment, local_rank, found[0]), _number(environment, local_size, found[1])
        return Rank(*found, *local, launcher, _master(environment))
    return Rank(master=_master(environment))
