"""Text: tokenisers, vocabularies, padding, byte-pair encoding, BLEU, and datasets made of small files."""

from __future__ import annotations

import tarfile
from collections import OrderedDict

import pytest

import tritorch as torch
from tritorch import text
from tritorch.text import transforms as T
from tritorch.text.bpe import BPETokenizer
from tritorch.text.data import bleu_score, get_tokenizer, ngrams_iterator, to_map_style_dataset
from tritorch.text.datasets import AG_NEWS, IMDB, imdb
from tritorch.text.vocab import Vocab, build_vocab_from_iterator, vocab
from tritorch.utils.data import DataLoader

LINES = [["a", "cat", "sat"], ["a", "cat", "ran"], ["the", "cat"]]


def test_tokenisers():
    basic = get_tokenizer("basic_english")
    line = "You can't now install it (really), using pip!<br />It's  \"good\"; yes: fine."
    assert basic(line) == ["you", "can", "'", "t", "now", "install", "it", "(", "really", ")", ",", "using", "pip", "!",
                           "it", "'", "s", "good", "yes", "fine", "."]  # fmt: skip
    assert get_tokenizer(None)("A  b") == ["A", "b"] and get_tokenizer(list)("ab") == ["a", "b"]
    assert list(ngrams_iterator(["here", "we", "are"], 2)) == ["here", "we", "are", "here we", "we are"]
    with pytest.raises(ValueError, match="Requested tokenizer words, valid choices are"):
        get_tokenizer("words")
    with pytest.raises(ValueError, match="only available for English"):
        get_tokenizer("basic_english", language="de")


def test_a_vocabulary_is_ordered_by_frequency_and_then_by_letter():
    found = build_vocab_from_iterator(LINES, specials=["<unk>", "<pad>"])
    assert found.get_itos() == ["<unk>", "<pad>", "cat", "a", "ran", "sat", "the"]
    assert len(found) == 7 and "cat" in found and "dog" not in found and found["a"] == 3
    with pytest.raises(RuntimeError, match="Token dog not found and default index is not set"):
        found["dog"]
    found.set_default_index(0)
    assert found(["dog", "cat"]) == [0, 2] and found.lookup_tokens([2, 0]) == ["cat", "<unk>"]
    assert build_vocab_from_iterator(LINES, min_freq=2, specials=["<pad>"], special_first=False).get_itos() == [
        "cat", "a", "<pad>",
    ]  # fmt: skip
    assert len(build_vocab_from_iterator(LINES, specials=["<pad>"], max_tokens=3)) == 3
    again = Vocab([])
    again.load_state_dict(found.state_dict())
    assert again.get_stoi() == found.get_stoi() and again.get_default_index() == 0


def test_tokens_are_put_in_between_once():
    found = vocab(OrderedDict([("a", 3), ("b", 1)]))
    found.insert_token("c", 1)
    assert found.get_stoi() == {"a": 0, "c": 1, "b": 2}
    with pytest.raises(RuntimeError, match="already exists in the Vocab with index: 1"):
        found.append_token("c")
    with pytest.raises(RuntimeError, match="Specified index 9 is out of bounds for vocab of size 3"):
        found.lookup_token(9)


def test_from_text_to_a_batch():
    words = build_vocab_from_iterator(LINES, specials=["<pad>", "<bos>", "<eos>"])
    steps = T.Sequential(
        T.VocabTransform(words), T.Truncate(2), T.AddToken(1), T.AddToken(2, begin=False), T.ToTensor(padding_value=0),
        T.PadTransform(6, 0),
    )  # fmt: skip
    found = steps([["a", "cat", "sat"], ["the"]])
    assert found.tolist() == [[1, 4, 3, 2, 0, 0], [1, 7, 2, 0, 0, 0]] and found.dtype == torch.int64
    assert T.LabelToIndex(["pos", "neg"], sort_names=True)(["pos", "neg"]) == [1, 0]
    assert T.StrToIntTransform()([["1", "2"], ["3"]]) == [[1, 2], [3]]
    with pytest.raises(TypeError, match="vocab must be a Vocab, but got dict"):
        T.VocabTransform({})


def test_byte_pairs_are_learned_and_any_text_survives(tmp_path):
    texts = ["low lower lowest", "new newer newest", "wide wider widest"] * 3
    found = BPETokenizer.train(texts, 270, specials=["<end>"])
    assert len(found) == 270 and found.pieces[256] in (b"we", b"er", b"es", b"ne", b" w", b"lo", b"st")
    sample = "lowest <end> ünïcödé 🙂\n"
    numbers = found.encode(sample)
    assert found.decode(numbers) == sample and numbers.count(269) == 1
    assert len(found.encode("lowest")) < 6
    found.save(tmp_path / "bpe.json")
    assert BPETokenizer.load(tmp_path / "bpe.json").encode(sample) == numbers
    assert BPETokenizer.train(["ab ab"], 300, min_frequency=3).merges == []
    with pytest.raises(IndexError, match="number 270 is out of range for a vocabulary of 270"):
        found.decode([270])
    with pytest.raises(ValueError, match="vocab_size must be at least 257"):
        BPETokenizer.train(texts, 200, specials=["<end>"])


def test_bleu():
    candidate = [["My", "full", "pytorch", "test"], ["Another", "Sentence"]]
    references = [[["My", "full", "pytorch", "test"], ["Completely", "Different"]], [["No", "Match"]]]
    assert bleu_score(candidate, references) == pytest.approx(0.8408964276313782)
    assert bleu_score([["a"]], [[["b"]]]) == 0.0
    with pytest.raises(ValueError, match="should be the same"):
        bleu_score(candidate, references[:1])


def reviews(folder):
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            place = folder / "aclImdb" / split / label
            place.mkdir(parents=True)
            for number in range(12):
                (place / f"{number}_7.txt").write_text(f"{split} {label} {number}", encoding="utf-8")


def test_reviews_come_in_order_and_workers_share_them(tmp_path):
    reviews(tmp_path / "IMDB")
    train, test = IMDB(root=tmp_path, download=False)
    found = list(train)
    assert len(train) == 24 and found[0] == (1, "train neg 0") and found[10] == (1, "train neg 10")
    assert found[12] == (2, "train pos 0") and list(test)[-1] == (2, "test pos 11")
    shared = [pair for batch in DataLoader(train, batch_size=5, num_workers=2, collate_fn=list) for pair in batch]
    assert sorted(shared) == sorted(found)
    assert len(to_map_style_dataset(train)) == 24 and to_map_style_dataset(train)[3] == found[3]
    with pytest.raises(ValueError, match="split must be one of 'train', 'test', but got 'valid'"):
        IMDB(root=tmp_path, split="valid")


def test_reviews_are_fetched_checked_and_unpacked(tmp_path, monkeypatch):
    reviews(tmp_path / "there")
    with tarfile.open(tmp_path / "aclImdb_v1.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "there" / "aclImdb", "aclImdb")
    monkeypatch.setattr(imdb, "URL", (tmp_path / "aclImdb_v1.tar.gz").as_uri())
    with pytest.raises(RuntimeError, match="invalid hash value"):
        IMDB(root=tmp_path / "here", split="test")
    from tritorch.vision.datasets.utils import calculate_md5

    monkeypatch.setattr(imdb, "MD5", calculate_md5(tmp_path / "aclImdb_v1.tar.gz"))
    assert len(IMDB(root=tmp_path / "here", split="test")) == 24
    with pytest.raises(RuntimeError, match="download=True"):
        IMDB(root=tmp_path / "nowhere", split="test", download=False)


def test_news(tmp_path):
    (tmp_path / "AG_NEWS").mkdir()
    (tmp_path / "AG_NEWS" / "test.csv").write_text('"3","Stocks, up","They ""rose"""\n"1","War","No"\n', "utf-8")
    found = AG_NEWS(root=tmp_path, split="test")
    assert list(found) == [(3, 'Stocks, up They "rose"'), (1, "War No")] and len(found) == 2


def test_rooms_are_there_when_asked_for():
    assert text.data.utils.get_tokenizer is get_tokenizer and text.vocab.Vocab is Vocab
