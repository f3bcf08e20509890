"""Checkpoints of several ranks: any number loads them, damaged ones are refused, interrupted saves lose nothing."""

from __future__ import annotations

import copy
import json
import os

import pytest

import tritorch as torch
import tritorch.distributed.checkpoint as dcp
from tritorch import nn
from tritorch.distributed.checkpoint import filesystem
from tritorch.distributed.checkpoint.blocks import BLOCK
from tritorch.distributed.checkpoint.format_utils import dcp_to_torch_save, torch_save_to_dcp
from tritorch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from tritorch.distributed.shards import Shard, ShardedTensor
from tritorch.runtime import files


def small_state(value=1.0):
    return {
        "weights": torch.full((3, 5), value),
        "half": torch.full((4,), value).to(torch.bfloat16),
        "none": torch.zeros(0, 3),
        "number": torch.tensor(value),
        "nested": {"flags": [torch.tensor([True, False]), {"betas": (0.9, value)}], "name": "adam", 7: value},
    }


def trained(seed, optimizer_class=torch.optim.Adam, steps=2, **options):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))
    optimizer = optimizer_class(model.parameters(), lr=0.01, **options)
    train(model, optimizer, steps)
    return model, optimizer


def train(model, optimizer, steps):
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()


def assert_same_weights(one, other):
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_what_was_saved_comes_back_in_place(tmp_path):
    dcp.save(small_state(2.0), checkpoint_id=tmp_path / "c")
    state = small_state(0.0)
    weights, flags = state["weights"], state["nested"]["flags"]
    dcp.load(state, checkpoint_id=tmp_path / "c")
    assert state["weights"] is weights and torch.equal(weights, torch.full((3, 5), 2.0))
    assert torch.equal(state["half"], torch.full((4,), 2.0).to(torch.bfloat16))
    assert state["number"].item() == 2.0
    assert state["nested"]["flags"] is flags and torch.equal(flags[0], torch.tensor([True, False]))
    assert flags[1]["betas"] == (0.9, 2.0) and state["nested"]["name"] == "adam" and state["nested"][7] == 2.0


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.AdamW])
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path, optimizer_class):
    model, optimizer = trained(0, optimizer_class, weight_decay=0.1)
    state = dict(zip(("model", "optimizer"), get_state_dict(model, optimizer), strict=True))
    dcp.save(state, checkpoint_id=tmp_path / "c")
    other, fresh = trained(1, optimizer_class, steps=0)
    found = dict(zip(("model", "optimizer"), get_state_dict(other, fresh), strict=True))
    assert not fresh.state and fresh.param_groups[0]["lr"] == 0.01
    dcp.load(found, checkpoint_id=tmp_path / "c")
    set_state_dict(other, fresh, model_state_dict=found["model"], optim_state_dict=found["optimizer"])
    train(model, optimizer, 2)
    train(other, fresh, 2)
    assert_same_weights(model, other)


def test_optimizer_state_goes_by_name_whatever_the_groups(tmp_path):
    model, optimizer = trained(0)
    state = get_optimizer_state_dict(model, optimizer)
    assert sorted(state["state"]) == sorted(name for name, _ in model.named_parameters())
    turned = torch.optim.Adam([{"params": [each]} for each in reversed(list(model.parameters()))], lr=1.0)
    set_optimizer_state_dict(model, turned, state)
    for each in model.parameters():
        assert torch.equal(turned.state[each]["exp_avg"], optimizer.state[each]["exp_avg"])
    assert {group["lr"] for group in turned.param_groups} == {0.01}


def test_modules_and_optimizers_are_asked_for_their_state(tmp_path):
    model, optimizer = trained(0)
    dcp.save({"model": model, "optimizer": optimizer}, checkpoint_id=tmp_path / "c")
    other, another = trained(1)
    dcp.load({"model": other, "optimizer": another}, checkpoint_id=tmp_path / "c")
    train(model, optimizer, 1)
    train(other, another, 1)
    assert_same_weights(model, other)


# -------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["rank0.safetensors", "metadata.json"])
@pytest.mark.parametrize("place", ["start", "middle", "end", "short", "long", "gone", "empty"])
def test_a_damaged_file_is_named_and_nothing_is_changed(tmp_path, name, place):
    dcp.save(small_state(2.0) | {"big": torch.ones(3 * BLOCK // 4)}, checkpoint_id=tmp_path / "c")
    path = tmp_path / "c" / name
    data = bytearray(path.read_bytes())
    if place == "gone":
        path.unlink()
    elif place in ("short", "long", "empty"):
        path.write_bytes({"short": data[:-1], "long": data + b"x", "empty": b""}[place])
    else:
        data[{"start": 0, "middle": len(data) // 2, "end": len(data) - 1}[place]] ^= 1
        path.write_bytes(data)
    state = small_state(0.0) | {"big": torch.zeros(3 * BLOCK // 4)}
    with pytest.raises((RuntimeError, FileNotFoundError), match=name):
        dcp.load(state, checkpoint_id=tmp_path / "c")
    assert not state["weights"].any() and not state["big"].any() and state["nested"][7] == 0.0


def test_all_missing_keys_are_named_and_other_shapes_refused(tmp_path):
    dcp.save(small_state(), checkpoint_id=tmp_path / "c")
    with pytest.raises(RuntimeError, match=r"Missing key in checkpoint state_dict: a, b\.c\."):
        dcp.load({"a": 1, "b": {"c": torch.ones(1)}, "weights": torch.ones(3, 5)}, checkpoint_id=tmp_path / "c")
    with pytest.raises(ValueError, match=r"Size mismatch between saved \[3, 5\] and current: \[5, 3\] for weights"):
        dcp.load({"weights": torch.ones(5, 3)}, checkpoint_id=tmp_path / "c")
    with pytest.raises(ValueError, match="'weights' is a tensor in the checkpoint, unlike here"):
        dcp.load({"weights": 3}, checkpoint_id=tmp_path / "c")
    with pytest.raises(ValueError, match=r"two values under the name 'a\.b'"):
        dcp.save({"a.b": 1, "a": {"b": 2}}, checkpoint_id=tmp_path / "d")


@pytest.mark.parametrize("name", ["write", "finish"])
def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path, monkeypatch, name):
    dcp.save(small_state(2.0), checkpoint_id=tmp_path / "c")
    with monkeypatch.context() as patch:
        inside = filesystem.container if name == "write" else filesystem.Metadata
        patch.setattr(inside, "write" if name == "write" else "to_json", no_space)
        with pytest.raises(OSError, match="No space left"):
            dcp.save(small_state(3.0), checkpoint_id=tmp_path / "c")
    assert os.listdir(tmp_path) == ["c"]
    state = small_state(0.0)
    dcp.load(state, checkpoint_id=tmp_path / "c")
    assert state["nested"][7] == 2.0


def no_space(*_):
    raise OSError(28, "No space left on device")


def test_what_a_killed_save_left_is_no_checkpoint_and_no_obstacle(tmp_path):
    left = tmp_path / ".c.saving"
    left.mkdir()
    (left / "rank0.safetensors").write_bytes(b"half")
    with pytest.raises(FileNotFoundError, match=r"\.c\.saving is not a checkpoint: it has no metadata\.json"):
        dcp.load({"a": 1}, checkpoint_id=left)
    dcp.save({"a": 2}, checkpoint_id=tmp_path / "c")
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_save_replaces_a_checkpoint_and_nothing_else(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:  # as on network folders
        monkeypatch.setattr(files, "_exchange", lambda: None)
        (tmp_path / "c.old").mkdir()
    for value in (1, 2):
        dcp.save({"a": value}, checkpoint_id=tmp_path / "c")
    state = {"a": 0}
    dcp.load(state, checkpoint_id=tmp_path / "c")
    assert state == {"a": 2} and os.listdir(tmp_path) == ["c"]
    with pytest.raises(RuntimeError, match="already exists and overwrite=False"):
        dcp.save({"a": 3}, storage_writer=dcp.FileSystemWriter(tmp_path / "c", overwrite=False))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(RuntimeError, match="is not a checkpoint: saving would replace it"):
        dcp.save({"a": 3}, checkpoint_id=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


# -------------------------------------------------------------------------------------------- parts and files


def test_a_part_is_read_without_the_rest(tmp_path, monkeypatch):
    whole = torch.arange(64 * BLOCK // 4).to(torch.float32)
    dcp.save({"w": whole}, checkpoint_id=tmp_path / "c")
    read = []
    vector = filesystem.BlockSource.__mro__[1].vector
    monkeypatch.setattr(
        filesystem.BlockSource.__mro__[1], "vector", lambda self, start, n: read.append(n) or vector(self, start, n)
    )
    state = {"w": ShardedTensor(torch.zeros(1000), Shard(tuple(whole.shape), 500_000))}
    dcp.load(state, checkpoint_id=tmp_path / "c")
    assert torch.equal(state["w"].local, whole[500_000:501_000])
    assert sum(read) <= 5 * BLOCK


def test_a_part_outside_the_whole_is_refused():
    with pytest.raises(ValueError, match=r"3 elements from 6 on do not lie in a tensor of shape \[2, 4\], which has 8"):
        ShardedTensor(torch.ones(3), Shard((2, 4), 6))


def test_parts_that_do_not_cover_the_whole_are_told(tmp_path):
    dcp.save({"w": ShardedTensor(torch.ones(4), Shard((8,), 0))}, checkpoint_id=tmp_path / "c")
    with pytest.raises(RuntimeError, match="elements 4 to 8 of 'w' are missing"):
        dcp.load({"w": torch.zeros(8)}, checkpoint_id=tmp_path / "c")


def test_async_save_keeps_the_values_of_its_call(tmp_path):
    weights = torch.ones(1000)
    future = dcp.async_save({"w": weights}, checkpoint_id=tmp_path / "c")
    weights.zero_()
    assert list(future.result().state_dict_metadata) == ["w"]
    state = {"w": torch.zeros(1000)}
    dcp.load(state, checkpoint_id=tmp_path / "c")
    assert state["w"].sum().item() == 1000
    with pytest.raises(RuntimeError, match="saving would replace it"):
        (tmp_path / "file").write_text("")
        dcp.async_save({"w": weights}, checkpoint_id=tmp_path / "file").result()


def test_one_file_and_back(tmp_path):
    dcp.save(small_state(2.0), checkpoint_id=tmp_path / "c")
    dcp_to_torch_save(tmp_path / "c", tmp_path / "one.pt")
    found = torch.load(tmp_path / "one.pt")
    assert torch.equal(found["weights"], small_state(2.0)["weights"])
    assert found["nested"]["flags"][1] == {"betas": (0.9, 2.0)} and found["nested"][7] == 2.0
    torch_save_to_dcp(tmp_path / "one.pt", tmp_path / "d")
    state = small_state(0.0)
    dcp.load(state, checkpoint_id=tmp_path / "d")
    assert state["number"].item() == 2.0


def test_the_metadata_say_what_there_is(tmp_path):
    dcp.save(small_state(), checkpoint_id=tmp_path / "c")
    entries = dcp.FileSystemReader(tmp_path / "c").read_metadata().state_dict_metadata
    assert entries["weights"].size == (3, 5) and entries["half"].dtype == "bfloat16"
    assert isinstance(entries["nested.name"], dcp.BytesStorageMetadata)
    text = json.loads((tmp_path / "c" / "metadata.json").read_text())
    assert text["files"]["rank0.safetensors"]["size"] == (tmp_path / "c" / "rank0.safetensors").stat().st_size


def test_options_of_state_dicts():
    model, optimizer = trained(0)
    next(model.parameters()).requires_grad_(False)
    options = StateDictOptions(ignore_frozen_params=True, cpu_offload=True)
    state, _ = get_state_dict(model, optimizer, options=options)
    assert "0.weight" not in state and "0.bias" in state


def test_a_copied_part_has_values_of_its_own_and_the_same_ranks():
    class Group:
        def __deepcopy__(self, memo):
            raise TypeError("a group cannot be copied")

    part = ShardedTensor(torch.zeros(3), Shard((2, 3), 3, Group()))
    other = copy.deepcopy(part)
    other.local.add_(1)
    assert other.shard.group is part.shard.group and part.local.sum() == 0
