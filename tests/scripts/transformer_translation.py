"""Translation with nn.Transformer: masks, positional encoding, the warm-up schedule of the paper, greedy decoding."""

import argparse
import math
import warnings

import torch
import torch.nn as nn
from alike import report, same_weights
from corpora import number_pairs
from torch import Tensor
from torch.nn import Transformer
from torch.nn.utils.rnn import pad_sequence

warnings.filterwarnings("ignore", message="enable_nested_tensor is True")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PAD_IDX, BOS_IDX, EOS_IDX = 0, 1, 2


class PositionalEncoding(nn.Module):
    def __init__(self, emb_size: int, dropout: float, maxlen: int = 100):
        super().__init__()
        den = torch.exp(-torch.arange(0, emb_size, 2) * math.log(10000) / emb_size)
        pos = torch.arange(0, maxlen).reshape(maxlen, 1)
        pos_embedding = torch.zeros((maxlen, emb_size))
        pos_embedding[:, 0::2] = torch.sin(pos * den)
        pos_embedding[:, 1::2] = torch.cos(pos * den)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pos_embedding", pos_embedding.unsqueeze(-2))

    def forward(self, token_embedding: Tensor):
        return self.dropout(token_embedding + self.pos_embedding[: token_embedding.size(0), :])


class Seq2SeqTransformer(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, src_words: int, tgt_words: int, dropout: float):
        super().__init__()
        self.transformer = Transformer(
            d_model=width,
            nhead=heads,
            num_encoder_layers=layers,
            num_decoder_layers=layers,
            dim_feedforward=2 * width,
            dropout=dropout,
        )
        self.generator = nn.Linear(width, tgt_words)
        self.src_tok_emb = nn.Embedding(src_words, width)
        self.tgt_tok_emb = nn.Embedding(tgt_words, width)
        self.positional_encoding = PositionalEncoding(width, dropout=dropout)
        self.scale = math.sqrt(width)

    def forward(self, src: Tensor, trg: Tensor):
        src_mask = torch.zeros((src.shape[0], src.shape[0]), device=DEVICE).type(torch.bool)
        tgt_mask = self.transformer.generate_square_subsequent_mask(trg.shape[0]).to(DEVICE)
        src_padding_mask = (src == PAD_IDX).transpose(0, 1)
        tgt_padding_mask = torch.zeros(trg.shape[::-1], device=DEVICE).masked_fill(trg.T == PAD_IDX, float("-inf"))
        src_emb = self.positional_encoding(self.src_tok_emb(src) * self.scale)
        tgt_emb = self.positional_encoding(self.tgt_tok_emb(trg) * self.scale)
        outs = self.transformer(
            src_emb, tgt_emb, src_mask, tgt_mask, None, src_padding_mask, tgt_padding_mask, src_padding_mask
        )
        return self.generator(outs)

    def encode(self, src):
        return self.transformer.encoder(self.positional_encoding(self.src_tok_emb(src) * self.scale))

    def decode(self, tgt, memory):
        mask = self.transformer.generate_square_subsequent_mask(tgt.size(0)).to(DEVICE)
        return self.transformer.decoder(self.positional_encoding(self.tgt_tok_emb(tgt) * self.scale), memory, mask)


def rows(sentences, words):
    lines = [torch.tensor([BOS_IDX] + [words[word] for word in line] + [EOS_IDX]) for line in sentences]
    return pad_sequence(lines, padding_value=PAD_IDX).to(DEVICE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--dropout", type=float, default=0.0)
    args = parser.parse_args()
    pairs = number_pairs(16 * args.steps, most=99)
    src_words = {word: i for i, word in enumerate(sorted({w for digits, _ in pairs for w in digits}), 3)}
    tgt_words = {word: i for i, word in enumerate(sorted({w for _, words in pairs for w in words}), 3)}
    model = Seq2SeqTransformer(2, 32, 4, len(src_words) + 3, len(tgt_words) + 3, args.dropout)
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
    same_weights(model).to(DEVICE)
    loss_fn = nn.CrossEntropyLoss(ignore_index=PAD_IDX)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    noam = lambda step: 32**-0.5 * min((step + 1) ** -0.5, (step + 1) * 20**-1.5)  # noqa: E731
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=noam)
    model.train()
    for step in range(args.steps):
        batch = pairs[16 * step : 16 * step + 16]
        src, tgt = rows([d for d, _ in batch], src_words), rows([w for _, w in batch], tgt_words)
        logits = model(src, tgt[:-1, :])
        optimizer.zero_grad()
        loss = loss_fn(logits.reshape(-1, logits.shape[-1]), tgt[1:, :].reshape(-1))
        loss.backward()
        optimizer.step()
        scheduler.step()
        report(step, loss.item(), lr=scheduler.get_last_lr()[0])

    model.eval()
    names = {i: word for word, i in tgt_words.items()}
    with torch.no_grad():
        memory = model.encode(rows([["4", "2"]], src_words))
        ys = torch.ones(1, 1).fill_(BOS_IDX).type(torch.long).to(DEVICE)
        for _ in range(6):
            prob = model.generator(model.decode(ys, memory)[-1])
            next_word = torch.max(prob, dim=1)[1].item()
            ys = torch.cat([ys, torch.ones(1, 1).type_as(ys.data).fill_(next_word)], dim=0)
            if next_word == EOS_IDX:
                break
    print("4 2 >", " ".join(names.get(i, "?") for i in ys.flatten().tolist()[1:]))


if __name__ == "__main__":
    main()
