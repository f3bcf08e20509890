"""Convolutions over words of several widths, max over time (Kim 2014)."""

import argparse

import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from corpora import reviews
from torch.autograd import Variable


class CNN_Text(nn.Module):
    def __init__(self, args):
        super(CNN_Text, self).__init__()
        self.args = args
        self.embed = nn.Embedding(args.embed_num, args.embed_dim)
        self.convs = nn.ModuleList([nn.Conv2d(1, args.kernel_num, (K, args.embed_dim)) for K in args.kernel_sizes])
        self.dropout = nn.Dropout(args.dropout)
        self.fc1 = nn.Linear(len(args.kernel_sizes) * args.kernel_num, args.class_num)
        if args.static:
            self.embed.weight.requires_grad = False

    def forward(self, x):
        x = self.embed(x)  # (N, W, D)
        x = x.unsqueeze(1)  # (N, 1, W, D)
        x = [F.relu(conv(x)).squeeze(3) for conv in self.convs]  # [(N, Co, W)] * len(Ks)
        x = [F.max_pool1d(i, i.size(2)).squeeze(2) for i in x]  # [(N, Co)] * len(Ks)
        x = torch.cat(x, 1)
        return self.fc1(self.dropout(x))


parser = argparse.ArgumentParser(description="CNN text classifier")
parser.add_argument("-lr", type=float, default=0.005)
parser.add_argument("-batch-size", type=int, default=20)
parser.add_argument("-dropout", type=float, default=0.0)
parser.add_argument("-max-norm", type=float, default=3.0)
parser.add_argument("-embed-dim", type=int, default=16)
parser.add_argument("-kernel-num", type=int, default=8)
parser.add_argument("-kernel-sizes", type=str, default="3,4,5")
parser.add_argument("-static", action="store_true")
parser.add_argument("--steps", type=int, default=30)
args = parser.parse_args()
args.kernel_sizes = [int(k) for k in args.kernel_sizes.split(",")]

data = reviews(args.steps * args.batch_size, 18)
vocabulary = ["<pad>"] + sorted({word for words, _ in data for word in words})
index = {word: i for i, word in enumerate(vocabulary)}
args.embed_num, args.class_num, args.cuda = len(vocabulary), 2, torch.cuda.is_available()
print("\n".join("\t{}={}".format(name.upper(), value) for name, value in sorted(vars(args).items())))

cnn = same_weights(CNN_Text(args))
if args.cuda:
    cnn = cnn.cuda()
trainable = filter(lambda p: p.requires_grad, cnn.parameters())
optimizer = torch.optim.Adam(trainable, lr=args.lr)
cnn.train()
for step in range(args.steps):
    batch = data[step * args.batch_size : (step + 1) * args.batch_size]
    rows = [[index[word] for word in words] + [0] * (18 - len(words)) for words, _ in batch]
    feature, target = Variable(torch.LongTensor(rows)), Variable(torch.LongTensor([label for _, label in batch]))
    if args.cuda:
        feature, target = feature.cuda(), target.cuda()
    optimizer.zero_grad()
    logit = cnn(feature)
    loss = F.cross_entropy(logit, target)
    loss.backward()
    optimizer.step()
    with torch.no_grad():  # the paper's constraint on the last layer's rows
        norms = cnn.fc1.weight.norm(2, 1, keepdim=True)
        cnn.fc1.weight.mul_(norms.clamp(max=args.max_norm) / (norms + 1e-8))
    corrects = (torch.max(logit, 1)[1].view(target.size()).data == target.data).sum()
    accuracy = 100.0 * corrects / args.batch_size
    report(step, loss.item(), acc=accuracy)
