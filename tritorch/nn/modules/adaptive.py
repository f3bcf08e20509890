"""AdaptiveLogSoftmaxWithLoss: a softmax over very many classes, most of which are rare.

Source: Grave et al., Efficient softmax approximation for GPUs, 2016.
"""

from __future__ import annotations

from collections import namedtuple

from tritorch.nn import functional as F
from tritorch.nn.modules.container import ModuleList, Sequential
from tritorch.nn.modules.linear import Linear
from tritorch.nn.modules.module import Module
from tritorch.ops.base import TABLE

__all__ = ["AdaptiveLogSoftmaxWithLoss"]

_ASMoutput = namedtuple("_ASMoutput", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """The log-probability of the target's class, and minus its mean, the loss.

    Classes are numbered from frequent to rare. Those below cutoffs[0] and one for each further cluster stand in the
    `head`; cluster i has a softmax of its own in `tail[i]`, behind a projection to in_features / div_value^(i+1).
    """

    def __init__(self, in_features, n_classes, cutoffs, div_value=4.0, head_bias=False, device=None, dtype=None):
        super().__init__()
        cutoffs = list(cutoffs)
        _check_cutoffs(cutoffs, n_classes)
        self.in_features, self.n_classes, self.cutoffs = in_features, n_classes, [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for number, (low, high) in enumerate(self._clusters()):
            width = int(in_features // div_value ** (number + 1))
            down = Linear(in_features, width, False, device, dtype)
            self.tail.append(Sequential(down, Linear(width, high - low, False, device, dtype)))

    def _clusters(self):
        """The first class of each cluster, and that after its last."""
        return zip(self.cutoffs[:-1], self.cutoffs[1:], strict=True)

    def reset_parameters(self):
        """Start all linear layers anew."""
        self.head.reset_parameters()
        for down, out in self.tail:
            down.reset_parameters()
            out.reset_parameters()

    def forward(self, input_, target_):
        """(output, loss): log-probabilities of the targets (N) for (N, in_features), or of one for (in_features)."""
        _check_target(input_, target_)
        batched = target_.dim() > 0
        input, target = (input_, target_) if batched else (input_.unsqueeze(0), target_.unsqueeze(0))
        frequent = (target >= 0) & (target < self.shortlist_size)
        place, output, used = target.where(frequent, 0), input.new_zeros(target.shape), int(frequent.sum())
        for number, (low, high) in enumerate(self._clusters()):
            rows = ((target >= low) & (target < high)).nonzero().squeeze(1)
            if not rows.numel():
                continue
            used += rows.numel()
            found = F.log_softmax(self.tail[number](input.index_select(0, rows)), dim=1)
            within = found.gather(1, (target.index_select(0, rows) - low).unsqueeze(1))
            output = output.index_copy(0, rows, within.squeeze(1))
            place = place.index_fill(0, rows, self.shortlist_size + number)
        if used != target.numel():
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{target.min().item()}, "
                f"{target.max().item()}] were found. "
            )
        head = F.log_softmax(self.head(input), dim=1)
        output = output + head.gather(1, place.unsqueeze(1)).squeeze(1)
        loss = (-output).mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _get_full_log_prob(self, input, head_output):
        """Log-probabilities of all classes from the head's output."""
        head = F.log_softmax(head_output, dim=1)
        parts = [head[:, : self.shortlist_size]]
        for number, tail in enumerate(self.tail):
            own = self.shortlist_size + number
            parts.append(F.log_softmax(tail(input), dim=1) + head[:, own : own + 1])
        return TABLE["cat"].call(parts, 1)

    def log_prob(self, input):
        """Log-probabilities of all classes, (N, n_classes)."""
        return self._get_full_log_prob(input, self.head(input))

    def predict(self, input):
        """The most probable class of each row."""
        return self.log_prob(input).argmax(dim=1)


def _check_cutoffs(cutoffs, n_classes):
    if not cutoffs:
        raise ValueError("cutoffs should be a sequence of length larger than 0")
    in_order = cutoffs == sorted(set(cutoffs)) and all(int(each) == each for each in cutoffs)
    if not in_order or min(cutoffs) <= 0 or max(cutoffs) > n_classes - 1:
        raise ValueError(
            "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value "
            "is between 1 and n_classes-1"
        )


def _check_target(input, target):
    if target.dim() == 1:
        if input.shape[0] != target.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if input.dim() != 2:
            raise RuntimeError(f"1D target tensor expects 2D input tensors, but found inputs with size {input.shape}")
    elif target.dim() == 0:
        if input.dim() != 1:
            raise RuntimeError(f"0D target tensor expects 1D input tensors, but found inputs with size {input.shape}")
    else:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
