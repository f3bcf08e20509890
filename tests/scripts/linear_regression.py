"""Linear regression on the diabetes data, the first script everybody writes."""

import argparse

import torch
import torch.nn as nn
from alike import report, same_weights
from sklearn.datasets import load_diabetes
from torch.autograd import Variable


class LinearRegression(nn.Module):
    def __init__(self, inputs, outputs):
        super(LinearRegression, self).__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.linear(x)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--lr", type=float, default=0.5)
args = parser.parse_args()

data = load_diabetes()
x = Variable(torch.Tensor(data.data / data.data.std(axis=0)))
y = Variable(torch.Tensor(((data.target - data.target.mean()) / data.target.std()).tolist())).view(-1, 1)

model = same_weights(LinearRegression(x.size(1), 1))
if torch.cuda.is_available():
    model, x, y = model.cuda(), x.cuda(), y.cuda()

criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr / x.size(1))

for step in range(args.steps):
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    report(step, loss.data.item())

for name, weight in zip(data.feature_names, model.linear.weight.data.cpu().numpy()[0]):
    print("%4s %8.4f" % (name, weight))
predicted = model(x).data.cpu()
target = y.data.cpu()
r2 = 1 - ((predicted - target) ** 2).sum() / ((target - target.mean()) ** 2).sum()
print("R2: {:.4f}".format(r2.item()))
