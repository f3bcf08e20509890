"""Sentiment with a plain recurrent network, as the first of many IMDB notebooks does it."""

import argparse
import time
from collections import Counter

import torch
import torch.nn as nn
import torch.optim as optim
from alike import report, same_weights
from corpora import reviews

SEED = 1234
torch.manual_seed(SEED)
torch.backends.cudnn.deterministic = True


class RNN(nn.Module):
    def __init__(self, input_dim, embedding_dim, hidden_dim, output_dim):
        super().__init__()
        self.embedding = nn.Embedding(input_dim, embedding_dim)
        self.rnn = nn.RNN(embedding_dim, hidden_dim)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, text):
        # text = [sent len, batch size]
        embedded = self.embedding(text)
        output, hidden = self.rnn(embedded)
        assert torch.equal(output[-1, :, :], hidden.squeeze(0))
        return self.fc(hidden.squeeze(0))


def binary_accuracy(preds, y):
    rounded_preds = torch.round(torch.sigmoid(preds))
    correct = (rounded_preds == y).float()
    return correct.sum() / len(correct)


def batches(data, vocabulary, size):
    for start in range(0, len(data), size):
        part = data[start : start + size]
        longest = max(len(words) for words, _ in part)
        rows = [[0] * (longest - len(words)) + [vocabulary[word] for word in words] for words, _ in part]
        yield torch.LongTensor(rows).t(), torch.FloatTensor([label for _, label in part])


def epoch_time(start_time, end_time):
    elapsed = end_time - start_time
    return int(elapsed / 60), int(elapsed % 60)


parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--steps", type=int, default=0)
args = parser.parse_args()

train_data, valid_data = reviews(320, 20, seed=0), reviews(64, 20, seed=1)
counts = Counter(word for words, _ in train_data for word in words)
vocabulary = {word: number for number, (word, _) in enumerate(counts.most_common(), start=2)}
vocabulary = Counter({"<pad>": 0, "<unk>": 1, **vocabulary})

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = same_weights(RNN(len(vocabulary), 16, 24, 1)).to(device)
print(f"The model has {sum(p.numel() for p in model.parameters() if p.requires_grad):,} trainable parameters")
optimizer = optim.SGD(model.parameters(), lr=0.1)
criterion = nn.BCEWithLogitsLoss().to(device)
step = 0
for epoch in range(args.epochs):
    start_time = time.time()
    model.train()
    for text, labels in batches(train_data, vocabulary, 32):
        if args.steps and step == args.steps:
            break
        optimizer.zero_grad()
        predictions = model(text.to(device)).squeeze(1)
        loss = criterion(predictions, labels.to(device))
        acc = binary_accuracy(predictions, labels.to(device))
        loss.backward()
        optimizer.step()
        report(step, loss.item(), accuracy=acc.item())
        step += 1
    model.eval()
    accuracy = 0
    with torch.no_grad():
        for text, labels in batches(valid_data, vocabulary, 32):
            accuracy += binary_accuracy(model(text.to(device)).squeeze(1), labels.to(device)).item() / 2
    mins, secs = epoch_time(start_time, time.time())
    print(f"Epoch: {epoch + 1:02} | Epoch Time: {mins}m {secs}s | Val. Acc: {accuracy * 100:.2f}%")
    if args.steps and step >= args.steps:
        break
