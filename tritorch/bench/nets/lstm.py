"""A language model of two LSTM layers on stretches of 35 words, as PyTorch's word_language_model, with SGD, clipped."""

from __future__ import annotations

from tritorch.bench.case import Input
from tritorch.bench.training import Training

USUAL = ("float32", "tf32", "bfloat16")
STEPS, LAYERS = 35, 2
FULL, QUICK = (64, 512, 10_000), (64, 256, 10_000)
SMALL, TINY = (20, 200, 2_000), (2, 16, 50)  # sequences, width, vocabulary


def net(lib, width, vocabulary):
    """Words (T, N) and those that follow them to the mean loss."""
    nn, functional = lib.nn, lib.nn.functional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.encoder = nn.Dropout(0.2), nn.Embedding(vocabulary, width)
            self.rnn, self.decoder = nn.LSTM(width, width, LAYERS), nn.Linear(width, vocabulary)

        def forward(self, words, following):
            x, _ = self.rnn(self.drop(self.encoder(words)))
            return functional.cross_entropy(self.decoder(self.drop(x)).flatten(0, 1), following.flatten())

    return Model()


def training(quick, small):
    """35 steps of some sequences side by side."""
    batch, width, vocabulary = (TINY if quick else SMALL) if small else QUICK if quick else FULL
    words = Input((STEPS, batch), below=vocabulary)
    return Training(
        sizes=f"{LAYERS}x{width} T={STEPS} batch {batch} vocabulary {vocabulary}",
        net=lambda lib: net(lib, width, vocabulary),
        inputs=(words, words),
        optimizer=lambda lib, parameters: lib.optim.SGD(parameters, lr=1.0),
        count=STEPS * batch,
        unit="tokens/s",
        flops=6 * STEPS * batch * width * (LAYERS * 8 * width + vocabulary),
        terms=vocabulary,
        clip=0.25,
    )
