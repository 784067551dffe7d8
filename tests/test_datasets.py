"""The course's own data sets: what the datasheets promise, measured."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from measure_datasets import conll, page, squad, texts
from text_quality import distinct_trigram_share, nearest_jaccard, tfidf_accuracy, trigrams

ROOT = Path(__file__).resolve().parent.parent / "datasets"
MANIFEST = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))["sets"]
SPLITS = ("train", "validation", "test")


def rows(name: str, split: str) -> list[dict[str, Any]]:
    lines = (ROOT / name / f"{split}.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def tickets() -> dict[str, list[dict[str, Any]]]:
    return {split: rows("support_tickets", split) for split in SPLITS}


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_files_are_the_frozen_ones(name: str) -> None:
    import hashlib

    assert (ROOT / name / "README.md").is_file()
    for file, entry in MANIFEST[name]["files"].items():
        data = (ROOT / name / file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], file
        if file.endswith(".jsonl"):
            assert data.count(b"\n") == entry["rows"], file


def test_every_folder_is_in_the_manifest() -> None:
    assert {p.name for p in ROOT.iterdir() if p.is_dir()} == set(MANIFEST)


def test_tickets_have_their_size_and_fields(tickets: dict[str, list[dict[str, Any]]]) -> None:
    assert {s: len(r) for s, r in tickets.items()} == {
        "train": 1200,
        "validation": 200,
        "test": 200,
    }
    every = [row for part in tickets.values() for row in part]
    fields = {"id", "text", "intent", "urgency", "reply", "channel", "customer_group", "writer"}
    assert all(set(row) == fields for row in every)
    assert len({row["id"] for row in every}) == 1600
    assert all(5 <= len(row["text"].split()) <= 125 for row in every)
    assert all(10 <= len(row["reply"].split()) <= 80 for row in every)


def test_tickets_are_balanced_as_documented(tickets: dict[str, list[dict[str, Any]]]) -> None:
    for split, least, most in (("train", 148, 151), ("validation", 25, 25), ("test", 25, 25)):
        counts = Counter(r["intent"] for r in tickets[split])
        assert (min(counts.values()), max(counts.values())) == (least, most)
    urgency = Counter(r["urgency"] for part in tickets.values() for r in part)
    assert {k for k, v in urgency.items() if 0.2 <= v / 1600 <= 0.5} == {"high", "normal", "low"}
    groups = Counter(r["customer_group"] for part in tickets.values() for r in part)
    assert set(groups) == {"first_time", "regular", "trade", "international"}
    assert min(groups.values()) >= 100
    channels = Counter(r["channel"] for part in tickets.values() for r in part)
    assert set(channels) == {"email", "chat", "form", "phone_note", "social"}
    assert min(channels.values()) >= 100


@pytest.mark.parametrize("field", ["text", "reply"])
def test_tickets_are_varied_and_no_copies(
    tickets: dict[str, list[dict[str, Any]]], field: str
) -> None:
    texts = [row[field] for part in tickets.values() for row in part]
    assert distinct_trigram_share(texts) >= 0.60
    nearest = nearest_jaccard(texts)
    assert (nearest < 0.6).mean() >= 0.95
    if field == "text":
        assert nearest.max() < 0.6  # so no row of one split lies near a row of another


# The datasheet says that urgency lies below the 70% aimed at; its majority class is at 38%.
@pytest.mark.parametrize(("label", "lowest"), [("intent", 0.70), ("urgency", 0.55)])
def test_counting_words_is_neither_hopeless_nor_enough(
    tickets: dict[str, list[dict[str, Any]]], label: str, lowest: float
) -> None:
    train, test = tickets["train"], tickets["validation"] + tickets["test"]
    accuracy = tfidf_accuracy(
        [r["text"] for r in train],
        [r[label] for r in train],
        [r["text"] for r in test],
        [r[label] for r in test],
    )
    assert lowest <= accuracy <= 0.93, f"{label}: {accuracy:.3f}"


def test_tickets_name_nobody(tickets: dict[str, list[dict[str, Any]]]) -> None:
    for part in tickets.values():
        for row in part:
            text = row["text"] + " " + row["reply"]
            assert not re.search(r"[\w.]+@\w+\.\w+", text), row["id"]  # no e-mail address
            digits = re.sub(r"LO-\d{5}", "", text)
            assert not re.search(r"\d[\d -]{7,}\d", digits), row["id"]  # no phone or card number


SIZES = {
    "annotations": 300,
    "assessment_hidden": 200,
    "entities": 400,
    "handbook_qa": 700,
    "phrases_en_fr": 4000,
    "preferences": 300,
    "product_reviews": 900,
    "shop_handbook": 250,
    "stream": 1000,
    "summaries": 1000,
    "support_tickets": 1600,
    "support_tickets_raw": 1600,
}


def test_every_set_has_its_size() -> None:
    assert set(SIZES) == set(MANIFEST)
    for name, least in SIZES.items():
        assert sum(map(len, texts(name).values())) >= least, name
    handbook = sum((ROOT / "shop_handbook" / f"{s}.txt").stat().st_size for s in SPLITS)
    assert handbook >= 250_000


@pytest.mark.parametrize("name", sorted(set(SIZES) - {"phrases_en_fr", "support_tickets_raw"}))
def test_texts_are_varied_and_no_copies_across_splits_either(name: str) -> None:
    every = [t for part in texts(name).values() for t in part]
    assert distinct_trigram_share(every) >= 0.60
    nearest = nearest_jaccard(every)
    assert (nearest < 0.6).mean() >= 0.95 and nearest.max() < 0.6, every[int(nearest.argmax())]


def test_phrases_recur_in_words_never_as_wholes() -> None:
    """The phrases share words on purpose; held-out ones combine known words in a new way."""
    parts = {s: rows("phrases_en_fr", s) for s in SPLITS}
    for language in ("en", "fr"):
        plain = [re.sub(r"\W+", " ", r[language].lower()) for p in parts.values() for r in p]
        if language == "en":
            assert len(plain) == len(set(plain))
    words = {w for r in parts["train"] for w in re.findall(r"[a-z']+", r["en"].lower())}
    for split in SPLITS[1:]:
        for row in parts[split]:
            assert set(re.findall(r"[a-z']+", row["en"].lower())) <= words, row["id"]


def test_no_text_lies_near_one_of_another_set() -> None:
    """What one lesson trains on, another must not test on."""
    sets = ("support_tickets", "stream", "assessment_hidden", "preferences", "entities")
    every = [t for name in sets for part in texts(name).values() for t in part]
    assert nearest_jaccard(every).max() < 0.6


def test_reviews_are_balanced() -> None:
    for split in SPLITS:
        found = rows("product_reviews", split)
        share = [c / len(found) for c in Counter(r["label"] for r in found).values()]
        assert len(share) == 3 and min(share) > 0.30
        stars = {"negative": (1, 2), "neutral": (3,), "positive": (4, 5)}
        assert all(r["stars"] in stars[r["label"]] for r in found)
    train, held = rows("product_reviews", "train"), []
    for split in SPLITS[1:]:
        held += rows("product_reviews", split)
    accuracy = tfidf_accuracy(
        [r["text"] for r in train], [r["label"] for r in train],
        [r["text"] for r in held], [r["label"] for r in held],
    )  # fmt: skip
    assert 0.70 <= accuracy <= 0.93


def test_answers_stand_in_their_passages_and_some_are_missing() -> None:
    asked = [q for s in SPLITS for p in squad(ROOT / "handbook_qa" / f"{s}.json") for q in p["qas"]]
    assert len({q["id"] for q in asked}) == len({q["question"] for q in asked}) == len(asked)
    missing = sum(not q["answers"] for q in asked) / len(asked)
    assert 0.12 <= missing <= 0.18
    for split in SPLITS:
        for passage in squad(ROOT / "handbook_qa" / f"{split}.json"):
            for q in passage["qas"]:
                assert q["is_impossible"] == (not q["answers"])
                for a in q["answers"]:
                    start = a["answer_start"]
                    assert passage["context"][start:].startswith(a["text"]), q["id"]
                    assert passage["context"].count(a["text"]) == 1, q["id"]


def test_questions_use_other_words_than_the_sentence_that_answers() -> None:
    """Few questions may share three words in a row with their passage."""
    shared = total = 0
    for split in SPLITS:
        for passage in squad(ROOT / "handbook_qa" / f"{split}.json"):
            known = trigrams(passage["context"])
            for q in passage["qas"]:
                total, shared = total + 1, shared + bool(trigrams(q["question"]) & known)
    assert shared / total < 0.35


def test_the_handbook_s_training_text_holds_no_held_out_passage() -> None:
    train = (ROOT / "shop_handbook" / "train.txt").read_text(encoding="utf-8")
    for split in SPLITS[1:]:
        for passage in squad(ROOT / "handbook_qa" / f"{split}.json"):
            for paragraph in passage["context"].split("\n\n"):
                assert paragraph not in train


def test_entity_tags_are_sound_and_all_kinds_occur() -> None:
    for split in SPLITS:
        kinds: Counter[str] = Counter()
        for row in conll(ROOT / "entities" / f"{split}.conll"):
            before = "O"
            for _, tag in row:
                if tag.startswith("I-"):
                    assert before[2:] == tag[2:], row
                kinds[tag[2:]] += tag.startswith("B-")
                before = tag
        assert all(kinds[k] >= 5 for k in ("DATE", "MONEY", "ORDER", "PERSON", "PLACE", "PRODUCT"))


def test_preferences_cannot_be_told_by_length() -> None:
    every = [r for s in SPLITS for r in rows("preferences", s)]
    longer = sum(len(r["chosen"].split()) > len(r["rejected"].split()) for r in every)
    assert 0.35 <= longer / len(every) <= 0.65
    reasons = Counter(r["reason"] for r in every)
    assert len(reasons) == 8 and min(reasons.values()) >= 20


def test_the_ledger_names_every_damage() -> None:
    raw = {r["id"]: r for r in rows("support_tickets_raw", "raw")}
    ledger = {r["id"]: r for r in rows("support_tickets_raw", "ledger")}
    assert list(raw) == list(ledger)
    source = {r["id"]: r for split in SPLITS for r in rows("support_tickets", split)}
    kinds: Counter[str] = Counter()
    for key, entry in ledger.items():
        found = {d["kind"] for d in entry["damage"]}
        kinds.update(found)
        assert entry["source"] in source and source[entry["source"]]["intent"] == entry["intent"]
        assert ("wrong_label" in found) == (raw[key]["intent"] != entry["intent"]), key
        if not found:
            assert raw[key]["text"] == entry["clean_text"], key
        for item in entry["damage"]:
            if item["kind"] == "pii":
                span = raw[key]["text"][item["start"] : item["end"]]
                kept = f"[{item['type']}]" in entry["clean_text"]
                assert span.strip() and (kept or "quoted_mail" in found), key
            if item["kind"].endswith("duplicate"):
                assert item["of"] in raw and item["of"] != key
    assert sum(e["by_hand"] for e in ledger.values()) >= 100
    assert 0.03 <= kinds["wrong_label"] / len(raw) <= 0.06
    wanted = {"exact_duplicate", "near_duplicate", "mojibake", "html", "pii", "wrong_label"}
    assert wanted <= set(kinds)
    counts = Counter(r["intent"] for r in raw.values())
    assert max(counts.values()) >= 3 * min(counts.values())


def test_fake_personal_data_uses_reserved_ranges_only() -> None:
    """In the damaged tickets, which hold such data on purpose; the other sets hold none."""
    for row in rows("support_tickets_raw", "ledger"):
        text = next(r["text"] for r in [RAW[row["id"]]])
        for item in row["damage"]:
            span = text[item["start"] : item["end"]] if item["kind"] == "pii" else ""
            for digit, word in enumerate(
                ["oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
            ):
                span = re.sub(rf"\b{word}\b", str(digit), span, flags=re.IGNORECASE)
            digits = re.sub(r"\D", "", span)
            if item.get("type") == "PHONE":
                local = re.sub(r"^(00)?44(0)?", "0", digits)
                assert re.search(r"1632960|7700900|55501\d\d$", local), span
            if item.get("type") == "EMAIL":
                assert re.search(r"example\W*(dot)?\W*(com|org|net)", span.lower()), span
    for name in sorted(set(SIZES) - {"support_tickets_raw"}):
        for part in texts(name).values():
            for text in part:
                assert not re.search(r"[\w.]+@\w+\.\w+", text), text
                digits = re.sub(r"\bLO?[ -]?\d{5}|\b\d{5}\b", "", text)
                long = [
                    m
                    for m in re.findall(r"\d[\d -]{7,}\d", digits)
                    if len(re.sub(r"\D", "", m)) > 7
                ]
                assert not long, text


DIGITS = ("oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RAW = {r["id"]: r for r in rows("support_tickets_raw", "raw")}


def test_annotators_with_manners_differ_less_under_the_second_guidelines() -> None:
    from measure_datasets import jsonl, kappa

    folder = ROOT / "annotations"
    ids = [r["id"] for r in jsonl(folder / "tickets.jsonl")]
    values = []
    for number in (1, 2):
        a, b = (jsonl(folder / f"round{number}_{who}.jsonl") for who in "ab")
        assert [r["id"] for r in a] == [r["id"] for r in b] == ids
        values.append(kappa([r["urgency"] for r in a], [r["urgency"] for r in b]))
    assert values[0] < 0.6 <= values[1] <= 0.85


def test_the_assessment_s_labels_lie_with_the_keys() -> None:
    keys = ROOT.parent / "quizzes" / "assessment" / "keys" / "assessment_hidden.jsonl"
    labels = {r["id"]: r for r in map(json.loads, keys.read_text("utf-8").splitlines())}
    tickets = rows("assessment_hidden", "tickets")
    assert all(set(row) == {"id", "text", "channel", "customer_group"} for row in tickets)
    counts = Counter(labels[row["id"]]["intent"] for row in tickets)
    assert len(counts) == 8 and set(counts.values()) == {25}
    passages = squad(ROOT / "assessment_hidden" / "passages.json")
    asked = [(p["context"], q) for p in passages for q in p["qas"]]
    assert len(asked) == 60 and all(set(q) == {"id", "question"} for _, q in asked)
    for context, q in asked:
        assert all(context.count(a) == 1 for a in labels[q["id"]]["answers"])


def test_the_page_states_what_is_measured() -> None:
    written = (ROOT / "README.md").read_text(encoding="utf-8")
    assert page() in written, "run python tests/measure_datasets.py --write"
