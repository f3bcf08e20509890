"""Start a script on several local ranks; all end when one fails, and the first failure's traceback comes last.

tritorch launch -n 2 train.py --epochs 3
tritorch launch -n 2 --torch -m package.train
"""

from __future__ import annotations

import argparse
import sys

from tritorch.cli.main import USAGE


def add_arguments(parser):
    """How many ranks and where, then a script or -m and a module, and its own arguments."""
    parser.add_argument("-n", "--nproc-per-node", type=int, default=1, help="ranks on this machine")
    parser.add_argument("--nnodes", type=int, default=1, help="machines (engine processes)")
    parser.add_argument("--node-rank", type=int, default=0, help="which of them this one is")
    parser.add_argument("--master-addr", default="127.0.0.1", help="the machine of rank 0")
    parser.add_argument("--master-port", type=int, help="a free port there")
    parser.add_argument("--engine", choices=("mpi", "processes"), help="mpiexec, or plain processes (with GPUs)")
    parser.add_argument("--torch", action="store_true", help="`import torch` means tritorch, as in tritorch run")
    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE ...", help="run a module")
    parser.add_argument("script", nargs=argparse.REMAINDER, metavar="SCRIPT ...", help="the script and its arguments")


def run(options):
    """Start the ranks; gives the exit code of the first that failed."""
    from tritorch import cuda
    from tritorch.distributed import launcher

    engine = options.engine or ("processes" if cuda.is_available() else "mpi")
    problem = _problem(options, engine, launcher)
    if problem:
        print(f"tritorch launch: {problem}", file=sys.stderr)
        return USAGE
    program = ["-m", *options.module] if options.module else options.script
    return launcher.launch(program, options.nproc_per_node, engine, options.nnodes, options.node_rank,
                           options.master_addr, options.master_port, options.torch)  # fmt: skip


def _problem(options, engine, launcher):
    """What is wrong with the options, or None."""
    if not (options.module or options.script):
        return "needs a script, or -m and a module"
    if options.nproc_per_node < 1:
        return f"-n must be at least 1, not {options.nproc_per_node}"
    if not 0 <= options.node_rank < options.nnodes:
        return f"--node-rank must be from 0 to {options.nnodes - 1}, not {options.node_rank}"
    if options.nnodes > 1 and (engine == "mpi" or options.master_port is None):
        return "--nnodes above 1 needs --engine processes and --master-port; with MPI use mpiexec's own hosts"
    if engine == "mpi" and launcher.find_mpiexec() is None:
        return "no mpiexec found: pip install 'tritorch[distributed]', or --engine processes"
    return None
