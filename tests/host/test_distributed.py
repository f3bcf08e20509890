"""Collectives on ranks of MPI: values, dtypes, order, groups, disagreement."""

from __future__ import annotations

import pytest
from ranks import run_ranks

from tritorch.distributed.ranks import rank_of_environment

_CHECKS = """
import sys
import tritorch as torch, tritorch.distributed as dist
assert "mpi4py" not in sys.modules
dist.init_process_group("gloo")
r, n = dist.get_rank(), dist.get_world_size()
assert dist.get_backend() == "gloo" and dist.is_initialized() and dist.group.WORLD.size() == n

for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8):
    x = torch.full((3,), r + 1, dtype=kind)
    assert dist.all_reduce(x) is None and x.tolist() == [n * (n + 1) // 2] * 3, (kind, x)
    for op, want in (("MAX", n), ("MIN", 1)):
        x = torch.full((2, 2), r + 1, dtype=kind)
        dist.all_reduce(x, op=getattr(dist.ReduceOp, op))
        assert x.tolist() == [[want] * 2] * 2
x = torch.tensor([1.0, float(r)], dtype=torch.bfloat16)
dist.all_reduce(x, dist.ReduceOp.AVG)
assert x.tolist() == [1.0, (n - 1) / 2]
x = torch.tensor([r == 0, True, False])
dist.all_reduce(x, dist.ReduceOp.MAX)
assert x.tolist() == [True, True, False]
x = torch.zeros(0); dist.all_reduce(x)
x = torch.tensor(float(r)); dist.all_reduce(x); assert x.item() == n * (n - 1) / 2
x = torch.arange(6.0).reshape(2, 3).t()
dist.all_reduce(x); assert x.tolist() == [[0, 3 * n], [n, 4 * n], [2 * n, 5 * n]]
p = torch.nn.Parameter(torch.full((2,), float(r))); dist.broadcast(p.detach(), n - 1); assert p.tolist() == [n - 1] * 2

out = torch.zeros(2 * n); dist.all_gather_into_tensor(out, torch.tensor([float(r), 7.0]))
assert out.tolist() == [v for i in range(n) for v in (i, 7)]
parts = [torch.zeros(1) for _ in range(n)]; dist.all_gather(parts, torch.tensor([float(r)]))
assert [v.item() for v in parts] == list(range(n))
out = torch.zeros(2)
dist.reduce_scatter_tensor(out, torch.arange(2.0 * n)); assert out.tolist() == [2 * r * n, (2 * r + 1) * n]
out = torch.zeros(1); dist.reduce_scatter(out, [torch.tensor([float(i)]) for i in range(n)]); assert out.item() == r * n
dist.scatter(out, [torch.tensor([i + 0.5]) for i in range(n)] if r == 0 else None, src=0); assert out.item() == r + 0.5
got = [torch.zeros(1) for _ in range(n)] if r == 0 else None; dist.gather(out, got, dst=0)
assert r or [v.item() for v in got] == [i + 0.5 for i in range(n)]
x = torch.ones(1); dist.reduce(x, dst=n - 1); assert x.item() == (n if r == n - 1 else 1)
out = torch.zeros(n)
dist.all_to_all_single(out, torch.arange(n) + 10.0 * r); assert out.tolist() == [10 * i + r for i in range(n)]

many = [torch.full((5,), float(i)) for i in range(50)]
works = [dist.all_reduce(t, async_op=True) for t in many]
seen = works[-1].get_future().then(lambda f: f.value()[0].sum().item())
works[-1].wait(); assert all(w.is_completed() for w in works) and seen.wait() == 49 * n * 5
assert all(t.tolist() == [i * n] * 5 for i, t in enumerate(many))

x, y = torch.tensor([float(r)]), torch.zeros(1)
for w in dist.batch_isend_irecv([dist.P2POp(dist.isend, x, (r + 1) % n), dist.P2POp(dist.irecv, y, (r - 1) % n)]): w.wait()
assert y.item() == (r - 1) % n
if n > 1:
    if r == 0: dist.send(torch.tensor([3]), 1, tag=5)
    if r == 1: z = torch.tensor([0]); assert dist.recv(z, tag=5) == 0 and z.item() == 3
    try: dist.all_reduce(torch.zeros(3 if r else 2)); raise SystemExit("no disagreement")
    except RuntimeError as error: assert "rank 0 called all_reduce SUM of float32[2]; rank" in str(error), error
found = []; dist.all_gather_object(found, {"rank": r}); assert found == [{"rank": i} for i in range(n)]
values = [r, "x"]; dist.broadcast_object_list(values, src=0); assert values == [0, "x"]
last = dist.new_group([n - 1])
assert (last is dist.GroupMember.NON_GROUP_MEMBER) == (r != n - 1)
if r == n - 1:
    assert dist.get_rank(last) == 0 and dist.get_process_group_ranks(last) == [n - 1]
    x = torch.ones(1); dist.all_reduce(x, group=last); assert x.item() == 1
dist.barrier()
if len(sys.argv) < 2: dist.destroy_process_group(); assert not dist.is_initialized()
print(f"ok {r}")
"""


@pytest.mark.parametrize("n", [1, 2, 3])
def test_collectives(n):
    done = run_ranks(n, _CHECKS)
    assert done.returncode == 0 and not done.stderr, done.stderr + done.stdout
    assert sorted(done.stdout.split("\n")[:-1]) == [f"ok {rank}" for rank in range(n)]


def test_a_script_may_end_without_destroying_its_group():
    done = run_ranks(2, _CHECKS, arguments=["keep"])
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_ranks_of_environments():
    found = rank_of_environment(
        {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "5"}
    )
    assert (found.rank, found.size, found.local_rank, found.master) == (2, 4, 0, ("a", 5))
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "2(x4)"}
    assert rank_of_environment(slurm).local_size == 2 and rank_of_environment({}).size == 1
    with pytest.raises(ValueError, match="RANK=4 is not a rank of WORLD_SIZE=4"):
        rank_of_environment({"RANK": "4", "WORLD_SIZE": "4"})
