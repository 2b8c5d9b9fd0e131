"""CLIP's tokenizer in plain Python against that of transformers."""

import numpy as np
import pytest
from transformers import CLIPTokenizer

from tests import animatelcm_files as files
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.tokenizer import CONTEXT, Tokenizer

TEXTS = [
    "", "the cat", "Anime!!!! it's  a CAT's 1234 don't", "ＡＢＣ ③ ½ ééé e\u0301", "日本語 アニメ、絵。",
    "a\u200bb \u3000 x\x85y\xa0z\x1cq", "ΣΑΣ İstanbul ǅ", "a<|endoftext|>b <|startoftext|> <|ENDOFTEXT|>",
    "'s ''s !'ll '",
    "(masterpiece:1.2), [x|y] {z} _a_ #tag @you 🙂👍🏽 \u0300x ٣٤ Ⅳ ²", "''''re", " \n\t ", "cat " * 200, "anime" * 100,
]  # fmt: skip


def test_tokenizer_is_that_of_transformers(tmp_path):
    files.write_tokenizer(tmp_path)
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
def test_damaged_tokenizer_is_named(vocabulary, merges, said):
    with pytest.raises(AnimupError, match=said):
        Tokenizer.from_files(vocabulary, merges)
