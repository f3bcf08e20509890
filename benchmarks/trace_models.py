"""The calls of a training step of GPT-2 and of a ResNet, as shapes files for `tritorch autotune sweep --shapes`.

    python benchmarks/trace_models.py [FOLDER]

gpt2.json is the 124M model on 8 sequences of 1024 tokens in bfloat16 with AdamW, and softmax over attention's scores,
which the model fuses. resnet.json is a ResNet of 18 layers on 128 CIFAR images in float32 with SGD, and the pooling of
the larger images' ResNet. No GPU and little memory is needed: the step runs on the interpreter with its launches noted
and not carried out, so arrays are zeros that nobody touches. What values look like (ranges, orders) is taken from a
real step of a small model, call by call. Times are the least that an H200 takes for each call, by its roofline.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tracing import Calls, Worth, nothing_runs

import tritorch as torch
from tritorch.autotune.arguments import TensorSpec
from tritorch.nn import functional as F
from tritorch.runtime.device import CPU, INTERPRETER
from tritorch.vision.models import GPT, GPTConfig, ResNet
from tritorch.vision.models.resnet import BasicBlock


def gpt_step(calls, batch, length, width, vocabulary):
    """The second step, whose optimizer has its states, of a GPT of 12 layers."""
    model = GPT(GPTConfig(block_size=length, vocab_size=vocabulary, n_embd=width)).to(dtype=torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)

    def step():
        tokens = torch.randint(0, vocabulary, (batch, length + 1))
        _, loss = model(tokens[:, :-1], tokens[:, 1:].contiguous())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    step()
    scores = torch.randn(batch, 12, length, length, dtype=torch.bfloat16).requires_grad_()
    with calls:
        step()
        scores.softmax(-1).backward(torch.ones(scores.shape, dtype=torch.bfloat16))


def resnet_step(calls, batch):
    """The second step of a ResNet-18 for images of 32 by 32: a stem of 3 by 3, and no pooling before the blocks."""
    model = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    model.conv1, model.maxpool = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False), torch.nn.Identity()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))

    def step():
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    large = torch.randn(batch, 64, 32, 32, requires_grad=True)
    with calls:
        step()
        F.max_pool2d(large, 3, 2, 1).sum().backward()


def calls_of(step, device, **sizes):
    """The calls of a step on the CPU, or, without carrying out its launches, on the interpreter."""
    torch.manual_seed(0)
    torch.set_default_device(device)
    calls = Calls(values=device is CPU)
    if device is CPU:
        step(calls, **sizes)
        return calls.found
    with nothing_runs():
        step(calls, **sizes)
    return calls.found


def by_op(calls):
    """The calls that can be tuned, by their op's name."""
    found: dict = {}
    for call in calls:
        if call is not None:
            found.setdefault(call.name, []).append(call)
    return found


def with_values(large, small, classes):
    """A large call with what the values of the same call of a small model look like."""
    pairs = zip(large.arguments, small.arguments, strict=True)
    return replace(large, arguments=tuple(_with_values(mine, other, classes) for mine, other in pairs))


def _with_values(mine, other, classes):
    if not isinstance(mine, TensorSpec):
        return mine
    low, high, values = other.low, other.high, other.values
    if values is not None:
        low, high = min(values), max(values)
    if mine.numpy.kind in "iu" and low is not None:
        low, high = 0, (mine.shape[-1] if other.unique else classes) - 1
    return replace(mine, low=low, high=high, sorted=other.sorted, unique=other.unique, share=other.share)


def write(path, name, step, large, small, classes):
    """Write the shapes file of a step."""
    calls, examples = by_op(calls_of(step, INTERPRETER, **large)), by_op(calls_of(step, CPU, **small))
    worth = Worth()
    for op, mine in calls.items():
        others = examples.get(op, [])
        if len(mine) != len(others):  # the host has shorter ways, without a copy
            print(f"{name}: {len(mine)} calls of {op}, {len(others)} by the small model; its values are not known")
            others = mine
        for call, example in zip(mine, others, strict=True):
            worth.add(with_values(call, example, classes), by=call)
    trace = worth.write(path, name)
    print(
        f"{path}: {len(trace.problems)} problems, {trace.count} calls, at least {trace.seconds * 1e3:.2f} ms on an H200"
    )


def main():
    """Write both files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "shapes"
    write(folder / "resnet.json", "ResNet-18, CIFAR, batch 128, float32, SGD", resnet_step,
          {"batch": 128}, {"batch": 4}, 10)  # fmt: skip
    write(folder / "gpt2.json", "GPT-2 124M, batch 8 x 1024, bfloat16, AdamW", gpt_step,
          {"batch": 8, "length": 1024, "width": 768, "vocabulary": 50257},
          {"batch": 2, "length": 272, "width": 48, "vocabulary": 997}, 50257)  # fmt: skip


if __name__ == "__main__":
    main()
