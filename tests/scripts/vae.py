"""A convolution-free variational autoencoder of the digits, as in the tutorial; its noise is NumPy's."""

import argparse

import numpy as np
import torch
import torch.utils.data
from alike import report, same_weights
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.nn import functional as F

parser = argparse.ArgumentParser(description="VAE")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--beta", type=float, default=1.0)
parser.add_argument("--log-interval", type=int, default=10)
args = parser.parse_args()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
draw = np.random.RandomState(1)

train_loader = torch.utils.data.DataLoader(
    torch.FloatTensor(load_digits().data / 16.0), batch_size=args.batch_size, shuffle=False
)


class VAE(nn.Module):
    def __init__(self):
        super(VAE, self).__init__()
        self.fc1 = nn.Linear(64, 40)
        self.fc21 = nn.Linear(40, 5)
        self.fc22 = nn.Linear(40, 5)
        self.fc3 = nn.Linear(5, 40)
        self.fc4 = nn.Linear(40, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        if not self.training:
            return mu
        eps = torch.from_numpy(draw.standard_normal(tuple(std.shape))).type_as(std)
        return eps.mul(std).add_(mu)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    # see Appendix B of the paper: 0.5 * sum(1 + log(sigma^2) - mu^2 - sigma^2)
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE + args.beta * KLD


model = same_weights(VAE()).to(device)
optimizer = optim.Adam(model.parameters(), lr=3e-3)
model.train()
step = 0
while step < args.steps:
    for data in train_loader:
        data = data.to(device)
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        optimizer.step()
        report(step, loss.item() / len(data))
        step += 1
        if step == args.steps:
            break

model.eval()
with torch.no_grad():
    recon, mu, _ = model(next(iter(train_loader))[:2].to(device))
    print("codes", mu.cpu().double().numpy().round(2).tolist())
    between = torch.stack([torch.lerp(mu[0], mu[1], weight) for weight in torch.linspace(0, 1, 4).tolist()])
    sample = model.decode(between).view(4, 8, 8).cpu()
for row in torch.cat(tuple(sample), dim=1):
    print("".join(" .:*#"[min(int(5 * value), 4)] for value in row.tolist()))
