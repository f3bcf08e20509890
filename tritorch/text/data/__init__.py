"""Tokenisers, and what goes with them."""

from __future__ import annotations

from tritorch.text.data import functional as functional
from tritorch.text.data import metrics as metrics
from tritorch.text.data import utils as utils
from tritorch.text.data.functional import to_map_style_dataset as to_map_style_dataset
from tritorch.text.data.metrics import bleu_score as bleu_score
from tritorch.text.data.utils import get_tokenizer as get_tokenizer
from tritorch.text.data.utils import ngrams_iterator as ngrams_iterator
