"""Reading digits in a row (CRNN, Shi et al. 2015): convolutions, a bidirectional LSTM, CTC, greedy decoding."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from sklearn.datasets import load_digits

digits = load_digits()
images = (digits.images / 16).astype(np.float32)
by_class = [np.flatnonzero(digits.target == k) for k in range(10)]


def line(draw, count):
    text = draw.integers(0, 10, count)
    return np.concatenate([images[draw.choice(by_class[k])] for k in text], axis=1), text


class BidirectionalLSTM(nn.Module):
    def __init__(self, nIn, nHidden, nOut):
        super(BidirectionalLSTM, self).__init__()
        self.rnn = nn.LSTM(nIn, nHidden, bidirectional=True)
        self.embedding = nn.Linear(nHidden * 2, nOut)

    def forward(self, input):
        recurrent, _ = self.rnn(input)
        T, b, h = recurrent.size()
        t_rec = recurrent.view(T * b, h)
        output = self.embedding(t_rec)  # [T * b, nOut]
        return output.view(T, b, -1)


class CRNN(nn.Module):
    def __init__(self, nclass, nh):
        super(CRNN, self).__init__()
        cnn = nn.Sequential()
        cnn.add_module("conv0", nn.Conv2d(1, 8, 3, 1, 1))
        cnn.add_module("relu0", nn.ReLU(True))
        cnn.add_module("pooling0", nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
        cnn.add_module("conv1", nn.Conv2d(8, 16, (4, 3), 1, (0, 1)))
        cnn.add_module("batchnorm1", nn.BatchNorm2d(16))
        cnn.add_module("relu1", nn.ReLU(True))
        cnn.add_module("pooling1", nn.MaxPool2d((1, 2)))
        self.cnn = cnn
        self.rnn = nn.Sequential(BidirectionalLSTM(16, nh, nh), BidirectionalLSTM(nh, nh, nclass))

    def forward(self, input):
        conv = self.cnn(input)
        b, c, h, w = conv.size()
        assert h == 1, "the height of conv must be 1"
        conv = conv.squeeze(2)
        conv = conv.permute(2, 0, 1)  # [w, b, c]
        return self.rnn(conv)


def decode(scores):
    best, previous = [], 0
    for k in scores.argmax(-1).tolist():
        if k and k != previous:
            best.append(k - 1)
        previous = k
    return best


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        m.weight.data.normal_(0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        m.weight.data.normal_(1.0, 0.02)
        m.bias.data.fill_(0)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--batch", type=int, default=8)
opt = parser.parse_args()
crnn = CRNN(11, 16)
crnn.apply(weights_init)
same_weights(crnn)
criterion = nn.CTCLoss(zero_infinity=True)
if torch.cuda.is_available():
    crnn = crnn.cuda()
optimizer = torch.optim.RMSprop(crnn.parameters(), lr=0.003)
draw = np.random.default_rng(0)
for step in range(opt.steps):
    lengths = draw.integers(2, 5, opt.batch)
    lines = [line(draw, n) for n in lengths]
    width = max(picture.shape[1] for picture, _ in lines)
    batch = torch.zeros(opt.batch, 1, 8, width)
    for i, (picture, _) in enumerate(lines):
        batch[i, 0, :, : picture.shape[1]] = torch.from_numpy(picture)
    if torch.cuda.is_available():
        batch = batch.cuda()
    preds = crnn(batch).log_softmax(2)
    preds_size = torch.IntTensor([preds.size(0)] * opt.batch)
    text = torch.IntTensor(np.concatenate([t for _, t in lines]) + 1)
    cost = criterion(preds.cpu(), text, preds_size, torch.IntTensor(lengths))
    crnn.zero_grad()
    cost.backward()
    optimizer.step()
    report(step, cost.item())
crnn.eval()
picture, text = line(draw, 4)
print("shown", text.tolist(), "read", decode(crnn(torch.from_numpy(picture)[None, None].to(batch.device))[:, 0]))
