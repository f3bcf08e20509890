"""Word vectors by skip-gram with negative sampling (Mikolov et al. 2013), and the nearest words by cosine."""

import argparse
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from alike import report, same_weights
from corpora import tagged_sentences
from torch import nn


class SkipGram(nn.Module):
    def __init__(self, words, width):
        super().__init__()
        self.inside = nn.Embedding(words, width, max_norm=None)
        self.outside = nn.Embedding.from_pretrained(torch.zeros(words, width), freeze=False)

    def forward(self, centre, context, negatives):
        v = self.inside(centre)
        positive = torch.einsum("bd,bd->b", v, self.outside(context))
        negative = torch.bmm(self.outside(negatives), v.unsqueeze(2)).squeeze(2)
        return -(F.logsigmoid(positive) + F.logsigmoid(-negative).sum(1)).mean()


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--negatives", type=int, default=4)
args = parser.parse_args()

sentences = [words for words, _ in tagged_sentences(300)]
counts = Counter(word for words in sentences for word in words)
index = {word: i for i, (word, _) in enumerate(sorted(counts.items(), key=lambda item: (-item[1], item[0])))}
names = list(index)
pairs = [
    (index[words[i]], index[words[j]])
    for words in sentences
    for i in range(len(words))
    for j in range(max(0, i - 2), min(len(words), i + 3))
    if i != j
]
often = np.array([counts[name] for name in names]) ** 0.75
draw = np.random.default_rng(0)
model = same_weights(SkipGram(len(index), 12))
optimizer = torch.optim.Adagrad(model.parameters(), lr=0.5, initial_accumulator_value=0.1)
for step in range(args.steps):
    batch = torch.tensor([pairs[i] for i in draw.integers(0, len(pairs), 64)])
    negatives = torch.as_tensor(draw.choice(len(names), (64, args.negatives), p=often / often.sum()))
    loss = model(batch[:, 0], batch[:, 1], negatives)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    report(step, loss.item())

vectors = model.inside.weight.detach()
for word in ("paris", "anna", "smith"):
    similarity = F.cosine_similarity(vectors[index[word]].unsqueeze(0), vectors, dim=1)
    similarity[index[word]] = -2
    _, nearest = similarity.sort(descending=True)
    print(word, "is like", [names[i] for i in nearest[:3]])
