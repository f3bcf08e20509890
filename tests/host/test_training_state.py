"""A training run that was stopped in the middle of a pass and resumed is bitwise the run that was not."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest

import tritorch as torch
import tritorch.nn as nn
from tritorch.utils.data import DataLoader, Dataset
from tritorch.utils.training_state import TrainingState


class Noisy(Dataset):
    """Points with noise from all random numbers there are, as augmentation does."""

    def __len__(self):
        return 22

    def __getitem__(self, index):
        noise = torch.rand(3) + random.random() + np.random.rand()
        return index / 22 + noise * 0.1, torch.tensor([index / 11 - 1.0])


class Run:
    """A small training run with everything that has a state: momentum, a schedule, dropout, shuffling, workers."""

    def __init__(self, workers, optimizer):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
        self.optimizer = optimizer(self.net.parameters())
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 4, 0.5)
        self.loader = DataLoader(Noisy(), 4, shuffle=True, num_workers=workers)
        self.state = TrainingState(
            model=self.net, optimizer=self.optimizer, scheduler=self.scheduler, loader=self.loader
        )
        self.losses, self.epoch = [], 0

    def train(self, epochs, path=None, stop=None):
        """Train up to an epoch; save before step `stop`, and go on or not."""
        while self.epoch < epochs:
            for x, y in self.loader:
                loss = (self.net(x) - y).pow(2).mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.scheduler.step()
                self.losses.append(loss.item())
                if stop is not None and len(self.losses) == stop:
                    self.state.save(path, epoch=self.epoch, losses=self.losses)
                    return self
            self.epoch += 1
        return self

    def resume(self, path):
        values = self.state.load(path)
        self.epoch, self.losses = values["epoch"], values["losses"]
        return self


OPTIMIZERS = {
    "sgd": lambda params: torch.optim.SGD(params, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda params: torch.optim.AdamW(params, 0.01, amsgrad=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 9, 12])  # in the first pass, in the second, after the second's last batch
def test_resumed_in_the_middle_of_a_pass(tmp_path, optimizer, workers, stop):
    path = tmp_path / "run.pt"
    whole = Run(workers, OPTIMIZERS[optimizer]).train(3)
    ends = torch.rand(3), random.random(), np.random.rand()
    Run(workers, OPTIMIZERS[optimizer]).train(3, path, stop)
    torch.manual_seed(77)
    random.seed(77)
    np.random.seed(77)
    resumed = Run(workers, OPTIMIZERS[optimizer]).resume(path).train(3)
    assert resumed.losses == whole.losses and len(whole.losses) == 18
    for mine, theirs in zip(resumed.net.parameters(), whole.net.parameters(), strict=True):
        assert mine.detach().numpy().tobytes() == theirs.detach().numpy().tobytes()
    assert torch.equal(torch.rand(3), ends[0]) and (random.random(), np.random.rand()) == ends[1:]
    assert resumed.scheduler.last_epoch == 18


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_training_state import OPTIMIZERS, Run
run = Run(0, OPTIMIZERS["sgd"]).resume(sys.argv[2]).train(2)
print(repr(run.losses))
"""


def test_resumed_in_another_process(tmp_path):
    path = tmp_path / "run.pt"
    whole = Run(0, OPTIMIZERS["sgd"]).train(2)
    Run(0, OPTIMIZERS["sgd"]).train(2, path, 8)
    folder = os.path.dirname(__file__)
    env = {**os.environ, "TRITORCH_DEVICE": "cpu"}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, folder, str(path)]
    found = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == repr(whole.losses)


def test_own_generators_and_plain_values(tmp_path):
    path, generator = tmp_path / "x.pt", torch.Generator().manual_seed(4)
    torch.rand(3, generator=generator)
    TrainingState(generator=generator).save(path, step=3, best=float("inf"), history=[1, (2, None)])
    expected = torch.rand(4, generator=generator)
    again = torch.Generator()
    assert TrainingState(generator=again).load(path) == {"step": 3, "best": float("inf"), "history": [1, (2, None)]}
    assert torch.equal(torch.rand(4, generator=again), expected)


def test_a_part_that_refuses_its_state_leaves_all_as_they_were(tmp_path):
    path = tmp_path / "x.pt"
    small, large = nn.Linear(2, 1), nn.Linear(2, 1)
    TrainingState(model=small, optimizer=torch.optim.SGD(small.parameters(), 0.1)).save(path)
    optimizer = torch.optim.SGD([large.weight], 0.5)
    before, drawn = large.weight.tolist(), torch.get_rng_state()
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        TrainingState(model=large, optimizer=optimizer).load(path)
    assert large.weight.tolist() == before and optimizer.param_groups[0]["lr"] == 0.5
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("end", [0, 20, -1])
def test_a_truncated_file_names_itself_and_changes_nothing(tmp_path, end):
    path, net = tmp_path / "run.pt", nn.Linear(2, 1)
    before = net.weight.tolist()
    TrainingState(model=nn.Linear(2, 1)).save(path)
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(RuntimeError, match=r"run\.pt: "):
        TrainingState(model=net).load(path)
    assert net.weight.tolist() == before


def test_other_files_and_other_parts_are_refused(tmp_path):
    path, net = tmp_path / "x.pt", nn.Linear(2, 1)
    torch.save(net.state_dict(), path)
    with pytest.raises(RuntimeError, match=r"x\.pt was not written by TrainingState\.save"):
        TrainingState(model=net).load(path)
    TrainingState(model=net).save(path)
    with pytest.raises(RuntimeError, match=r"no state of \['other'\] and has states of \['model'\]"):
        TrainingState(other=net).load(path)
    assert TrainingState(other=net).load(path, strict=False) == {}
    with pytest.raises(
        TypeError, match=r"epoch must have state_dict\(\) and load_state_dict\(\), or be a torch.Generator"
    ):
        TrainingState(epoch=3)
