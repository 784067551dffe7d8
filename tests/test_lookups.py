"""Look-up baselines, recast rows, chats, tags on tokens, and paired figures of any metric."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from course_lib import metrics
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune import chat, data, prepare
from course_lib.finetune.examine import paired
from course_lib.finetune.model import load_base
from course_lib.finetune.recipe import finetune
from course_lib.finetune.records import TASKS, Evaluation, Example
from course_lib.finetune.tasks import lookups, recast, tags, taskmap


def tagged(row: str, words: str, marks: str) -> Example:
    return Example(id=row, tokens=tuple(words.split()), tags=tuple(marks.split()))


def pair(row: str, text: str, target: str) -> Example:
    return Example(id=row, text=text, target=target)


def test_entities_are_those_seqeval_counts() -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    rng = random.Random(0)
    kinds = ["O", "B-A", "I-A", "B-B", "I-B"]
    for _ in range(100):
        gold, said = ([[rng.choice(kinds) for _ in range(8)] for _ in range(3)] for _ in "gs")
        ours, theirs = (
            {(i, *span) for i, row in enumerate(rows) for span in metrics.entities(row)}
            for rows in (gold, said)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = f1_score(gold, said, mode="strict", scheme=IOB2, zero_division=0)
        mine = 2 * len(ours & theirs) / max(1, len(ours) + len(theirs))
        assert mine == pytest.approx(float(whole))


def test_the_gazetteer_prefers_the_longest_name_and_drops_words_that_mostly_are_none() -> None:
    train = [
        tagged("1", "the Heron 2 leaks", "O B-PRODUCT I-PRODUCT O"),
        tagged("2", "a Heron please", "O B-PRODUCT O"),
        tagged("3", "May wrote", "B-PERSON O"),
        tagged("4", "it may rain and may not", "O O O O O O"),
    ]
    rows = [tagged("5", "may the heron 2 stay", "O O B-PRODUCT I-PRODUCT O")]
    found = lookups.gazetteer(train, rows)
    assert found.predictions[0]["prediction"] == ["O", "O", "B-PRODUCT", "I-PRODUCT", "O"]
    assert found.metrics["f1"] == 1.0
    assert lookups.nothing(rows).metrics["f1"] == 0.0


def test_the_dictionary_finds_who_belongs_to_whom() -> None:
    train = [
        pair("1", "the house", "la maison"),
        pair("2", "the flower", "la fleur"),
        pair("3", "a house", "une maison"),
        pair("4", "a flower", "une fleur"),
    ]
    assert lookups.dictionary(train) == {
        "the": "la", "house": "maison", "flower": "fleur", "a": "une",
    }  # fmt: skip
    said = lookups.word_by_word(train, [pair("5", "A house, the tent.", "x")]).predictions[0]
    assert said["prediction"] == "Une maison, la tent."


def test_lead_copy_and_nearest_hand_out_what_they_say() -> None:
    rows = [pair("1", "Customer: Where is it? I wait.\nDesk: Soon.", "Parcel asked after")]
    assert lookups.lead(rows, 3).predictions[0]["prediction"] == "Where is it"
    assert lookups.copy(rows).predictions[0]["prediction"] == rows[0].text
    train = [pair("a", "my boots leak", "boots"), pair("b", "where is my parcel", "parcel")]
    assert lookups.nearest(train, rows).predictions[0]["prediction"] == "parcel"


def evaluation(*texts: tuple[str, str]) -> Evaluation:
    rows = [pair(str(i), "", gold) for i, (gold, _) in enumerate(texts)]
    return lookups.written(rows, [said for _, said in texts])


GOLD = ["la tente est ici ce soir", "le sac est grand", "où est la gare ?", "il pleut encore ici"]
SAID = ["la tente est là ce soir", "le sac est grand", "où est le car ?", "elle part demain matin"]


@pytest.mark.parametrize("metric", ["BLEU", "ROUGE-L", "exact match"])
def test_a_metric_of_sums_is_that_of_the_corpus(metric: str) -> None:
    found = evaluation(*zip(GOLD, SAID, strict=True))
    key = {"BLEU": "bleu", "ROUGE-L": "rougeL", "exact match": "exact_match"}[metric]
    value, low, high = paired.interval(found, metric)
    assert value == pytest.approx(found.metrics[key]) and low <= value <= high
    none = evaluation(("a b c d e", "v w x y z"))
    assert paired.value(none, metric) == pytest.approx(none.metrics[key])


def test_bleu_without_long_matches_is_smoothed_as_sacrebleu_does() -> None:
    found = evaluation(("la tente est ici", "la tente sera là"), ("le sac", "le sac bleu là ici"))
    assert paired.value(found, "BLEU") == pytest.approx(found.metrics["bleu"])


def test_entity_f1_is_made_of_all_rows_and_verdicts_say_what_the_interval_says() -> None:
    rows = [tagged(str(i), "at Fennick", "O B-PLACE") for i in range(20)]
    good = lookups.tagged(rows, [["O", "B-PLACE"]] * 20)
    bad = lookups.nothing(rows)
    assert paired.value(good, "entity F1") == 1.0
    systems = {"tuned": good, "nothing": bad, "same": lookups.tagged(rows, [["B-PLACE", "O"]] * 20)}
    assert paired.verdict(systems, "entity F1").startswith("tuned is better than")
    assert "cannot be told apart" in paired.verdict({"one": good, "two": good}, "entity F1")
    assert paired.verdict({"one": bad, "two": good}, "entity F1").startswith("one is worse than")
    with pytest.raises(UsageError, match="same rows"):
        paired.difference(good, lookups.nothing(rows[:5]), "entity F1")
    with pytest.raises(UnknownNameError, match="entity F2"):
        paired.value(good, "entity F2")


def test_recast_rows_keep_their_places_and_carry_cue_or_turns(tmp_path: Path) -> None:
    made = recast.recast("phrases_en_fr", tmp_path / "a", lambda row: recast.asked(row, "French:"))
    before, after = data.load("completion", "phrases_en_fr"), data.load("completion", str(made))
    assert after.test[7].text == f"{before.test[7].text}\nFrench:"
    assert (after.test[7].id, after.test[7].target) == (before.test[7].id, before.test[7].target)
    columns: dict[str, Any] = {"text_column": "text", "label_column": "reply"}
    chats = recast.recast("support_tickets", tmp_path / "b", recast.chat, **columns)
    assert [role for role, _ in data.load("completion", str(chats)).test[0].turns] == [
        "user", "assistant",
    ]  # fmt: skip


TURNS = [
    {"role": "user", "content": "where is it?"},
    {"role": "assistant", "content": "on its way"},
    {"role": "user", "content": "thanks"},
    {"role": "assistant", "content": "any time"},
]


def test_loss_lies_on_the_assistants_turns_whatever_the_template_says(tiny_base: Path) -> None:
    _, tokenizer = load_base(str(tiny_base), task="completion")
    ids, mask = chat.coded(tokenizer, TURNS)
    own = [i for i, m in zip(ids, mask, strict=True) if m]
    assert tokenizer.decode(own) == "on its way<|end|>any time<|end|>"
    marks = str(tokenizer.chat_template)
    for word in ("{% generation %}", "{% endgeneration %}"):
        marks = marks.replace(word, "")
    tokenizer.chat_template = marks
    again, found = chat.coded(tokenizer, TURNS)
    assert (again, found) == (ids, mask)


def test_a_template_that_rewrites_earlier_turns_is_refused(tiny_base: Path) -> None:
    _, tokenizer = load_base(str(tiny_base), task="completion")
    tokenizer.chat_template = (
        "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(DataError, match="assistant's words cannot be found"):
        chat.coded(tokenizer, TURNS)


def test_slipped_tags_keep_their_order_and_lie_too_far_left(tiny_base: Path) -> None:
    labels = ("B-PLACE", "O")
    _, tokenizer = load_base(str(tiny_base), task="token-classification", labels=labels)
    row = tagged("1", "to Fennick please", "O B-PLACE O")
    right = prepare.token_classification([row], tokenizer, 64, labels)
    wrong = tags.slipped(right)
    kept = [[t for t in part.labels if t != -100] for part in (right, wrong)]
    assert kept[0] == kept[1] and not np.array_equal(right.labels, wrong.labels)
    assert [tag for _, tag in tags.laid(wrong, 0, tokenizer, labels)][:3] == ["O", "B-PLACE", "O"]
    token, tag = next(
        pair for pair in tags.laid(right, 0, tokenizer, labels) if pair[1] != "O" and pair[1]
    )
    assert tag == "B-PLACE" and "Fennick".endswith(token.strip())


def test_a_run_is_trained_again_with_slipped_tags_and_a_writer_writes(
    tiny_base: Path, tmp_path: Path
) -> None:
    few = {"train_rows": 12, "validation_rows": 4, "test_rows": 6, "epochs": 1}
    options: dict[str, Any] = {"base": str(tiny_base), "settings": few}
    finetune("token-classification", "entities", out=tmp_path / "tags", **options)
    entities = data.load("token-classification", "entities")
    found = tags.retrain_slipped(tmp_path / "tags", entities, base=str(tiny_base))
    rows = paired.same_rows(tmp_path / "tags", entities.test)
    assert {p["id"] for p in found.predictions} == {row.id for row in rows} and len(rows) == 6
    by_type = tags.recall_by_type(lookups.gazetteer(entities.train, rows))
    assert sum(count for _, count in by_type.values()) == sum(
        len(metrics.entities(row.tags)) for row in rows
    )
    made = recast.recast("summaries", tmp_path / "rows", lambda row: recast.asked(row, "Subject:"))
    finetune("completion", str(made), out=tmp_path / "run", **options)
    assert isinstance(recast.writer(tmp_path / "run", "Subject:", longest=4)("a tent"), str)
    assert isinstance(recast.writer(tmp_path / "run", longest=4)("a tent"), str)


def test_words_are_cut_as_the_set_keeps_them_and_tagged_one_by_one(tiny_base: Path) -> None:
    words = tags.split_words("LO-48213: Agnes's Zip-leg, £4.50 on the 2nd!")
    assert words == (
        "LO-48213", ":", "Agnes's", "Zip", "-", "leg", ",", "£", "4.50", "on", "the", "2nd", "!",
    )  # fmt: skip
    known = data.load("token-classification", "entities")
    same = sum(tags.split_words(" ".join(row.tokens)) == row.tokens for row in known.test)
    assert same >= 0.9 * len(known.test)
    model, tokenizer = load_base(str(tiny_base), task="token-classification", labels=known.labels)
    found = tags.tag_words(model, tokenizer, words[:5])
    assert [w for w, _, _ in found] == list(words[:5])
    assert all(tag in known.labels and 0 < p <= 1 for _, tag, p in found)
    assert tags.tag_words(model, tokenizer, []) == []


def test_the_map_names_rows_and_heads_of_every_task(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"text_column": "text", "label_column": "reply"}
    chats = recast.recast("support_tickets", tmp_path / "chats", recast.chat, **columns)
    sets = (*taskmap.COURSE, ("completion", str(chats), "people"))
    found = {place.name: place for place in taskmap.places(sets)}
    assert {place.task for place in found.values()} == set(TASKS)
    assert found["entities"].holds == ("tokens", "tags")
    assert found["entities"].loaded == "AutoModelForTokenClassification"
    assert found["chats"].holds == ("turns",)
    assert "| completion | chats | turns | AutoModelForCausalLM | people |" in taskmap.markdown(
        list(found.values())
    )
