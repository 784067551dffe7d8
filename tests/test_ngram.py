"""The n-gram baseline: a proper distribution, its counts by hand, no zero anywhere."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from course_lib.errors import UsageError
from course_lib.finetune.model import load_base
from course_lib.finetune.tasks import domain, ngram

WORDS = "where is my parcel the zip on the lovely boots came apart "


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one_after_any_context(order: int) -> None:
    rng = np.random.default_rng(0)
    model = ngram.NGram(rng.integers(0, 12, 500), 15, order)  # 12, 13, 14 never occur
    for context in ([0], [3, 1], [5, 5, 5, 5], [13, 2, 1], [14]):
        chances = [math.exp(-model.losses([*context, w])[-1]) for w in range(15)]
        assert sum(chances) == pytest.approx(1)
        assert min(chances) > 0


def test_a_bigram_by_hand() -> None:
    # few counts of counts: discounts 0.5, 1, 1.5. After 0: 1 twice, 2 once.
    model = ngram.NGram([0, 1, 0, 1, 0, 2, 0], 3, 2)
    # distinct left neighbours: 0 has two (1, 2), 1 and 2 have one each (0)
    counts = {0: 2, 1: 1, 2: 1}
    cut = {0: 1.0, 1: 0.5, 2: 0.5}
    lower = {w: (counts[w] - cut[w]) / 4 + (2.0 / 4) / 3 for w in counts}
    after_0 = {1: (2 - 1.0) / 3, 2: (1 - 0.5) / 3, 0: 0.0}
    for word, own in after_0.items():
        expected = own + (1.5 / 3) * lower[word]
        assert math.exp(-model.losses([0, word])[0]) == pytest.approx(expected)


def test_it_prefers_text_like_its_own() -> None:
    model = ngram.TextNGram(["the tent is dry and the boots are wet. " * 20], 4)
    own, other = model.text_losses(["the boots are wet", "zwölf Boxkämpfer"])
    assert own.nats / own.tokens < 0.5 < other.nats / other.tokens
    assert (own.tokens, own.bytes) == (17, 17)
    assert (other.tokens, other.bytes) == (18, 18)


def test_on_tokens_it_is_measured_on_the_models_own(tiny_base: Path) -> None:
    base, tokenizer = load_base(str(tiny_base), task="language-modeling")
    texts = ["where is my parcel", "the lovely boots"]
    ours = ngram.TextNGram([WORDS] * 3, 3, tokenizer).text_losses(texts)
    theirs = domain.text_losses(base, tokenizer, texts)
    assert [(t.tokens, t.bytes) for t in ours] == [(t.tokens, t.bytes) for t in theirs]
    assert domain.perplexity(ours) < domain.perplexity(theirs)  # the base is untrained


def test_long_texts_are_measured_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.random.default_rng(1).integers(0, 9, 400)
    model = ngram.NGram(ids, 9, 3)
    whole = model.losses(ids)
    monkeypatch.setattr(ngram, "CHUNK", 7)
    assert model.losses(ids) == pytest.approx(whole)
    assert len(whole) == 399
    assert len(model.losses([4])) == 0


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be counted"):
        ngram.NGram([1, 2], 5, 4)
    with pytest.raises(UsageError, match="beyond the vocabulary"):
        ngram.NGram([1, 2, 7], 5, 2)
