"""Augmentation: what each method changes and leaves alone, what models write, whether it helped."""

from __future__ import annotations

import json
import random
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib.errors import DataError, ModelError, OfflineError, UnknownNameError, UsageError
from course_lib.finetune import data, splits
from course_lib.finetune.records import Example, Splits
from course_lib.finetune.text import augment, gain, rewrite, words

CODED = "I can't see LO-20781, [NAME]'s order (the blue one); it's not at me@shop.org. Change it?"


@pytest.fixture(scope="module")
def tickets() -> Splits:
    return data.load("classification", "support_tickets", label_column="intent")


@pytest.fixture(scope="module")
def rows(tickets: Splits) -> list[Example]:
    return splits.sample(tickets.train, 40, 0)


def bare(text: str) -> Counter[str]:
    return Counter(words.normal(text).split())


@pytest.mark.parametrize("method", words.EDITS)
def test_a_copy_is_changed_a_little_and_keeps_its_label(rows: list[Example], method: str) -> None:
    made = augment.augment(rows, method, share=0.5, seed=1)
    report, copies = made.report, made.rows[len(rows) :]
    assert report["rows_after"] == len(made.rows) == 40 + report["added"]
    assert report["added"] + report["unchanged"] + report["held_out"] == 20
    assert report["added"] >= 18 and report["words_changed"] < 0.25
    assert sum(report["labels_after"].values()) == len(made.rows)
    source = {r.id: r for r in rows}
    for copy in copies:
        row = source[copy.id.removesuffix(f"~{method}")]
        assert copy.text != row.text and copy.label == row.label and copy.group == row.id
    assert [r.text for r in made.rows[:40]] == [r.text for r in rows], "no row is replaced"
    assert augment.augment(rows, method, share=0.5, seed=1) == made
    assert augment.augment(rows, method, share=0.5, seed=2).rows != made.rows
    assert json.loads(json.dumps(report)) == report


def test_a_row_is_changed_alike_whatever_stands_beside_it(rows: list[Example]) -> None:
    whole = {r.id: r.text for r in augment.augment(rows, "typos", seed=4).rows}
    few = augment.augment(rows[10:], "typos", seed=4).rows
    assert len(few) == 60 and all(whole[r.id] == r.text for r in few)


@pytest.mark.parametrize("method", words.EDITS)
def test_codes_negations_and_label_words_stay(tickets: Splits, method: str) -> None:
    kept = words.label_words(tickets.labels)
    assert {"order", "orders", "exchange", "payment"} <= kept
    for seed in range(20):
        text = words.EDITS[method](CODED, 0.5, random.Random(seed), kept)
        for safe in ("LO-20781", "[NAME]'s", "order", "me@shop.org", "can't", "not", "Change"):
            assert safe in text, (safe, text)


def test_order_keeps_every_word_and_deletion_adds_none(rows: list[Example]) -> None:
    for row in rows:
        rng = random.Random(row.id)
        for change in (words.word_order, words.clause_order):
            assert bare(change(row.text, 0.1, rng, frozenset())) == bare(row.text)
        shorter = words.deletion(row.text, 0.1, rng, frozenset())
        assert bare(shorter) < bare(row.text)
    assert words.deletion("Too short", 0.5, random.Random(0), frozenset()) == "Too short"
    assert words.clause_order("One clause only", 0.5, random.Random(0), frozenset()) == (
        "One clause only"
    )


def test_a_typo_is_one_slip_of_a_finger(rows: list[Example]) -> None:
    from rapidfuzz.distance import DamerauLevenshtein

    assert set(words.nearby_keys()["g"]) == set("fhtyvb")
    for row in rows:
        after = words.typos(row.text, 0.1, random.Random(row.id), frozenset())
        for a, b in zip(row.text.split(), after.split(), strict=True):
            assert DamerauLevenshtein.distance(a, b) <= 1


def test_synonyms_are_neighbours_in_the_base(rows: list[Example]) -> None:
    near = dict(words.neighbours("small"))
    assert "large" in near, "words used alike lie close, opposites too"
    assert all(words.SIMILAR <= c < 1 for c in near.values())
    assert not words.neighbours("parcel"), "not one token of the base"
    kept = words.label_words({str(r.label) for r in rows})
    for row in rows[:20]:
        after = words.synonyms(row.text, 0.1, random.Random(row.id), kept)
        for a, b in zip(row.text.split(), after.split(), strict=True):
            if a != b:
                old, new = (w.lower().strip(".,;:!?()\"'") for w in (a, b))
                assert new in dict(words.neighbours(old)) and new not in kept


def test_a_base_without_whole_words_has_no_synonyms(tiny_base: Path, rows: list[Example]) -> None:
    made = augment.augment(rows, "synonyms", seed=1, base=str(tiny_base))
    assert made.report["added"] + made.report["unchanged"] == 40


def test_a_copy_that_equals_a_held_out_row_is_left_out(rows: list[Example]) -> None:
    plain = augment.augment(rows, "typos", seed=1)
    copy = plain.rows[-1]
    made = augment.augment(rows, "typos", seed=1, held_out=[replace(copy, id="other-1")])
    assert made.report["held_out"] == 1 and copy.id not in {r.id for r in made.rows}


def test_copies_never_lie_on_the_other_side_of_a_later_cut(tickets: Splits) -> None:
    made = augment.augment(tickets.train[:300], "typos", seed=1).rows
    found = splits.cut("classification", {"train": made}, 0, [])
    groups = [{r.group for r in found[name]} for name in ("train", "validation", "test")]
    assert all(groups) and not groups[0] & (groups[1] | groups[2]) and not groups[1] & groups[2]


def test_held_out_rows_are_never_augmented(tickets: Splits, rows: list[Example]) -> None:
    for part in (tickets.validation, tickets.test, [*rows, tickets.test[3]]):
        with pytest.raises(UsageError, match="validation and test rows are never augmented"):
            augment.augment(part, "typos")
    with pytest.raises(UsageError, match="row mine-1: validation and test rows"):
        mine = replace(tickets.test[0], id="mine-1")
        augment.augment([*rows, mine], "typos", held_out=[mine])
    copies = augment.augment(rows, "typos").rows[-3:]
    words.check_training([*rows, *copies], "augmented")


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("test-0001", True),
        ("validation:17", True),
        ("/data/mine/test.jsonl:3", True),
        ("dev_4~typos", True),
        ("/home/test/rows.csv:3", False),
        ("testimony-3", False),
        ("train-0001", False),
    ],
)
def test_held_out_rows_are_known_by_their_ids(name: str, refused: bool) -> None:
    assert bool(words.HELD_OUT.search(name)) is refused


def test_wrong_calls_are_named(rows: list[Example]) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'deletion'"):
        augment.augment(rows, "deletoin")
    for share in (0, -0.1, 1.5, float("nan")):
        with pytest.raises(UsageError, match=r"share is out of range.*at most 1"):
            augment.augment(rows, "typos", share=share)
    with pytest.raises(UsageError, match=r"strength is out of range.*at most 0\.5"):
        augment.augment(rows, "typos", strength=0.9)
    with pytest.raises(UnknownNameError, match="unknown option of back_translation 'ther'"):
        augment.augment(rows, "back_translation", ther="x")
    with pytest.raises(DataError, match="no rows to be augmented"):
        augment.augment([], "typos")
    with pytest.raises(DataError, match="only one class in the training rows; got 'account'"):
        augment.augment([r for r in rows if r.label == "account"], "typos")
    with pytest.raises(DataError, match="row p-1: a row without text or label"):
        augment.augment([Example(id="p-1", text="what these point at", question="?")], "typos")


def test_what_the_base_writes_is_judged(rows: list[Example]) -> None:
    made = augment.augment(rows, "paraphrase", share=0.1, seed=1)
    written = made.report["written"]
    assert written["asked"] == 4
    assert sum(written[k] for k in ("empty", "copies", "another_label", "kept")) == 4
    made = augment.augment(
        rows, "paraphrase", share=0.1, seed=1, prompt="{text}", judge=lambda t: [""] * len(t)
    )
    assert made.report["added"] == 0 and made.report["written"]["acceptance"] == 0.0
    assert len(made.rows) == len(rows)


def test_new_texts_are_asked_for_by_label(rows: list[Example]) -> None:
    made = rewrite.synthesise(rows, 4, seed=2, prompt="A customer writes about {label}:")
    assert len(made) == 4 and all(w.label == w.row.label for w in made)
    assert rewrite.synthesise(rows, 4, seed=2, prompt="A customer writes about {label}:") == made
    kept, report = rewrite.judged(made, lambda texts: [made[0].label] * len(texts))
    assert report["asked"] == 4 and len(kept) == report["kept"]
    assert {w.label for w in kept} <= {made[0].label}


def test_copies_and_scraps_do_not_reach_the_judge(rows: list[Example]) -> None:
    row, other = rows[0], " ".join(reversed(rows[0].text.split()))
    texts = [row.text + "!", "", other, other.upper(), "Too short"]
    asked: list[str] = []

    def judge(texts: Any) -> list[str]:
        asked.extend(texts)
        return [str(row.label)] * len(texts)

    written = [rewrite.Written(row, str(row.label), t) for t in texts]
    kept, report = rewrite.judged(written, judge)
    assert asked == [other] and [w.text for w in kept] == [other]
    assert (report["empty"], report["copies"], report["acceptance"]) == (2, 2, 1.0)


def test_a_judge_is_a_quick_model_or_a_run(
    tickets: Splits, tiny_base: Path, tmp_path: Path
) -> None:
    from course_lib.finetune.recipe import finetune

    judge = rewrite.quick_judge(tickets.train)
    gold = [str(r.label) for r in tickets.validation]
    guesses = judge([r.text for r in tickets.validation])
    assert np.mean([a == b for a, b in zip(gold, guesses, strict=True)]) > 0.6
    settings = {"train_rows": 16, "validation_rows": 8, "test_rows": 8, "epochs": 1}
    options: dict[str, Any] = {"base": str(tiny_base), "settings": settings}
    run = tmp_path / "judge"
    finetune("classification", "support_tickets", label_column="intent", out=run, **options)
    assert set(rewrite.run_judge(run)(["Where is it?"])) <= set(tickets.labels)
    with pytest.raises(UsageError, match="this run does not write text"):
        augment.augment(tickets.train[:40], "paraphrase", share=0.1, base=str(run))
    writer = tmp_path / "writer"
    finetune("completion", "summaries", out=writer, **options)
    few = splits.sample(tickets.train, 8, 0)
    assert len(rewrite.paraphrase(few[:2], model=str(writer))) == 2
    with pytest.raises(UsageError, match="no place for the text; got Again"):
        rewrite.paraphrase(few, prompt="Again")


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory, tickets: Splits) -> Path:
    """Give the folder of a small untrained MarianMT model whose vocabulary is the tickets'."""
    import sentencepiece
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder = tmp_path_factory.mktemp("marian")
    (folder / "texts.txt").write_text("\n".join(r.text for r in tickets.train[:300]))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts.txt"), model_prefix=str(folder / "source"),
        vocab_size=400, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "source.model"))
    names = [pieces.id_to_piece(i) for i in range(len(pieces)) if i > 2]
    vocab = {n: i for i, n in enumerate(["</s>", "<unk>", *names, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes((folder / "source.model").read_bytes())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*sacremoses.*")
        tokenizer = MarianTokenizer(
            str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json")
        )
    last = len(vocab) - 1
    config = MarianConfig(
        vocab_size=len(vocab), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
        decoder_ffn_dim=32, max_position_embeddings=64, pad_token_id=last, eos_token_id=0,
        decoder_start_token_id=last, forced_eos_token_id=0,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def test_back_translation_works_with_folders(marian: Path, rows: list[Example]) -> None:
    options = {"there": str(marian), "back": str(marian)}
    texts = rewrite.back_translate([r.text for r in rows[:3]], **options)
    assert len(texts) == 3
    assert texts == rewrite.back_translate([r.text for r in rows[:3]], **options), "greedy"
    made = augment.augment(rows, "back_translation", share=0.1, seed=1, **options)
    assert made.report["written"]["asked"] == 4


def test_a_translation_model_that_is_not_there_is_named(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OfflineError, match=r"opus-mt-en-fr.*\n.*hf download Helsinki-NLP"):
        rewrite.translate(["Where is it?"], rewrite.THERE)
    with pytest.raises(ModelError, match="no such model folder"):
        rewrite.translate(["Where is it?"], str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="give a folder with a sequence-to-sequence model"):
        rewrite.translate(["Where is it?"], str(tiny_base))


def test_a_gain_is_paired_over_rows_and_seeds(tickets: Splits) -> None:
    said: list[str] = []
    found = gain.measure_augmentation(
        tickets, ["typos", "deletion"], rows=100, seeds=[0, 1], say=said.append
    )
    assert [g.method for g in found] == ["typos", "deletion"] and len(said) == 6
    for g in found:
        assert g.without == found[0].without and len(g.with_copies) == 2
        mean = np.mean(np.subtract(g.with_copies, g.without))
        assert g.difference == pytest.approx(mean) and g.low <= g.difference <= g.high
        assert g.verdict == ("helped" if g.low > 0 else "hurt" if g.high < 0 else "not shown")
        assert g.report["rows_before"] == g.rows == 100


def test_harm_that_is_there_is_seen(tickets: Splits) -> None:
    """Copies with a wrong label must show: the interval then lies below zero."""
    gold = [str(r.label) for r in tickets.validation]
    difference = []
    for seed in (0, 1):
        sample = splits.sample(tickets.train, 120, seed)
        copies = augment.augment(sample, "typos", seed=seed).rows[len(sample) :]
        wrong = [replace(r, label=tickets.labels[0]) for r in copies]
        right = [
            [a == b for a, b in zip(gold, judge([r.text for r in tickets.validation]), strict=True)]
            for judge in (rewrite.quick_judge(sample), rewrite.quick_judge([*sample, *wrong]))
        ]
        difference.append(np.subtract(right[1], right[0], dtype=float))
    assert gain.crossed_interval(np.array(difference))[1] < -0.1


def test_a_fine_tune_gets_equal_steps(tickets: Splits, tiny_base: Path) -> None:
    found = gain.measure_augmentation(
        tickets, "typos", rows=24, seeds=[0], model="finetune", base=str(tiny_base), steps=4
    )[0]
    assert found.model == "finetune" and 0 <= found.without[0] <= 1
    assert found.low <= found.difference <= found.high


def test_wrong_measurements_are_named(tickets: Splits) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tfidf'"):
        gain.measure_augmentation(tickets, "typos", model="tf-idf")
    with pytest.raises(UnknownNameError, match="did you mean 'typos'"):
        gain.measure_augmentation(tickets, ["typo"])
    with pytest.raises(UsageError, match="no seeds"):
        gain.measure_augmentation(tickets, "typos", seeds=[])
    swapped = replace(tickets, train=tickets.test)
    with pytest.raises(UsageError, match="never augmented"):
        gain.measure_augmentation(swapped, "typos", seeds=[0])


def test_the_crossed_interval_covers_rows_and_seeds() -> None:
    rng = np.random.default_rng(0)
    few = gain.crossed_interval(rng.normal(0.5, 1, (3, 50)))
    many = gain.crossed_interval(rng.normal(0.5, 1, (3, 800)))
    assert few[0] < 0.5 < few[1] and many[1] - many[0] < few[1] - few[0]
    spread = gain.crossed_interval(np.repeat([[0.0], [1.0]], 100, axis=1))
    assert spread == (0.0, 1.0), "rows alone would give no spread at all"
