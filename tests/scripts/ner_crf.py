"""A conditional random field over an LSTM's scores: forward algorithm, Viterbi, sentence by sentence."""

import argparse

import torch
import torch.autograd as autograd
import torch.nn as nn
import torch.optim as optim
from alike import report, same_weights
from corpora import tagged_sentences

START_TAG, STOP_TAG = "<START>", "<STOP>"


def argmax(vec):
    _, idx = torch.max(vec, 1)
    return idx.item()


def log_sum_exp(vec):
    max_score = vec[0, argmax(vec)]
    max_score_broadcast = max_score.view(1, -1).expand(1, vec.size()[1])
    return max_score + torch.log(torch.sum(torch.exp(vec - max_score_broadcast)))


class BiLSTM_CRF(nn.Module):
    def __init__(self, vocab_size, tag_to_ix, embedding_dim, hidden_dim):
        super(BiLSTM_CRF, self).__init__()
        self.hidden_dim = hidden_dim
        self.tag_to_ix = tag_to_ix
        self.tagset_size = len(tag_to_ix)
        self.word_embeds = nn.Embedding(vocab_size, embedding_dim)
        self.lstm = nn.LSTM(embedding_dim, hidden_dim // 2, num_layers=1, bidirectional=True)
        self.hidden2tag = nn.Linear(hidden_dim, self.tagset_size)
        self.transitions = nn.Parameter(torch.zeros(self.tagset_size, self.tagset_size))

    def forbid(self):
        self.transitions.data[self.tag_to_ix[START_TAG], :] = -10000
        self.transitions.data[:, self.tag_to_ix[STOP_TAG]] = -10000
        return self

    def _forward_alg(self, feats):
        alphas = torch.full((1, self.tagset_size), -10000.0)
        alphas[0][self.tag_to_ix[START_TAG]] = 0.0
        for feat in feats:
            alphas_t = []
            for next_tag in range(self.tagset_size):
                emit_score = feat[next_tag].view(1, -1).expand(1, self.tagset_size)
                trans_score = self.transitions[next_tag].view(1, -1)
                alphas_t.append(log_sum_exp(alphas + trans_score + emit_score).view(1))
            alphas = torch.cat(alphas_t).view(1, -1)
        return log_sum_exp(alphas + self.transitions[self.tag_to_ix[STOP_TAG]])

    def _get_lstm_features(self, sentence):
        embeds = self.word_embeds(sentence).view(len(sentence), 1, -1)
        lstm_out, _ = self.lstm(embeds)
        return self.hidden2tag(lstm_out.view(len(sentence), self.hidden_dim))

    def _score_sentence(self, feats, tags):
        score = torch.zeros(1)
        tags = torch.cat([torch.tensor([self.tag_to_ix[START_TAG]], dtype=torch.long), tags])
        for i, feat in enumerate(feats):
            score = score + self.transitions[tags[i + 1], tags[i]] + feat[tags[i + 1]]
        return score + self.transitions[self.tag_to_ix[STOP_TAG], tags[-1]]

    def neg_log_likelihood(self, sentence, tags):
        feats = self._get_lstm_features(sentence)
        return self._forward_alg(feats) - self._score_sentence(feats, tags)

    def forward(self, sentence):
        best = torch.full((self.tagset_size,), -10000.0)
        best[self.tag_to_ix[START_TAG]] = 0
        pointers = []
        for feat in self._get_lstm_features(sentence):
            scores, came_from = (best.unsqueeze(0) + self.transitions).max(dim=1)
            pointers.append(came_from)
            best = scores + feat
        terminal = best + self.transitions[self.tag_to_ix[STOP_TAG]]
        best_tag = terminal.argmax().item()
        path = [best_tag]
        for came_from in reversed(pointers):
            best_tag = came_from[best_tag].item()
            path.append(best_tag)
        start = path.pop()
        assert start == self.tag_to_ix[START_TAG]
        return terminal.max(), path[::-1]


def prepare_sequence(seq, to_ix):
    return torch.tensor([to_ix[w] for w in seq], dtype=torch.long)


parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20, help="sentences")
args = parser.parse_args()
training_data = tagged_sentences(args.steps)
word_to_ix = {}
for sentence, _ in training_data:
    for word in sentence:
        if word not in word_to_ix:
            word_to_ix[word] = len(word_to_ix)
tag_to_ix = {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, START_TAG: 4, STOP_TAG: 5}

model = same_weights(BiLSTM_CRF(len(word_to_ix), tag_to_ix, 8, 8)).forbid()
optimizer = optim.SGD(model.parameters(), lr=0.05, weight_decay=1e-4)
with torch.no_grad():
    print("before:", model(prepare_sequence(training_data[0][0], word_to_ix)))
for step, (sentence, tags) in enumerate(training_data):
    model.zero_grad()
    sentence_in = autograd.Variable(prepare_sequence(sentence, word_to_ix))
    loss = model.neg_log_likelihood(sentence_in, prepare_sequence(tags, tag_to_ix))
    loss.backward()
    optimizer.step()
    report(step, loss.item())
with torch.no_grad():
    score, path = model(prepare_sequence(training_data[0][0], word_to_ix))
    print("after: score {:.3f}, path {}, truth {}".format(score, path, [tag_to_ix[t] for t in training_data[0][1]]))
