"""SummaryWriter: what was logged can be read back from the event files."""

from __future__ import annotations

import struct

import numpy as np
from tensorboardX.proto.event_pb2 import Event

import tritorch as torch
from tritorch.utils.tensorboard import SummaryWriter, as_arrays


def events(folder):
    """Every event in the files of a folder: records of (length, checksum, bytes, checksum)."""
    for path in sorted(folder.rglob("events*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size


def test_tensors_are_logged_as_numbers_images_and_histograms(tmp_path):
    loss = torch.tensor(0.25, requires_grad=True)
    with SummaryWriter(log_dir=tmp_path) as writer:
        writer.add_scalar("loss", loss, 3, new_style=True)
        writer.add_scalars("both", {"train": loss, "test": torch.tensor(0.5, dtype=torch.bfloat16)}, 1)
        writer.add_histogram("weights", torch.arange(10.0), 0)
        writer.add_image("image", torch.zeros(3, 4, 4), 0)
        writer.add_text("note", "hello")
        writer.add_hparams({"lr": 0.1, "layers": torch.tensor(2)}, {"accuracy": torch.tensor(0.9)})
        writer.add_pr_curve("curve", torch.tensor([0, 1]), torch.tensor([0.2, 0.8]))
        assert writer.log_dir == writer.get_logdir() == str(tmp_path)
    found = {}
    for event in events(tmp_path):
        for value in event.summary.value:
            found.setdefault(value.tag, (event.step, value))
    assert found["loss"][0] == 3 and found["loss"][1].simple_value == 0.25
    assert found["weights"][1].histo.num == 10 and found["image"][1].image.height == 4
    assert any(tag.startswith("note") for tag in found)
    assert any(value.simple_value == np.float32(0.9) for _, value in found.values())


def test_values_in_any_nest_become_arrays():
    made = as_arrays({"a": [torch.ones(2, requires_grad=True), (torch.ones(1, dtype=torch.float16), "x")]})
    assert isinstance(made["a"][0], np.ndarray) and made["a"][1][0].dtype == np.float32 and made["a"][1][1] == "x"


def test_the_graph_of_a_model_is_logged_by_way_of_onnx(tmp_path):
    with SummaryWriter(log_dir=tmp_path) as writer:
        writer.add_graph(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()), torch.ones(1, 3))
    graphs = [event.graph_def for event in events(tmp_path) if event.graph_def]
    assert len(graphs) == 1 and b"Gemm" in graphs[0] and b"Tanh" in graphs[0]
