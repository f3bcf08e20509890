"""How good a translation is."""

from __future__ import annotations

import math
from collections import Counter

from tritorch.text.data.utils import ngrams_iterator


def _counts(tokens, max_n):
    return Counter(tuple(group.split(" ")) for group in ngrams_iterator(tokens, max_n))


def bleu_score(candidate_corpus, references_corpus, max_n=4, weights=(0.25, 0.25, 0.25, 0.25)):
    """BLEU of translations against references: exp(sum of weights * log precision of n-grams), less for short ones.

    candidate_corpus is a list of lists of tokens, references_corpus for each candidate a list of references. An n-gram
    counts at most as often as in the reference that has it most; the length to reach is that of the closest reference.
    0 where some n-gram length has no match. Source: Papineni et al., "BLEU", 2002.
    """
    if max_n != len(weights):
        raise ValueError('Length of the "weights" list has be equal to max_n')
    if len(candidate_corpus) != len(references_corpus):
        raise ValueError("The length of candidate and reference corpus should be the same")
    matched, total, length, reference_length = [0] * max_n, [0] * max_n, 0, 0
    for candidate, references in zip(candidate_corpus, references_corpus, strict=True):
        length += len(candidate)
        lengths = [len(each) for each in references]
        reference_length += min(lengths, key=lambda size: abs(len(candidate) - size))
        known = Counter()
        for each in references:
            known |= _counts(each, max_n)
        for group, count in (_counts(candidate, max_n) & known).items():
            matched[len(group) - 1] += count
        for size in range(max_n):
            total[size] += max(len(candidate) - size, 0)
    if min(matched) == 0:
        return 0.0
    score = sum(weight * math.log(good / of) for weight, good, of in zip(weights, matched, total, strict=True))
    return math.exp(min(1 - reference_length / length, 0)) * math.exp(score)
