"""Masked words from both sides: a small BERT with heads of its own, weights shared with the embedding."""

import argparse
import math

import numpy as np
import torch
import torch.nn as nn
from alike import report, same_weights
from corpora import tagged_sentences


class BertConfig(object):
    def __init__(self, vocab_size, **settings):
        self.vocab_size = vocab_size
        self.hidden_size, self.num_hidden_layers, self.num_attention_heads = 24, 2, 3
        self.hidden_dropout_prob, self.max_position_embeddings, self.type_vocab_size = 0.0, 16, 2
        self.layer_norm_eps = 1e-12
        self.__dict__.update(settings)


class BertEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.register_buffer("position_ids", torch.arange(config.max_position_embeddings).expand((1, -1)))

    def forward(self, input_ids, token_type_ids=None):
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        position_ids = self.position_ids[:, : input_ids.size(1)]
        total = self.word_embeddings(input_ids) + self.position_embeddings(position_ids)
        return self.LayerNorm(total + self.token_type_embeddings(token_type_ids))


class BertSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.head_size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.query, self.key, self.value = (nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def transpose_for_scores(self, x):
        return x.view(*x.size()[:-1], self.heads, self.head_size).permute(0, 2, 1, 3)

    def forward(self, hidden_states, attention_mask):
        q, k, v = (self.transpose_for_scores(f(hidden_states)) for f in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.head_size) + attention_mask
        probs = self.dropout(nn.Softmax(dim=-1)(scores))
        context = torch.matmul(probs, v).permute(0, 2, 1, 3).contiguous()
        return context.view(*context.size()[:-2], -1)


class BertLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        size = config.hidden_size
        self.attention, self.output = BertSelfAttention(config), nn.Linear(size, size)
        self.intermediate = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))
        self.norms = nn.ModuleList([nn.LayerNorm(size, eps=config.layer_norm_eps) for _ in range(2)])

    def forward(self, x, mask):
        x = self.norms[0](x + self.output(self.attention(x, mask)))
        return self.norms[1](x + self.intermediate(x))


class BertForMaskedLM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.embeddings = config, BertEmbeddings(config)
        self.layers = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.decoder.weight = self.embeddings.word_embeddings.weight
        self.decoder.bias = self.bias

    def forward(self, input_ids, attention_mask, labels=None):
        mask = attention_mask[:, None, None, :].to(dtype=next(self.parameters()).dtype)
        mask = (1.0 - mask) * torch.finfo(mask.dtype).min
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x, mask)
        scores = self.decoder(x)
        if labels is None:
            return (scores,)
        return nn.CrossEntropyLoss()(scores.view(-1, self.config.vocab_size), labels.view(-1)), scores


def mask_tokens(inputs, draw, mask_id, vocab_size):
    labels = inputs.clone()
    masked = torch.from_numpy(draw.random(tuple(inputs.shape)) < 0.3) & inputs.ne(0)
    labels[~masked] = -100
    replaced = torch.from_numpy(draw.random(tuple(inputs.shape)) < 0.8) & masked
    inputs[replaced] = mask_id
    other = torch.from_numpy(draw.random(tuple(inputs.shape)) < 0.5) & masked & ~replaced
    words = torch.from_numpy(draw.integers(2, vocab_size, tuple(inputs.shape)))
    inputs[other] = words[other]
    return inputs, labels


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    sentences = [words for words, _ in tagged_sentences(16 * args.steps)]
    vocab = ["[PAD]", "[MASK]"] + sorted({word for words in sentences for word in words})
    model = same_weights(BertForMaskedLM(BertConfig(len(vocab))))
    no_decay = ["bias", "LayerNorm.weight", "norms"]
    grouped = [
        {"params": [p for n, p in model.named_parameters() if not any(nd in n for nd in no_decay)], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if any(nd in n for nd in no_decay)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(grouped, lr=5e-3, eps=1e-8)
    for step in range(args.steps):
        part = sentences[16 * step : 16 * (step + 1)]
        ids = torch.zeros(16, max(map(len, part)), dtype=torch.long)
        for i, words in enumerate(part):
            ids[i, : len(words)] = torch.tensor([vocab.index(word) for word in words])
        attention_mask = (ids != 0).long()
        inputs, labels = mask_tokens(ids, draw, 1, len(vocab))
        loss = model(inputs, attention_mask, labels)[0]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()
        report(step, loss.item())
    model.eval()
    with torch.no_grad():
        ids = torch.tensor([[vocab.index(w) if w != "_" else 1 for w in "anna smith _ paris".split()]])
        scores = model(ids, torch.ones_like(ids))[0][0, 2]
    print("anna smith _ paris:", [vocab[i] for i in scores.topk(3)[1].tolist()])


if __name__ == "__main__":
    main()
