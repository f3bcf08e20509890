"""Explanations against models whose parts are known: linear ones, products, and a net that looks at one place."""

from __future__ import annotations

import pytest
from tolerances import close

import tritorch as torch
from tritorch import explain, nn
from tritorch.nn import functional as F

W = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]])
X = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])


def linear(x):
    return x @ W.T


def product(x):
    return (x[:, 0] * x[:, 1] ** 2).unsqueeze(1)


def test_gradients_of_a_linear_model_are_its_weights():
    assert torch.equal(explain.input_gradients(linear, X, 0), W[:1].expand(2, 3))
    assert torch.equal(explain.input_gradients(linear, X, torch.tensor([0, 1]), absolute=True), W.abs())
    assert torch.equal(explain.gradient_times_input(linear, X, 1), X * W[1])
    with torch.no_grad():
        assert torch.equal(explain.input_gradients(linear, X), W[linear(X).argmax(1)])
    smooth = explain.smooth_gradients(linear, X, 0, samples=3, generator=torch.Generator().manual_seed(1))
    close(smooth, W[:1].expand(2, 3).numpy())


def test_integrated_gradients_add_up_and_are_exact_for_polynomials():
    x = X.double()
    parts, error = explain.integrated_gradients(product, x, steps=3, return_error=True)
    close(error, 0.0)
    a, b = x[:, 0], x[:, 1]
    expected = torch.stack([a * b**2 / 3, 2 * a * b**2 / 3, torch.zeros_like(a)], 1)
    close(parts, expected.numpy())
    pieces = explain.integrated_gradients(product, x, steps=3, batch_size=2)
    close(pieces, parts.numpy())
    start = torch.ones(1, 3, dtype=torch.float64)
    parts, error = explain.integrated_gradients(product, x, baseline=start, steps=4, return_error=True)
    close(error, 0.0)
    close(parts[0, 0], 0.0)  # the first example's first element is the baseline's


def test_integrated_gradients_repeat_the_models_other_arguments():
    def scaled(x, factor, power):
        return (x * factor).sum(1) ** power

    factor = torch.tensor([[2.0], [3.0]])
    parts = explain.integrated_gradients(scaled, X, steps=4, arguments=(factor, 1))
    close(parts, (X * factor).numpy())


class Looks(nn.Module):
    """Class 1 is how bright the upper left corner is, class 0 minus that."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.drop = nn.Dropout(0.5)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))

    def forward(self, x):
        found = F.relu(self.drop(self.conv(x)))[:, 0, :2, :2].sum((1, 2))
        return torch.stack([-found, found], 1)


def test_grad_cam_shows_where_the_layer_saw_the_class_and_leaves_the_model_alone():
    model = Looks()
    image = torch.zeros(2, 1, 8, 8)
    image[:, :, :2, :2] = 1.0
    found = explain.grad_cam(model, model.conv, image, 1, size="layer")
    assert found.shape == (2, 1, 8, 8) and found[0, 0, :2, :2].min() > 0 and found[0, 0, 2:].max() == 0
    assert explain.grad_cam(model, model.conv, image, 0).max() == 0
    assert explain.grad_cam(model, model.conv, image, 0, relu=False, size="layer").min() < 0
    assert explain.grad_cam(model, model.conv, image, 1, size=(16, 16)).shape == (2, 1, 16, 16)
    assert model.training and model.drop.training and model.conv.weight.grad is None
    assert not model.conv._forward_hooks
    with pytest.raises(RuntimeError, match="did not call the layer Linear"):
        explain.grad_cam(model, nn.Linear(1, 1), image)


def test_occlusion_of_what_counts_lowers_the_score():
    image = torch.rand(1, 1, 5, 5) + 0.1
    found = explain.occlusion(Looks(), image, (1, 2, 2), 1, stride=(1, 1, 1))
    assert found.shape == image.shape and found[0, 0, 0, 0] > 0 and found[0, 0, 3:, 3:].max() == 0
    corner = explain.occlusion(Looks(), image, (1, 2, 2), 1)
    close(corner[0, 0, :2, :2], image[0, 0, :2, :2].sum().item())
    with pytest.raises(ValueError, match=r"need 3 positive sizes for inputs of shape \[1, 1, 5, 5\], but got \(2, 2\)"):
        explain.occlusion(Looks(), image, (2, 2))


def test_bad_targets_and_inputs_are_named():
    with pytest.raises(IndexError, match=r"target \[2, 2\] is out of range for 2 classes"):
        explain.input_gradients(linear, X, 2)
    with pytest.raises(ValueError, match=r"tensor of 2 classes, but got \[3\]"):
        explain.input_gradients(linear, X, torch.tensor([0, 1, 0]))
    with pytest.raises(TypeError, match=r"floating-point Tensor, but got torch\.int64"):
        explain.input_gradients(linear, X.long(), 0)
    with pytest.raises(TypeError, match="must return a Tensor, but returned tuple"):
        explain.input_gradients(lambda x: (x,), X, 0)


def test_heat_maps_are_red_for_and_blue_against(tmp_path):
    values = torch.zeros(4, 4)
    values[0, 0], values[3, 3] = 2.0, -2.0
    colours = explain.heat_map(values).astype(int)
    assert colours.shape == (4, 4, 3) and tuple(colours[1, 1]) == (255, 255, 255)
    assert colours[0, 0, 0] > colours[0, 0, 2] and colours[3, 3, 2] > colours[3, 3, 0]
    over = explain.heat_map(values, torch.full((3, 4, 4), 0.5))
    assert tuple(over[1, 1]) == (128, 128, 128)
    explain.save_heat_map(values, tmp_path / "map.png", scale=5)
    from PIL import Image

    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size == (20, 20)
    with pytest.raises(ValueError, match=r"image must be \(1 or 3, 4, 4\), but got \[3, 5, 5\]"):
        explain.heat_map(values, torch.ones(3, 5, 5))
