"""summary(model): shapes, parameters and multiplications of every layer, whatever calls them."""

from __future__ import annotations

import pytest

import tritorch as torch
from tritorch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.again = self.head
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image, power=1):
        x = self.features(image).mean((2, 3))
        return self.head(x) @ torch.ones(2, 2) * self.scale**power


def test_a_model_that_ran_has_shapes_and_multiplications(capsys):
    model = Net()
    model.features.train(False)
    model.features[0].weight.requires_grad_(False)
    found = torch.summary(model, (5, 3, 6, 6), verbose=0, power=2)
    assert capsys.readouterr().out == ""
    rows = {(layer.name, layer.kind): layer for layer in found.layers}
    conv = rows["0", "Conv2d"]
    assert conv.output_shape == [5, 4, 6, 6] and conv.parameters == 4 * 27 + 4 and conv.depth == 2
    assert conv.multiplications == 5 * 4 * 36 * 27
    assert rows["head", "Linear"].multiplications == 5 * 4 * 2 and rows["again", "Linear"].repeated
    assert rows["", "Net"].multiplications == 5 * 2 * 2  # its own product, outside its layers
    assert found.total_params == 4 * 27 + 4 + 10 + 1 and found.trainable_params == found.total_params - 4 * 27
    assert found.total_mult_adds == sum(layer.multiplications for layer in found.layers)
    assert found.input_bytes == 5 * 3 * 36 * 4 and found.parameter_bytes == found.total_params * 4
    assert model.training and not model.features.training and not model.head._forward_hooks
    assert "Total params: 123" in str(found) and "(again)" in str(found)


def test_layers_below_the_depth_count_for_the_one_shown():
    found = torch.summary(Net(), (1, 3, 6, 6), depth=1, verbose=0)
    features = next(layer for layer in found.layers if layer.name == "features")
    assert features.multiplications == 4 * 36 * 27 and features.output_shape == [1, 4, 6, 6]


def test_without_input_it_counts_parameters_and_prints(capsys):
    found = torch.summary(Net())
    assert capsys.readouterr().out == f"{found}\n"
    assert "Output Shape" not in str(found) and found.total_mult_adds == 0


def test_inputs_may_be_data_several_sizes_or_integers():
    table = nn.Embedding(10, 3)
    assert torch.summary(table, (2, 7), dtypes=[torch.int64], verbose=0).layers[0].output_shape == [2, 7, 3]
    two = nn.CosineSimilarity()
    assert torch.summary(two, [(2, 3), (2, 3)], verbose=0).layers[0].output_shape == [2]
    named = torch.summary(two, input_data={"x1": torch.ones(2, 3), "x2": torch.ones(2, 3)}, verbose=0)
    assert named.layers[0].output_shape == [2]
    with pytest.raises(ValueError, match="got 2 input sizes but 1 dtypes"):
        torch.summary(two, [(2, 3), (2, 3)], dtypes=[torch.float32])
