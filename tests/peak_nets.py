"""Nets whose peak memory in a step is held against PyTorch's, and what PyTorch takes for them.

They are written for whichever of the two libraries is handed in. Run as a script where PyTorch is installed, this
prints `PEAKS` anew: the most bytes that its CPU allocator gave out at once in forward and backward, by its profiler.
What convolutions take for a moment, to sum their weights' gradients in parts, counts on our side alone.
"""

from __future__ import annotations

import importlib

# Of PyTorch 2.13 on the CPU, whose kernels keep for backward what those of its GPUs do, but for recurrent layers.
PEAKS = {
    ("residual", "float32"): 56933424,
    ("residual", "bfloat16"): 29463444,
    ("transformer", "float32"): 7547400,
    ("transformer", "bfloat16"): 6689288,
    ("convolutional", "float32"): 13752496,
    ("convolutional", "bfloat16"): 10787184,
    ("recurrent", "float32"): 17698408,
}


def residual(torch):
    """A residual network for 64 small images."""
    nn, relu = torch.nn, torch.nn.functional.relu

    class Block(nn.Module):
        def __init__(self, channels, wider, stride):
            super().__init__()
            self.first = nn.Conv2d(channels, wider, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(wider, wider, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(wider) for _ in range(2)])
            self.short = nn.Sequential()
            if channels != wider:
                self.short = nn.Sequential(nn.Conv2d(channels, wider, 1, stride, bias=False), nn.BatchNorm2d(wider))

        def forward(self, x):
            inner = relu(self.norms[0](self.first(x)))
            return relu(self.norms[1](self.second(inner)) + self.short(x))

    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Block(16, 16, 1), Block(16, 32, 2),
        Block(32, 32, 1), Block(32, 64, 2), Block(64, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    return net, torch.randn(64, 3, 32, 32), 64, 10


def transformer(torch):
    """A language model of two blocks, with the weights of its head shared."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
            self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            batch, length, width = x.shape
            parts = self.attend(self.norms[0](x)).split(width, 2)
            q, k, v = [each.view(batch, length, 4, width // 4).transpose(1, 2) for each in parts]
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.project(y.transpose(1, 2).reshape(batch, length, width))
            return x + self.down(functional.gelu(self.up(self.norms[1](x)), approximate="tanh"))

    class Model(nn.Module):
        def __init__(self, width=128, tokens=1000, length=64):
            super().__init__()
            self.tokens, self.places = nn.Embedding(tokens, width), nn.Embedding(length, width)
            self.blocks, self.norm = nn.Sequential(Block(width), Block(width)), nn.LayerNorm(width)
            self.head = nn.Linear(width, tokens, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, tokens):
            x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
            return self.head(self.norm(self.blocks(x))).flatten(0, 1)

    return Model(), torch.randint(0, 1000, (4, 64)), 256, 1000


def convolutional(torch):
    """The net of the MNIST example."""
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip
    return net, torch.randn(16, 1, 28, 28), 16, 10


def recurrent(torch):
    """Two layers of LSTM over 50 steps."""
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = nn.LSTM(64, 128, 2, batch_first=True), nn.Linear(128, 10)

        def forward(self, x):
            return self.head(self.layers(x)[0][:, -1])

    return Model(), torch.randn(16, 50, 64), 16, 10


NETS = {each.__name__: each for each in (residual, transformer, convolutional, recurrent)}


def step_of(torch, name, dtype, device):
    """Forward and backward of a net, with autocast to a dtype that is not float32; gradients begin as None."""
    net, x, count, classes = NETS[name](torch)
    net, x, labels = net.to(device), x.to(device), torch.randint(0, classes, (count,)).to(device)

    def step():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype != "float32"):
            loss = torch.nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        net.zero_grad()

    return step


def peak_of_pytorch(torch, step):
    """The most bytes that are allocated at once in a step from a start without gradients."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [each for each in profile.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = most = 0
    for each in sorted(events, key=lambda event: event.start_ns()):
        held += each.nbytes()
        most = max(most, held)
    return most


def main():
    """Print what PyTorch takes."""
    torch = importlib.import_module("torch")
    for name, dtype in PEAKS:
        step = step_of(torch, name, dtype, "cpu")
        step()
        step()
        print(f'    ("{name}", "{dtype}"): {peak_of_pytorch(torch, step)},')


if __name__ == "__main__":
    main()
