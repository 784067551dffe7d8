"""Losses of single texts, the change between two models, and what a model wrote."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from course_lib.errors import DataError, UsageError
from course_lib.finetune import data
from course_lib.finetune.generate import next_logits
from course_lib.finetune.model import load_base
from course_lib.finetune.tasks import domain, written


def test_losses_of_texts_are_those_of_a_plain_forward_pass(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="language-modeling")
    model.requires_grad_(False)
    texts = ["where is my parcel", "thank you", "the lovely boots " * 40]  # the last is too long
    found = domain.text_losses(model, tokenizer, texts)
    for text, one in zip(texts[:2], found, strict=False):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        table = torch.log_softmax(model(torch.tensor([[0, *ids]])).logits[0].double(), -1)
        expected = -sum(float(table[i, token]) for i, token in enumerate(ids))
        assert one.nats == pytest.approx(expected, rel=1e-4)
        assert (one.tokens, one.bytes) == (len(ids), len(text))
    long = tokenizer(texts[2], add_special_tokens=False)["input_ids"]
    assert found[2].tokens == len(long) > 64
    assert found[2].nats == pytest.approx(len(long) * math.log(320), rel=0.2)  # an untrained model
    with pytest.raises(DataError, match="an empty text"):
        domain.text_losses(model, tokenizer, ["a", ""])


def test_the_change_is_paired() -> None:
    before = [domain.TextLoss(n * 1.0, n, 4 * n) for n in (10, 20, 40)]
    after = [domain.TextLoss(n * 1.5, n, 4 * n) for n in (10, 20, 40)]
    ratio, low, high = domain.change(before, after)
    # every text became harder by half a nat a token: resampling changes nothing
    assert ratio == pytest.approx(math.exp(0.5)) == low == high
    assert domain.perplexity(before) == pytest.approx(math.e)
    assert domain.bits_per_byte(before) == pytest.approx(1 / math.log(2) / 4)
    with pytest.raises(UsageError, match="the same tokens"):
        domain.change(before, after[:2])


def test_the_general_passages_are_plain_english() -> None:
    texts = domain.general_texts()
    assert len(texts) == 24
    assert all(60 < len(text.split()) < 130 for text in texts)
    assert "larkspur" not in " ".join(texts).lower()


def test_a_model_writes_from_nothing_and_it_can_be_trained_on(
    tiny_base: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_base(str(tiny_base), task="language-modeling")
    made = domain.own_writing(model, tokenizer, 3, max_new_tokens=8)
    assert made == domain.own_writing(model, tokenizer, 3, max_new_tokens=8)
    assert len(made) == 3
    folder = domain.text_folder(
        tmp_path / "mixed", train=["one\n\ntwo", *made], validation=["a"], test=["b"]
    )
    splits = data.load("language-modeling", folder)
    assert splits.train[0].text == "one\n\ntwo"
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (4, 1, 1)


def test_next_logits_are_the_last_ones(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="language-modeling")
    logits, ids = next_logits(model, tokenizer, "where is my")
    assert ids == tokenizer("where is my")["input_ids"]
    assert logits == pytest.approx(
        model(torch.tensor([ids])).logits[0, -1].detach().double().numpy()
    )
    assert len(next_logits(model, tokenizer, "boots " * 200)[1]) == 64
    with pytest.raises(DataError, match="an empty prompt"):
        next_logits(model, tokenizer, "")


def test_repeats_and_copies_are_counted() -> None:
    assert written.repeated(["one two three four five"]) == 0
    assert written.repeated(["go on go on go on"], n=2) == pytest.approx(3 / 5)
    assert written.repeated(["a b c", "a b c"]) == 0  # only within a text
    assert written.repeated([]) == written.copied([], ["a"]) == 0
    source = ["We sew on a button free, while you wait."]
    assert written.copied(["we sew ON a button, free"], source, n=6) == 1
    assert written.copied(["then we sew on a button"], source, n=5) == pytest.approx(5 / 6)
    assert written.copied(["we sew on a zip"], source, n=5) == 0


def test_an_opening_keeps_the_line_ends() -> None:
    assert written.opening("Title\nOne two three.", 2) == ("Title\nOne", "two three.")
    with pytest.raises(DataError, match="too short"):
        written.opening("one two", 2)


def test_a_text_is_shortened_to_so_many_tokens(tiny_base: Path) -> None:
    _, tokenizer = load_base(str(tiny_base), task="language-modeling")
    short = written.shortened(tokenizer, "where is my parcel", 3)
    assert "where is my parcel".startswith(short)
    assert len(tokenizer(short)["input_ids"]) == 3


def test_surprise_is_the_perplexity_of_the_continuation(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), task="language-modeling")
    model.requires_grad_(False)
    found = written.surprise(model, tokenizer, [("where is", "my parcel"), ("thank", "")])
    ids = tokenizer("where is my parcel")["input_ids"]
    tail = len(tokenizer(" my parcel")["input_ids"])
    table = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    nats = [-float(table[i - 1, ids[i]]) for i in range(len(ids) - tail, len(ids))]
    assert found == pytest.approx(math.exp(sum(nats) / tail), rel=1e-4)
    with pytest.raises(DataError, match="nothing was written"):
        written.surprise(model, tokenizer, [("a", " ")])
