"""Graph convolution (Kipf and Welling 2017) on communities of nodes, the adjacency a sparse or a dense matrix."""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from alike import report, same_weights
from torch.nn.modules.module import Module
from torch.nn.parameter import Parameter

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--weight_decay", type=float, default=5e-4)
parser.add_argument("--hidden", type=int, default=16)
parser.add_argument("--dropout", type=float, default=0.0)
parser.add_argument("--dense", action="store_true", help="multiply by a dense matrix")
args = parser.parse_args()


def load_data(nodes=120, classes=4, features=20, seed=42):
    """Nodes link mostly within their class, and their features say little about it."""
    draw = np.random.RandomState(seed)
    labels = draw.randint(0, classes, nodes)
    link = np.where(labels[:, None] == labels[None], 0.12, 0.01)
    adj = np.triu(draw.rand(nodes, nodes) < link, 1)
    adj = (adj | adj.T).astype(np.float32) + np.eye(nodes, dtype=np.float32)
    inverse_root = adj.sum(1) ** -0.5
    adj = inverse_root[:, None] * adj * inverse_root[None]
    x = draw.randn(nodes, features) + 0.6 * np.eye(classes, features)[labels]
    return adj, torch.FloatTensor(x.astype(np.float32)), torch.LongTensor(labels)


def sparse_from_numpy(matrix):
    rows, columns = np.nonzero(matrix)
    indices = torch.from_numpy(np.vstack((rows, columns)).astype(np.int64))
    values = torch.from_numpy(matrix[rows, columns])
    return torch.sparse_coo_tensor(indices, values, torch.Size(matrix.shape))


class GraphConvolution(Module):
    def __init__(self, in_features, out_features, bias=True):
        super(GraphConvolution, self).__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(torch.FloatTensor(in_features, out_features))
        if bias:
            self.bias = Parameter(torch.FloatTensor(out_features))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        stdv = 1.0 / np.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-stdv, stdv)
        if self.bias is not None:
            self.bias.data.uniform_(-stdv, stdv)

    def forward(self, input, adj):
        support = torch.mm(input, self.weight)
        output = torch.spmm(adj, support)
        return output if self.bias is None else output + self.bias

    def __repr__(self):
        return self.__class__.__name__ + " (" + str(self.in_features) + " -> " + str(self.out_features) + ")"


class GCN(nn.Module):
    def __init__(self, nfeat, nhid, nclass, dropout):
        super(GCN, self).__init__()
        self.gc1 = GraphConvolution(nfeat, nhid)
        self.gc2 = GraphConvolution(nhid, nclass)
        self.dropout = dropout

    def forward(self, x, adj):
        x = F.relu(self.gc1(x, adj))
        x = F.dropout(x, self.dropout, training=self.training)
        return F.log_softmax(self.gc2(x, adj), dim=1)


def accuracy(output, labels):
    preds = output.max(1)[1].type_as(labels)
    correct = preds.eq(labels).double()
    return correct.sum() / len(labels)


matrix, features, labels = load_data()
adj = torch.from_numpy(matrix) if args.dense else sparse_from_numpy(matrix)
idx_train, idx_test = torch.LongTensor(range(40)), torch.LongTensor(range(40, 120))
model = same_weights(GCN(features.shape[1], args.hidden, labels.max().item() + 1, args.dropout))
if torch.cuda.is_available():
    model, features, adj, labels = model.cuda(), features.cuda(), adj.cuda(), labels.cuda()
    idx_train, idx_test = idx_train.cuda(), idx_test.cuda()
print(model)
optimizer = optim.Adam(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
for epoch in range(args.steps):
    model.train()
    optimizer.zero_grad()
    output = model(features, adj)
    loss_train = F.nll_loss(output[idx_train], labels[idx_train])
    loss_train.backward()
    optimizer.step()
    report(epoch, loss_train.item(), accuracy=accuracy(output[idx_train], labels[idx_train]))
model.eval()
output = model(features, adj)
loss_test = F.nll_loss(output[idx_test], labels[idx_test])
print("Test: loss= {:.4f} accuracy= {:.4f}".format(loss_test.item(), accuracy(output[idx_test], labels[idx_test])))
