"""CLIP's tokenizer in plain Python against that of transformers."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import CLIPTokenizer

from benchmarks.tokenizer_files import write_tokenizer
from export.animatelcm import vocabulary
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.tokenizer import CONTEXT, Tokenizer

TEXTS = [
    "",
    "the cat",
    "Anime!!!! it's  a CAT's 1234 don't",
    "ＡＢＣ ③ ½ ééé e\u0301",
    "日本語 アニメ、絵。",
    "a\u200bb \u3000 x\x85y\xa0z\x1cq",
    "ΣΑΣ İstanbul ǅ",
    "a<|endoftext|>b <|startoftext|> <|ENDOFTEXT|>",
    "'s ''s !'ll '",
    "(masterpiece:1.2), [x|y] {z} _a_ #tag @you 🙂👍🏽 \u0300x ٣٤ Ⅳ ²",
    "''''re",
    " \n\t ",
    "cat " * 200,
    "anime" * 100,
]


def clips_own(folder: Path) -> None:
    """CLIP's vocabulary, from the package that brings it."""
    found = vocabulary.find()
    assert found is not None
    for name, data in vocabulary.files(found).items():
        (folder / name).write_bytes(data)


def test_clips_own_vocabulary(tmp_path: Path) -> None:
    """The numbers are those that CLIP's repository gives."""
    clips_own(tmp_path)
    tokenizer = Tokenizer.from_files(*((tmp_path / name).read_bytes() for name in ("vocab.json", "merges.txt")))
    assert tokenizer("a photo of a cat")[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]


def test_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    found = vocabulary.find()
    assert found is not None
    whole = found.read_bytes()
    for data, said in ((whole[:-100], "damaged"), (b"text", "damaged"), (gzip.compress(b"a b\nc d"), "not CLIP's")):
        (tmp_path / "a.gz").write_bytes(data)
        with pytest.raises(AnimupError, match=rf"a\.gz is {said}.*install its package again, or give --tokenizer"):
            vocabulary.files(tmp_path / "a.gz")


@pytest.mark.parametrize("write", [write_tokenizer, clips_own])
def test_tokenizer_is_that_of_transformers(tmp_path: Path, write: Callable[..., Any]) -> None:
    write(tmp_path)
    reference = CLIPTokenizer.from_pretrained(tmp_path)
    mine = Tokenizer.from_files((tmp_path / "vocab.json").read_bytes(), (tmp_path / "merges.txt").read_bytes())
    rng = np.random.default_rng(0)
    signs = list("abcat the'sredlvm!?.,12 \n\u00e9\u0301\u4e00\u3042\u2028\u00a0ß_-<|>é☆𝒜𝟘\u0660ｶªʰ")
    texts = TEXTS + ["".join(rng.choice(signs, rng.integers(0, 60))) for _ in range(300)]
    for text in texts:
        wanted = reference(text, padding="max_length", max_length=CONTEXT, truncation=True)["input_ids"]
        found = mine(text)
        assert found.shape == (1, CONTEXT) and found.dtype == np.int32
        assert found[0].tolist() == wanted, text


@pytest.mark.parametrize(
    ("vocabulary", "merges", "said"),
    [(b"{", b"", "damaged"), (b"[]", b"", "no object"), (b"{}", b"", "startoftext"), (b'{"a": 1}', b"a b c", "line 1")],
)
def test_damaged_tokenizer_is_named(vocabulary: bytes, merges: bytes, said: str) -> None:
    with pytest.raises(AnimupError, match=said):
        Tokenizer.from_files(vocabulary, merges)
