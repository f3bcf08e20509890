"""Collaborative filtering: users and items as vectors, dot products and biases against ratings; sparse gradients."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights

USERS, ITEMS, TASTES = 60, 40, 3


def ratings(seed=0):
    """What users of a few tastes say about items, on a scale of 1 to 5, for a third of all pairs."""
    draw = np.random.default_rng(seed)
    user, item = draw.normal(size=(USERS, TASTES)), draw.normal(size=(ITEMS, TASTES))
    score = 3 + (user @ item.T) / 1.5 + draw.normal(0, 0.2, (USERS, ITEMS))
    u, i = np.nonzero(draw.random((USERS, ITEMS)) < 0.33)
    order = draw.permutation(len(u))
    return u[order], i[order], score[u, i][order].clip(1, 5).round().astype("float32")


class MatrixFactorization(nn.Module):
    def __init__(self, n_users, n_items, n_factors, mean, sparse):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, n_factors, sparse=sparse)
        self.item_factors = nn.Embedding(n_items, n_factors, sparse=sparse)
        self.user_biases = nn.Embedding(n_users, 1, sparse=sparse)
        self.item_biases = nn.Embedding(n_items, 1, sparse=sparse)
        self.register_buffer("mean", torch.tensor(mean))

    def forward(self, user, item):
        pred = self.user_biases(user) + self.item_biases(item)
        pred += (self.user_factors(user) * self.item_factors(item)).sum(dim=1, keepdim=True)
        return pred.squeeze() + self.mean

    def penalty(self, user, item):
        return self.user_factors(user).pow(2).mean() + self.item_factors(item).pow(2).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--factors", type=int, default=4)
    parser.add_argument("--decay", type=float, default=0.02)
    parser.add_argument("--sparse", action="store_true", help="sparse gradients of the embeddings")
    args = parser.parse_args()
    users, items, scores = ratings()
    users, items, scores = torch.LongTensor(users), torch.LongTensor(items), torch.FloatTensor(scores)
    cut = int(0.9 * len(scores))
    model = same_weights(MatrixFactorization(USERS, ITEMS, args.factors, scores[:cut].mean().item(), args.sparse))
    loss_function = nn.SmoothL1Loss()
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.99)
    for step in range(args.steps):
        start = step * args.batch % (cut - args.batch)
        part = slice(start, start + args.batch)
        prediction = model(users[part], items[part])
        loss = loss_function(prediction, scores[part]) + args.decay * model.penalty(users[part], items[part])
        model.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item())
    with torch.no_grad():
        model.eval()
        error = (model(users[cut:], items[cut:]) - scores[cut:]).pow(2).mean().sqrt()
        everything = model.user_factors.weight[0] @ model.item_factors.weight.t() + model.item_biases.weight.squeeze(-1)
        everything[items[users == 0]] = -float("inf")  # what user 0 rated already
        values, best = torch.topk(everything, k=5)
    print(f"RMSE {error:.3f}; for user 0: {best.tolist()} at {values.double().numpy().round(2).tolist()}")


if __name__ == "__main__":
    main()
