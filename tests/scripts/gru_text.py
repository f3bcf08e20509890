"""GRU sentiment classifier in a trainer class, with an embedding bag beside it as a baseline."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from corpora import reviews


class GRUClassifier(nn.Module):
    def __init__(self, n_words, n_classes, emb=12, hidden=16):
        super(GRUClassifier, self).__init__()
        self.hidden = hidden
        self.emb = nn.Embedding(n_words, emb)
        self.gru = nn.GRU(emb, hidden, bidirectional=True, batch_first=True)
        self.fc1 = nn.Linear(hidden * 4, 16)
        self.fc2 = nn.Linear(16, n_classes)

    def init_hidden(self, batch):
        weight = next(self.parameters()).data
        return weight.new(2, batch, self.hidden).zero_()

    def forward(self, x):
        out, _ = self.gru(self.emb(x), self.init_hidden(x.size(0)))
        pooled = torch.cat((out.mean(1), out.max(1)[0]), 1)
        return self.fc2(torch.tanh(self.fc1(pooled)))


class BagClassifier(nn.Module):
    def __init__(self, n_words, n_classes):
        super(BagClassifier, self).__init__()
        self.bag = nn.EmbeddingBag(n_words, 8, mode="mean")
        self.fc = nn.Linear(8, n_classes)

    def forward(self, x):
        offsets = torch.arange(0, x.numel(), x.size(1))
        return self.fc(self.bag(x.reshape(-1), offsets.to(x.device)))


class Trainer:
    def __init__(self, model, lr, name):
        self.model, self.name = model, name
        self.optimizer = torch.optim.RMSprop(model.parameters(), lr=lr, alpha=0.9, momentum=0.5)
        self.history = []

    def step(self, x, y):
        self.model.train()
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        self.history.append(loss.item())
        return loss.item()

    @torch.no_grad()
    def evaluate(self, x, y):
        self.model.eval()
        return F.softmax(self.model(x), dim=1).argmax(1).eq(y).float().mean().item()


def encode(data, words, length):
    ids = torch.zeros(len(data), length, dtype=torch.long)
    for row, (text, _) in enumerate(data):
        for column, word in enumerate(text[:length]):
            ids[row, column] = words.get(word, 1)
    return ids, torch.tensor([label for _, label in data])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=16)
    opt = parser.parse_args()
    train, test = reviews(opt.steps * opt.batch_size, 16), reviews(100, 16, seed=9)
    words = {}
    for text, _ in train:
        for word in text:
            words.setdefault(word, len(words) + 2)
    x, y = encode(train, words, 16)
    trainers = [
        Trainer(same_weights(GRUClassifier(len(words) + 2, 2)), 2e-3, "gru"),
        Trainer(same_weights(BagClassifier(len(words) + 2, 2)), 2e-2, "bag"),
    ]
    step = 0
    for x_batch, y_batch in zip(x.split(opt.batch_size), torch.split(y, opt.batch_size)):
        for trainer in trainers:
            report(step, trainer.step(x_batch, y_batch))
        step += 1
    x_test, y_test = encode(test, words, 16)
    for trainer in trainers:
        print("%s: accuracy %.2f, loss %.3f" % (trainer.name, trainer.evaluate(x_test, y_test), trainer.history[-1]))
