"""What each rank checks of fully sharded modules; run by tests/host/test_distributed_fsdp.py under mpiexec."""

import copy
import gc
import os
import sys
import traceback
import weakref

import numpy as np
from mpi4py import MPI

import tritorch as torch
from tests import plain_ranks
from tests.fsdp_nets import Block, Net, made
from tritorch import distributed as dist
from tritorch import nn
from tritorch.distributed import checkpoint as dcp
from tritorch.distributed import fsdp
from tritorch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from tritorch.distributed.fsdp import FullyShardedDataParallel as FSDP
from tritorch.distributed.fsdp import ShardingStrategy, StateDictType, fully_shard
from tritorch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from tritorch.distributed.fsdp.wrap import ModuleWrapPolicy, size_based_auto_wrap_policy
from tritorch.distributed.shards import ShardedTensor

RANK, SIZE = MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()


def batch(step):
    drawn = np.random.default_rng(step).standard_normal((8, 5)).astype(np.float32)
    return torch.from_numpy(drawn)


def own(whole):
    return whole[RANK * 8 // SIZE : (RANK + 1) * 8 // SIZE]


def loss_of(net, input):
    return (net(input) ** 2).mean()


def close(got, wanted, relative=1e-6):
    got, wanted = got.detach().numpy().astype(np.float64), wanted.detach().numpy().astype(np.float64)
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    assert np.abs(got - wanted).max(initial=0) <= relative * max(np.abs(wanted).max(initial=0), 1e-3), (
        np.abs(got - wanted).max(), np.abs(wanted).max(),
    )  # fmt: skip


def same_on_all(state):
    for name, value in state.items():
        every = MPI.COMM_WORLD.allgather(value.numpy().tobytes())
        assert len(set(every)) == 1, name


def trained(net, steps=3, optimizer=None, whole=True, average=1):
    optimizer = optimizer or torch.optim.AdamW(net.parameters(), lr=0.02)
    for step in range(steps):
        optimizer.zero_grad()
        for part in range(average):
            input = batch(step * average + part)
            loss_of(net, input if whole else own(input)).backward()
        optimizer.step()
    return optimizer


def compare(sharded, plain, relative=1e-6):
    state = sharded.state_dict()
    wanted = plain.state_dict()
    assert list(state) == list(wanted), (list(state), list(wanted))
    for name, value in wanted.items():
        close(state[name], value, relative)
    same_on_all(state)


POLICY = ModuleWrapPolicy({Block})


def check_strategies():
    for strategy in (ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP, ShardingStrategy.NO_SHARD):
        for reentrant in (None, False, True):
            plain = made()
            trained(plain)
            net = FSDP(made(reentrant), sharding_strategy=strategy, auto_wrap_policy=POLICY, use_orig_params=True)
            trained(net, whole=False)
            compare(net, plain, 3e-6)


def check_gradients_and_clipping():
    plain, net = made(), FSDP(made(), auto_wrap_policy=POLICY, forward_prefetch=True)
    for _ in range(2):  # the second adds to the first
        loss_of(plain, batch(0)).backward()
        loss_of(net, own(batch(0))).backward()
    wanted = dict(plain.named_parameters())
    for name, each in net.named_parameters():
        gradient = wanted[name].grad
        if gradient is None:
            gradient = torch.zeros_like(wanted[name])  # as one flat parameter has them
        shard = getattr(each, "shard", None)
        if shard is not None:
            assert each.dim() == 1
            gradient = gradient.reshape(-1)[shard.offset : shard.offset + each.numel()]
        close(each.grad, gradient, 2e-6)
    norm = nn.utils.clip_grad_norm_(plain.parameters(), 0.01)
    close(net.clip_grad_norm_(0.01), norm, 2e-6)
    total = sum(float((each.grad.double() ** 2).sum()) for each in net.parameters())
    if SIZE > 1:
        total = MPI.COMM_WORLD.allreduce(total)
    assert abs(total**0.5 - 0.01) < 1e-5


def check_no_sync_and_several_forwards():
    plain = made()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    for step in (0, 1):
        (loss_of(plain, batch(step)) / 2).backward()
    (loss_of(plain, batch(2)) + loss_of(plain, batch(3))).backward()
    optimizer.step()
    net = FSDP(made(), auto_wrap_policy=POLICY)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with net.no_sync():
        plain_ranks.COUNTS.clear()
        (loss_of(net, own(batch(0))) / 2).backward()
        assert "reduce_scatter_tensor" not in plain_ranks.COUNTS
        (loss_of(net, own(batch(1))) / 2).backward()
    (loss_of(net, own(batch(2))) + loss_of(net, own(batch(3)))).backward()
    optimizer.step()
    compare(net, plain, 3e-6)
    with torch.no_grad():
        close(net.eval()(batch(4)), plain.eval()(batch(4)), 3e-6)
    net.train()
    assert all(unit.full is None for unit in net._ready().units)


def check_frozen():
    def frozen():
        net = made()
        for each in (net.blocks[1].norm, net.blocks[1].up, net.blocks[2], net.last):
            each.requires_grad_(False)
        return net

    plain = frozen()
    trained(plain)
    net = FSDP(frozen(), auto_wrap_policy=POLICY, use_orig_params=True)
    trained(net, whole=False)
    compare(net, plain, 3e-6)


def check_counts_and_memory():
    net = FSDP(made(), auto_wrap_policy=POLICY)
    units = net._ready().units
    live, most = weakref.WeakValueDictionary(), [0, 0]
    whole = sum(unit.length for unit in units) * SIZE
    largest = sorted(unit.length * SIZE for unit in units)[-3:]

    def seen(kind):
        unshard = kind.unshard

        def noted(self):
            unshard(self)
            gc.collect()
            live[id(self.full.array)] = self.full.array
            most[0] = max(most[0], len(live))
            most[1] = max(most[1], sum(each.size for each in live.values()))

        return unshard, noted

    loss_of(net, own(batch(0))).backward()
    if SIZE == 1:
        return
    unit = fsdp.fully_sharded_data_parallel.Unit
    before, unit.unshard = seen(unit)
    try:
        plain_ranks.COUNTS.clear()
        loss = loss_of(net, own(batch(0)))
        assert plain_ranks.COUNTS == {"all_gather_into_tensor": 4}, plain_ranks.COUNTS
        loss.backward()
    finally:
        unit.unshard = before
    # The outermost unit is gathered from its first to its last use, and one block at a time beside it.
    assert plain_ranks.COUNTS == {"all_gather_into_tensor": 8, "reduce_scatter_tensor": 4}, plain_ranks.COUNTS
    assert most[0] <= 3 and most[1] <= sum(largest) < whole, (most, largest, whole)
    gc.collect()
    assert not live
    kept = FSDP(made(), sharding_strategy=ShardingStrategy.SHARD_GRAD_OP, auto_wrap_policy=POLICY)
    plain_ranks.COUNTS.clear()
    loss_of(kept, own(batch(0))).backward()
    assert plain_ranks.COUNTS == {"all_gather_into_tensor": 4, "reduce_scatter_tensor": 4}, plain_ranks.COUNTS
    for each in net.parameters():
        assert each.numel() == 0 or each.array.base is not None or each.numel() <= units[0].length
    assert sum(each.numel() for each in net.parameters()) <= -(-whole // SIZE)


def check_mixed_precision():
    precision = fsdp.MixedPrecision(torch.bfloat16, torch.float32)
    net = FSDP(made(), auto_wrap_policy=POLICY, mixed_precision=precision)
    seen = []
    net.first.register_forward_hook(lambda module, args, output: seen.append((args[0].dtype, module.weight.dtype)))
    plain = made()
    loss_of(plain, batch(0)).backward()
    loss_of(net, own(batch(0))).backward()
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    wanted = dict(plain.named_parameters())
    for name, each in net.named_parameters():
        assert each.dtype is torch.float32 and each.grad.dtype is torch.float32
        shard = getattr(each, "shard", None)
        gradient = wanted[name].grad
        if gradient is not None and shard is not None:
            gradient = gradient.reshape(-1)[shard.offset : shard.offset + each.numel()]
        if gradient is not None:
            close(each.grad, gradient, 0.2)


def check_states():
    plain = made()
    plain_optimizer = trained(plain)
    net = FSDP(made(), auto_wrap_policy=POLICY, use_orig_params=True)
    optimizer = trained(net, whole=False)
    found = FSDP.optim_state_dict(net, optimizer)
    names = [name for name, _ in plain.named_parameters()]
    wanted = plain_optimizer.state_dict()
    assert sorted(found["state"]) == sorted(names[number] for number in wanted["state"])
    for number, state in wanted["state"].items():
        for key, value in state.items():
            close(found["state"][names[number]][key], value, 1e-5)
    # into a wrapper of other units, and the other way from a plain optimizer
    other = FSDP(made(), auto_wrap_policy=None, use_orig_params=True)
    other.load_state_dict(net.state_dict())
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=0.02)
    other_optimizer.load_state_dict(FSDP.optim_state_dict_to_load(other, other_optimizer, found))
    third = FSDP(made(), auto_wrap_policy=POLICY, use_orig_params=True)
    third.load_state_dict(plain.state_dict())
    third_optimizer = torch.optim.AdamW(third.parameters(), lr=0.02)
    third_optimizer.load_state_dict(FSDP.optim_state_dict_to_load(third, third_optimizer, wanted))
    for model, own_optimizer in ((other, other_optimizer), (third, third_optimizer)):
        trained(model, 2, own_optimizer, whole=False)
    trained(plain, 2, plain_optimizer)
    compare(other, plain, 1e-5)
    compare(third, plain, 1e-5)


def copied(value):  # states share memory with the parts
    is_part = isinstance(value, ShardedTensor)
    return ShardedTensor(value.local.clone(), value.shard) if is_part else value.clone()


def check_forms_of_state():
    net = FSDP(made(), auto_wrap_policy=POLICY)
    with FSDP.state_dict_type(net, StateDictType.SHARDED_STATE_DICT):
        sharded = net.state_dict()
    if SIZE > 1:
        close(sharded["first.weight"].full_tensor(), made().first.weight, 0)
    with FSDP.state_dict_type(net, StateDictType.LOCAL_STATE_DICT):
        local = net.state_dict()
        assert local["first.weight"].shape == net.first.weight.shape
    kept = [{name: copied(value) for name, value in state.items()} for state in (sharded, local)]
    config = fsdp.FullStateDictConfig(offload_to_cpu=True, rank0_only=True)
    with FSDP.state_dict_type(net, StateDictType.FULL_STATE_DICT, config):
        assert len(net.state_dict()) == (len(made().state_dict()) if RANK == 0 else 0)
    with FSDP.summon_full_params(net):
        assert net.first.weight.shape == (7, 5)
        net.first.weight.data.fill_(RANK * 0 + 2.0)
    assert bool((net.state_dict()["first.weight"] == 2).all())
    for state in kept:
        net.load_state_dict(state)
        compare(net, made(), 0)


def check_start():
    torch.manual_seed(RANK)
    net = FSDP(Net(), sync_module_states=True, auto_wrap_policy=POLICY)
    torch.manual_seed(0)
    compare(net, Net(), 0)
    policy = lambda **given: size_based_auto_wrap_policy(min_num_params=200, **given)  # noqa: E731
    assert len(FSDP.fsdp_modules(FSDP(made(), auto_wrap_policy=policy))) == 3 + 1
    kept = FSDP(made(), ignored_modules=[], process_group=dist.group.WORLD)
    assert kept.module is kept._fsdp_wrapped_module and kept.blocks is kept.module.blocks
    try:
        mixed = made()
        mixed.first.double()
        FSDP(mixed)
    except ValueError as error:
        assert "uniform dtype" in str(error)
    else:
        raise AssertionError("dtypes that differ were taken")


def check_fully_shard():
    plain = made()
    trained(plain)
    net = made()
    for each in net.blocks:
        fully_shard(each)
    fully_shard(net)
    assert isinstance(net, Net) and isinstance(net, fsdp.FSDPModule)
    trained(net, whole=False)
    wanted = plain.state_dict()
    for name, value in net.state_dict().items():
        close(getattr(value, "full_tensor", lambda: value)(), wanted[name], 3e-6)  # noqa: B023
    again = copy.deepcopy(wanted)
    net.load_state_dict(again)
    close(net(batch(0)), plain(batch(0)), 1e-6)


def check_shared():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.block, self.head = nn.Embedding(9, 7), Block(7), nn.Linear(7, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, input):
            return self.head(self.block(self.embed(input)))

    def tied():
        torch.manual_seed(5)
        return Tied()

    plain, net = tied(), FSDP(tied(), auto_wrap_policy=POLICY, use_orig_params=True)
    input = torch.arange(8).reshape(8, 1) % 9
    for model, part in ((plain, input), (net, own(input))):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, part).backward()
            optimizer.step()
    assert net.head.weight is net.embed.weight
    compare(net, plain, 3e-6)


def check_scaler():
    net = FSDP(made())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = ShardedGradScaler("cpu", init_scale=8.0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    scaler.scale(loss_of(net, own(batch(0)))).backward()
    if SIZE - 1 == RANK:  # one rank alone sees it
        next(each for each in net.parameters() if each.numel()).grad[0] = float("inf")
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0
    for name, value in net.state_dict().items():
        close(value, before[name], 0)


def check_hybrid():
    if SIZE != 4:
        return
    pairs = [plain_ranks.new_group([0, 1]), plain_ranks.new_group([2, 3])]
    across = [plain_ranks.new_group([0, 2]), plain_ranks.new_group([1, 3])]
    groups = next(each for each in pairs if each), next(each for each in across if each)
    plain = made()
    trained(plain)
    net = FSDP(made(), groups, ShardingStrategy.HYBRID_SHARD, auto_wrap_policy=POLICY, use_orig_params=True)
    trained(net, whole=False)
    compare(net, plain, 3e-6)


def checkpoint_between_ranks(folder):
    """Load what another number of ranks saved after two steps, go on as plain training does; or be who saves it."""
    net = FSDP(made(), auto_wrap_policy=POLICY)  # so that unused parameters have state, too
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    FSDP.set_state_dict_type(net, StateDictType.SHARDED_STATE_DICT)
    if not os.path.exists(folder):
        trained(net, 2, optimizer, whole=False)
        weights, state = get_state_dict(net, optimizer)
        dcp.save({"model": weights, "optimizer": state}, checkpoint_id=folder)
        return
    with torch.no_grad():
        for each in net.parameters():
            each.fill_(9.0)
    weights, state = get_state_dict(net, optimizer)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=folder)
    set_state_dict(net, optimizer, model_state_dict=weights, optim_state_dict=state)
    plain = made()
    plain_optimizer = trained(plain, 2, torch.optim.Adam(plain.parameters(), lr=0.02))
    FSDP.set_state_dict_type(net, StateDictType.FULL_STATE_DICT)
    compare(net, plain, 3e-6)
    trained(plain, 2, plain_optimizer)
    trained(net, 2, optimizer, whole=False)
    compare(net, plain, 5e-6)


def main():
    plain_ranks.start()
    if sys.argv[1:2] == ["--folder"]:
        checkpoint_between_ranks(sys.argv[2])
        return
    chosen = [each for name, each in globals().items() if name.startswith("check_")]
    for each in chosen:
        if len(sys.argv) > 1 and sys.argv[1] not in each.__name__:
            continue
        try:
            each()
        except BaseException:
            print(f"rank {RANK} of {SIZE} in {each.__name__}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
            MPI.COMM_WORLD.Abort(1)
        if RANK == 0:
            print("checked", each.__name__, flush=True)


if __name__ == "__main__":
    main()
