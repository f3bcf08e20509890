"""A two-layer bidirectional LSTM over packed sequences of different lengths, with a padded embedding left untouched."""

import argparse

import torch
from alike import report, same_weights
from corpora import reviews
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader


class Classifier(nn.Module):
    def __init__(self, words, width=16, hidden=20, layers=2, dropout=0.0, pad=0):
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=pad)
        self.lstm = nn.LSTM(width, hidden, num_layers=layers, bidirectional=True, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * hidden, 2)

    def forward(self, text, lengths):
        embedded = self.dropout(self.embedding(text))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        packed_output, (hidden, cell) = self.lstm(packed)
        output, output_lengths = pad_packed_sequence(packed_output, batch_first=True, padding_value=0.0)
        assert output_lengths.tolist() == lengths.tolist()
        ends = torch.cat((hidden[-2, :, :], hidden[-1, :, :]), dim=1)
        mean = output.sum(dim=1) / lengths.unsqueeze(1).to(output.device)
        return self.head(self.dropout(torch.cat([ends, mean], dim=-1)))


def make_collate(vocabulary):
    def collate(batch):
        texts = [torch.tensor([vocabulary[word] for word in words]) for words, _ in batch]
        lengths = torch.tensor([len(text) for text in texts])
        return pad_sequence(texts, batch_first=True, padding_value=0), lengths, torch.tensor([y for _, y in batch])

    return collate


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--clip", type=float, default=1.0)
    args = parser.parse_args()

    data = reviews(args.steps * 16, 14)
    vocabulary = {word: number for number, word in enumerate(sorted({w for words, _ in data for w in words}), 1)}
    loader = DataLoader(data, batch_size=16, collate_fn=make_collate(vocabulary))
    model = Classifier(len(vocabulary) + 1, dropout=args.dropout)
    same_weights(model)
    with torch.no_grad():
        model.embedding.weight[0].fill_(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, betas=(0.9, 0.98), eps=1e-9)
    criterion = nn.CrossEntropyLoss()
    running = []
    for step, (text, lengths, labels) in enumerate(loader):
        logits = model(text.to(device), lengths)
        loss = criterion(logits, labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optimizer.step()
        running.append((logits.argmax(dim=1).cpu() == labels).float().mean().item())
        report(step, loss.item(), norm=norm)
    print("the padding's vector:", model.embedding.weight[0].abs().max().item())
    print(f"accuracy of the last ten batches: {sum(running[-10:]) / len(running[-10:]):.2f}")


if __name__ == "__main__":
    main()
