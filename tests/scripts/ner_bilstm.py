"""Named entities with a bidirectional LSTM over words and a CNN over their characters; padding counts for nothing."""

import argparse

import torch
import torch.nn as nn
from alike import report, same_weights
from corpora import tagged_sentences

PAD, IGNORE = 0, -100
TAGS = ["O", "B-PER", "I-PER", "B-LOC"]


class CharCNN(nn.Module):
    def __init__(self, letters, width, filters):
        super().__init__()
        self.embed = nn.Embedding(letters, width, padding_idx=PAD)
        self.conv = nn.Conv1d(width, filters, kernel_size=3, padding="same")

    def forward(self, chars):  # (batch, words, letters)
        batch, words, letters = chars.shape
        x = self.embed(chars.view(batch * words, letters)).transpose(1, 2).contiguous()
        x, _ = torch.relu(self.conv(x)).max(dim=-1)
        return x.view(batch, words, -1)


class Tagger(nn.Module):
    def __init__(self, words, letters, tags):
        super().__init__()
        self.words = nn.Embedding(words, 16, padding_idx=PAD)
        self.chars = CharCNN(letters, 8, 8)
        self.lstm = nn.LSTM(24, 16, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(32)
        self.out = nn.Linear(32, tags)

    def forward(self, words, chars):
        x = torch.cat([self.words(words), self.chars(chars)], dim=-1)
        x, _ = self.lstm(x)
        return self.out(self.norm(x))


def encode(sentences, words, letters):
    longest = max(len(tokens) for tokens, _ in sentences)
    widest = max(len(token) for tokens, _ in sentences for token in tokens)
    x = torch.full((len(sentences), longest), PAD, dtype=torch.int64)
    c = x.new_zeros(len(sentences), longest, widest)
    y = x.new_full(x.shape, IGNORE)
    for i, (tokens, tags) in enumerate(sentences):
        x[i, : len(tokens)] = torch.tensor([words[token] for token in tokens])
        y[i, : len(tags)] = torch.tensor([TAGS.index(tag) for tag in tags])
        for j, token in enumerate(tokens):
            c[i, j, : len(token)] = torch.as_tensor([letters[letter] for letter in token])
    return x, c, y


def f1(predicted, truth):
    keep = truth != IGNORE
    predicted, truth = predicted[keep], truth[keep]
    hits = ((predicted == truth) & (truth > 0)).sum().float()
    precision = hits / (predicted > 0).sum().clamp(min=1)
    recall = hits / (truth > 0).sum().clamp(min=1)
    return (2 * precision * recall / (precision + recall + 1e-12)).item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args()
    sentences = tagged_sentences(16 * args.steps)
    words = {w: i for i, w in enumerate(sorted({w for tokens, _ in sentences for w in tokens}), 1)}
    letters = {c: i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz", 1)}
    model = same_weights(Tagger(len(words) + 1, len(letters) + 1, len(TAGS)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    weight = torch.tensor([0.5, 1.0, 1.0, 1.0], device=device)
    criterion = nn.CrossEntropyLoss(weight=weight, ignore_index=IGNORE)
    optimizer = torch.optim.NAdam(model.parameters(), lr=0.01)
    for step in range(args.steps):
        x, c, y = (t.to(device) for t in encode(sentences[16 * step : 16 * (step + 1)], words, letters))
        scores = model(x, c)
        loss = criterion(scores.permute(0, 2, 1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report(step, loss.item(), f1=f1(scores.argmax(-1), y))
    tokens, tags = sentences[0]
    x, c, _ = encode(sentences[:1], words, letters)
    model.eval()
    guesses = model(x.to(device), c.to(device)).argmax(-1)[0].tolist()
    for token, tag, guess in zip(tokens, tags, guesses):
        print(f"{token:10} {tag:6} {TAGS[guess]}")


if __name__ == "__main__":
    main()
