"""A character-level LSTM in LSTM cells, its state carried over from window to window; then it writes."""

import argparse

import numpy as np
import torch
from alike import report, same_weights
from corpora import POEM
from torch import nn

chars = tuple(sorted(set(POEM)))
int2char = dict(enumerate(chars))
char2int = {ch: ii for ii, ch in int2char.items()}
encoded = np.array([char2int[ch] for ch in POEM])


def one_hot_encode(arr, n_labels):
    one_hot = np.zeros((arr.size, n_labels), dtype=np.float32)
    one_hot[np.arange(one_hot.shape[0]), arr.flatten()] = 1.0
    return one_hot.reshape((*arr.shape, n_labels))


def get_batches(arr, batch_size, seq_length):
    batch_size_total = batch_size * seq_length
    n_batches = len(arr) // batch_size_total
    arr = arr[: n_batches * batch_size_total].reshape((batch_size, -1))
    for n in range(0, arr.shape[1], seq_length):
        x = arr[:, n : n + seq_length]
        y = np.zeros_like(x)
        try:
            y[:, :-1], y[:, -1] = x[:, 1:], arr[:, n + seq_length]
        except IndexError:
            y[:, :-1], y[:, -1] = x[:, 1:], arr[:, 0]
        yield x, y


class CharRNN(nn.Module):
    def __init__(self, n_hidden=32, drop_prob=0.0):
        super().__init__()
        self.n_hidden = n_hidden
        self.cells = nn.ModuleList([nn.LSTMCell(len(chars), n_hidden), nn.LSTMCell(n_hidden, n_hidden)])
        self.dropout = nn.Dropout(drop_prob)
        self.fc = nn.Linear(n_hidden, len(chars))

    def forward(self, x, state):
        outputs = []
        for step in x.unbind(dim=1):
            new = []
            for cell, (h, c) in zip(self.cells, state):
                h, c = cell(step, (h, c))
                step = self.dropout(h)
                new.append((h, c))
            state = new
            outputs.append(step)
        out = torch.stack(outputs, dim=1).contiguous().view(-1, self.n_hidden)
        return self.fc(out), state

    def init_hidden(self, batch_size):
        weight = next(self.parameters()).data
        return [tuple(weight.new_zeros(batch_size, self.n_hidden) for _ in "hc") for _ in self.cells]


def sample(net, size, prime="the ", top_k=3):
    net.eval()
    draw = np.random.RandomState(0)
    text, state = list(prime), net.init_hidden(1)
    for i in range(len(prime) + size):
        char = text[i] if i < len(text) else text[-1]
        x = torch.from_numpy(one_hot_encode(np.array([[char2int[char]]]), len(chars)))
        with torch.no_grad():
            out, state = net(x.to(next(net.parameters()).device), state)
        if i >= len(prime) - 1:
            p = torch.softmax(out, dim=1).data.cpu()
            p, top_ch = p.topk(top_k)
            p, top_ch = p.numpy().squeeze(), top_ch.numpy().squeeze()
            text.append(int2char[int(draw.choice(top_ch, p=p / p.sum()))])
    return "".join(text)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=25)
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--clip", type=float, default=5)
opts = parser.parse_args()
net = same_weights(CharRNN())
if torch.cuda.is_available():
    net.cuda()
opt = torch.optim.Adam(net.parameters(), lr=opts.lr)
criterion = nn.CrossEntropyLoss()
counter, first = 0, None
net.train()
while counter < opts.steps:
    h = net.init_hidden(4)
    for x, y in get_batches(encoded, 4, 16):
        inputs, targets = torch.from_numpy(one_hot_encode(x, len(chars))), torch.from_numpy(y)
        if torch.cuda.is_available():
            inputs, targets = inputs.cuda(), targets.cuda()
        h = [tuple(each.data for each in pair) for pair in h]  # not through the whole history
        net.zero_grad()
        output, h = net(inputs, h)
        loss = criterion(output, targets.view(4 * 16).long())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), opts.clip)
        opt.step()
        report(counter, loss.item())
        counter += 1
        if counter == opts.steps:
            break
print(sample(net, 40))
