"""Numbers in digits to numbers in words: a GRU encoder and a decoder with additive attention and teacher forcing."""

import argparse
import random

import torch
import torch.nn as nn
import torch.nn.functional as F
from alike import report, same_weights
from corpora import number_pairs
from torch import optim

SOS_token, EOS_token, PAD_token = 0, 1, 2
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Lang:
    def __init__(self, name):
        self.name = name
        self.word2index = {}
        self.index2word = {0: "SOS", 1: "EOS", 2: "PAD"}

    def add(self, words):
        for word in words:
            if word not in self.word2index:
                self.word2index[word] = len(self.index2word)
                self.index2word[len(self.index2word)] = word

    def tensor(self, sentences):
        longest = max(map(len, sentences)) + 1
        rows = [[self.word2index[word] for word in words] + [EOS_token] for words in sentences]
        return torch.tensor([row + [PAD_token] * (longest - len(row)) for row in rows], device=device)


class EncoderRNN(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.embedding = nn.Embedding(input_size, hidden_size)
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)

    def forward(self, input):
        return self.gru(self.embedding(input))


class BahdanauAttention(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.Wa = nn.Linear(hidden_size, hidden_size)
        self.Ua = nn.Linear(hidden_size, hidden_size)
        self.Va = nn.Linear(hidden_size, 1)

    def forward(self, query, keys, mask):
        scores = self.Va(torch.tanh(self.Wa(query) + self.Ua(keys)))
        scores = scores.squeeze(2).unsqueeze(1).masked_fill(mask.unsqueeze(1), float("-inf"))
        weights = F.softmax(scores, dim=-1)
        return torch.bmm(weights, keys), weights


class AttnDecoderRNN(nn.Module):
    def __init__(self, hidden_size, output_size):
        super().__init__()
        self.embedding = nn.Embedding(output_size, hidden_size)
        self.attention = BahdanauAttention(hidden_size)
        self.gru = nn.GRU(2 * hidden_size, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, output_size)

    def forward(self, encoder_outputs, encoder_hidden, mask, steps, target=None):
        word = torch.empty(encoder_outputs.size(0), 1, dtype=torch.long, device=device).fill_(SOS_token)
        hidden, outputs, attentions = encoder_hidden, [], []
        for i in range(steps):
            query = hidden.permute(1, 0, 2)
            context, weights = self.attention(query, encoder_outputs, mask)
            output, hidden = self.gru(torch.cat((self.embedding(word), context), dim=2), hidden)
            output = self.out(output)
            outputs.append(output)
            attentions.append(weights)
            if target is not None:
                word = target[:, i].unsqueeze(1)
            else:
                word = output.topk(1)[1].squeeze(-1).detach()
        return F.log_softmax(torch.cat(outputs, dim=1), dim=-1), torch.cat(attentions, dim=1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    random.seed(0)
    pairs = number_pairs(400)
    source, target = Lang("digits"), Lang("words")
    for digits, words in pairs:
        source.add(digits)
        target.add(words)
    encoder = same_weights(EncoderRNN(len(source.index2word), 24), seed=1).to(device)
    decoder = same_weights(AttnDecoderRNN(24, len(target.index2word)), seed=2).to(device)
    encoder_optimizer = optim.Adam(encoder.parameters(), lr=0.01)
    decoder_optimizer = optim.Adam(decoder.parameters(), lr=0.01)
    criterion = nn.NLLLoss(ignore_index=PAD_token)
    for step in range(args.steps):
        batch = random.sample(pairs, 16)
        inputs = source.tensor([digits for digits, _ in batch])
        targets = target.tensor([words for _, words in batch])
        encoder_optimizer.zero_grad()
        decoder_optimizer.zero_grad()
        outputs, hidden = encoder(inputs)
        forced = targets if random.random() < 0.8 else None
        scores, _ = decoder(outputs, hidden, inputs == PAD_token, targets.size(1), forced)
        loss = criterion(scores.view(-1, scores.size(-1)), targets.view(-1))
        loss.backward()
        encoder_optimizer.step()
        decoder_optimizer.step()
        report(step, loss.item())
    with torch.no_grad():
        for digits, words in pairs[:3]:
            inputs = source.tensor([digits])
            outputs, hidden = encoder(inputs)
            scores, attention = decoder(outputs, hidden, inputs == PAD_token, 9)
            said = [target.index2word[i.item()] for i in scores[0].argmax(-1)]
            said = said[: said.index("EOS")] if "EOS" in said else said
            print(" ".join(digits), "=", " ".join(words), "<", " ".join(said), tuple(attention.shape))


if __name__ == "__main__":
    main()
