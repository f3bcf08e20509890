"""Small made-up texts for the scripts about language, from seeded NumPy generators."""

import numpy as np

GOOD = "wonderful great lovely superb moving brilliant charming funny warm clever".split()
BAD = "boring awful weak dull terrible clumsy empty slow cold pointless".split()
NEUTRAL = "the a film movie plot actor scene it was and with story of this music ending i saw we in".split()

POEM = """
the rain came softly over the hill and the river answered with a silver song.
every stone in the valley knew the tune, and the reeds bent low to hear it.
a heron stood in the shallows and did not move until the music was over.
then the clouds went home, the light came back, and the hill was green again.
nobody wrote the song down, but the river still hums it when the night is long.
"""


def reviews(count, longest, seed=0):
    """`count` reviews as (words, 1 where the writer liked it), no longer than `longest` words."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        label = int(draw.integers(2))
        length = int(draw.integers(5, longest + 1))
        words = list(draw.choice(NEUTRAL, length))
        for place in draw.choice(length, max(1, length // 4), replace=False):
            words[place] = str(draw.choice(GOOD if (draw.random() < 0.85) == bool(label) else BAD))
        found.append(([str(word) for word in words], label))
    return found


def number_pairs(count, seed=0, most=999):
    """Numbers in digits and in words: a language to translate, whose grammar turns some things around."""
    ones = "zero one two three four five six seven eight nine".split()
    draw = np.random.default_rng(seed)
    pairs = []
    for number in draw.integers(0, most + 1, count):
        digits = list(str(number))
        words = []
        for place, digit in enumerate(reversed(digits)):
            words += [ones[int(digit)]] + ([["times", "ten"], ["times", "hundred"]][place - 1] if place else [])
        pairs.append((digits, words))
    return pairs


def tagged_sentences(count, seed=0):
    """Sentences with a tag for each word: B-PER and I-PER for people, B-LOC for places, O for the rest."""
    draw = np.random.default_rng(seed)
    first, last = "anna boris clara david emma farid".split(), "smith meyer rossi tanaka lopez".split()
    places = "paris oslo lima cairo delhi quito".split()
    verbs, ways = "visited left loved missed reached".split(), "yesterday today again slowly".split()
    found = []
    for _ in range(count):
        words, tags = [str(draw.choice(first))], ["B-PER"]
        if draw.random() < 0.6:
            words, tags = [*words, str(draw.choice(last))], [*tags, "I-PER"]
        words, tags = [*words, str(draw.choice(verbs)), str(draw.choice(places))], [*tags, "O", "B-LOC"]
        if draw.random() < 0.5:
            words, tags = [*words, str(draw.choice(ways))], [*tags, "O"]
        if draw.random() < 0.4:
            words, tags = [*words, "with", str(draw.choice(first))], [*tags, "O", "B-PER"]
        found.append((words, tags))
    return found
