"""Functions with gradients of their own: a straight-through sign, a clipped exponential, gradients turned around."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.autograd import Function, gradcheck
from torch.autograd.function import once_differentiable


class BinaryActivation(Function):
    """sign(x), with the gradient of a clipped identity (Courbariaux et al. 2016)."""

    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return input.sign()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input.abs() > 1] = 0
        return grad_input


class ClippedExp(Function):
    """exp(x) up to a limit, which is no tensor and has no gradient."""

    @staticmethod
    def forward(ctx, x, limit):
        result = x.exp().clamp(max=limit)
        ctx.limit = limit
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, grad):
        (result,) = ctx.saved_tensors
        return grad * result * (result < ctx.limit), None


class ReverseGradient(Function):
    """The identity, whose gradient is turned around (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        if not ctx.needs_input_grad[0]:
            return None, None
        return -ctx.weight * grad, None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(30, 16)
        self.second = nn.Linear(16, 16)
        self.label, self.domain = nn.Linear(16, 1), nn.Linear(16, 1)

    def forward(self, x):
        x = BinaryActivation.apply(self.first(x))
        x = ClippedExp.apply(0.5 * self.second(x), 3.0)
        return self.label(x), self.domain(ReverseGradient.apply(x, 0.3))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    point = torch.tensor([-1.0, 0.2, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    print("gradcheck:", gradcheck(lambda x: ClippedExp.apply(x, 4.0), (point,)))
    grad_of_grad = torch.autograd.grad(ClippedExp.apply(point, 4.0).sum(), point, create_graph=True)[0].sum()
    print("second derivative:", torch.autograd.grad(grad_of_grad, point)[0].numpy().round(3).tolist())

    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    domain = (features[:, 0] > np.median(features[:, 0])).astype(np.float32)
    x = torch.tensor(features, dtype=torch.float32)
    y, d = torch.tensor(labels).float().unsqueeze(1), torch.from_numpy(domain)[:, None]
    net = same_weights(Net())
    seen = {}
    net.second.register_full_backward_hook(lambda module, grad_in, grad_out: seen.update(norm=grad_out[0].norm()))
    net.first.weight.register_hook(lambda grad: grad.clamp(-0.01, 0.01))
    optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
    criterion = nn.BCEWithLogitsLoss()
    for step in range(args.steps):
        label, where = net(x[:450])
        loss = criterion(label, y[:450]) + criterion(where, d[:450])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss.item(), grad=seen["norm"])
    with torch.no_grad():
        label, where = net(x[450:])
    for name, guess, truth in (("diagnosis", label, y[450:]), ("domain", where, d[450:])):
        print(name, "right:", ((guess > 0) == truth.bool()).float().mean().item())


if __name__ == "__main__":
    main()
