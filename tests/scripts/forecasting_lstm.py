"""Forecasting a seasonal series: windows, a stateful LSTM with a projection, a quantile loss, a rolling forecast."""

import argparse

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from torch.utils.data import DataLoader, TensorDataset, random_split

QUANTILES = (0.1, 0.5, 0.9)


def series(length=600):
    t = np.arange(length)
    draw = np.random.default_rng(4)
    return np.sin(2 * np.pi * t / 24) + 0.5 * np.sin(2 * np.pi * t / 168) + 0.002 * t + draw.normal(0, 0.1, length)


def create_inout_sequences(values, window):
    x = values.unfold(0, window + 1, 1)
    return x[:, :-1].unsqueeze(-1), x[:, -1:]


class Forecaster(nn.Module):
    def __init__(self, hidden=24, projected=12, layers=1, dropout=0.0):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, layers, batch_first=True, dropout=dropout, proj_size=projected)
        self.heads = nn.ModuleList(nn.Linear(projected, 1) for _ in QUANTILES)

    def forward(self, x, state=None):
        out, state = self.lstm(x, state)
        last = out[:, -1]
        return torch.cat([head(last) for head in self.heads], dim=1), state


def pinball(prediction, target):
    error = target - prediction
    weights = prediction.new_tensor(QUANTILES)
    return torch.max(weights * error, (weights - 1) * error).sum(dim=1).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--window", type=int, default=24)
    parser.add_argument("--batch_size", type=int, default=32)
    args = parser.parse_args()
    raw = torch.from_numpy(series()).float()
    train, rest = raw[:500], raw[500 - args.window :]
    low, high = train.min(), train.max()
    scale = lambda v: 2 * (v - low) / (high - low) - 1  # noqa: E731

    dataset = TensorDataset(*create_inout_sequences(scale(train), args.window))
    kept, held = random_split(dataset, [len(dataset) - 50, 50], generator=torch.Generator().manual_seed(0))
    kept.indices, held.indices = list(range(len(kept))), list(range(len(kept), len(dataset)))  # the same everywhere
    loader = DataLoader(kept, batch_size=args.batch_size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = same_weights(Forecaster()).to(device)
    optimizer = torch.optim.Adam(
        [{"params": model.lstm.parameters(), "lr": 1e-2}, {"params": model.heads.parameters()}]
    )
    step = 0
    while step < args.steps:
        for x, y in loader:
            model.zero_grad()
            prediction, _ = model(x.to(device))
            loss = pinball(prediction, y.to(device))
            loss.backward()
            optimizer.step()
            report(step, loss.item())
            step += 1
            if step == args.steps:
                break
    model.eval()
    with torch.no_grad():
        x, y = (torch.stack(part) for part in zip(*held))
        print(f"held out: {pinball(model(x.to(device))[0].cpu(), y):.4f}")
        history, forecast = scale(rest[: args.window]).tolist(), []
        for _ in range(12):
            window = torch.FloatTensor(history[-args.window :]).view(1, -1, 1).to(device)
            history.append(model(window)[0][0, 1].item())
            forecast.append((history[-1] + 1) / 2 * (high - low).item() + low.item())
    error = torch.nn.functional.l1_loss(torch.tensor(forecast), rest[args.window : args.window + 12])
    print(f"12 hours ahead: mean absolute error {error:.3f}")


if __name__ == "__main__":
    main()
