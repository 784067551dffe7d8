"""Cleaning, personal data and duplicates, on the even rows of support_tickets_raw and by hand."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from functools import cache
from typing import Any

import pytest

from course_lib.errors import DataError, UnknownNameError
from course_lib.files import course_root, read_jsonl
from course_lib.finetune.records import Example
from course_lib.finetune.text import clean, duplicates, names, pii, repair

RAW = course_root() / "datasets" / "support_tickets_raw"


@cache
def even() -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(RAW / "raw.jsonl") if int(row["id"][4:]) % 2 == 0]


@cache
def ledger() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for _, row in read_jsonl(RAW / "ledger.jsonl")}


def damaged(kind: str) -> list[dict[str, Any]]:
    return [r for r in even() if any(d["kind"] == kind for d in ledger()[r["id"]]["damage"])]


def fold(text: str) -> str:
    return " ".join(text.replace('"', "'").replace("\u2019", "'").replace("\u2018", "'").split())


@pytest.mark.parametrize("kind", ["html", "mojibake", "control", "quoted_mail", "whitespace"])
def test_each_repair_gives_the_ledgers_text_and_says_what_it_changed(kind: str) -> None:
    alone = [
        r for r in damaged(kind) if all(d["kind"] != "pii" for d in ledger()[r["id"]]["damage"])
    ]
    done = clean.clean(alone, steps=list(clean.TEXT_STEPS))
    right = [fold(r["text"]) == fold(ledger()[r["id"]]["clean_text"]) for r in done.rows]
    assert len(right) > 8 and sum(right) / len(right) > 0.9
    assert done.counts()[kind] >= len(alone) * 0.7
    for change in done.changes:
        text = change.before
        for start, end, new in sorted(change.spans, reverse=True):
            text = text[:start] + new + text[end:]
        assert text == change.after != change.before


def test_taking_out_quoted_mail_leaves_other_line_ends_alone() -> None:
    plain = "First line,\r\nsecond line.\r\n\r\n"
    assert repair.strip_quoted(plain) == plain
    assert repair.strip_quoted("Thanks.\r\n\r\n> old words\r\n> more") == "Thanks."


def test_rows_without_damage_stay_as_they_are() -> None:
    rows = [r for r in even() if not ledger()[r["id"]]["damage"]]
    done = clean.clean(rows, steps=list(clean.TEXT_STEPS))
    assert len(rows) > 500 and list(done.rows) == rows and done.changes == ()


REPAIRS = [
    ("it\u9225\u6a9a \u62e212", "it's \u00a312"),  # UTF-8 read as GBK
    ("don\u0432\u0402\u2122t", "don't"),  # as Windows-1251
    ("I\u2019d pay \u0141148, itÆs fine", "I'd pay \u00a3148, it's fine"),
    ("=C2=A312 and it=E2=80=99s", "\u00a312 and it's"),
    ("for #148 or +AKM-5 or %C2%A35", "for \u00a3148 or \u00a35 or \u00a35"),
    ("caf\ufffd, fianc\ufffde, M\u00fcller", "caf\u00e9, fianc\u00e9e, M\u00fcller"),
    ("a < b, 5 > 3 <3 &amp;amp; <me@example.org>", "a < b, 5 > 3 <3 & <me@example.org>"),
    ("&lt;p&gt;one&lt;/p&gt;&lt;p&gt;two <del>no</del>", "one two"),
    ("l\u200bo\u00adst\x00 in\x1b[31m re\b\bup", "lost in up"),
    ("\U0001f469\u200d\U0001f680 flies", "\U0001f469\u200d\U0001f680 flies"),
    (
        "\u65e5\u672c\u8a9e \u0433\u043e\u0434 \u04335",
        "\u65e5\u672c\u8a9e \u0433\u043e\u0434 \u04335",
    ),
    ("Where is it?\n\nOn 3 May 2026 the desk wrote:\n> soon\n> very", "Where is it?"),
    ("Late.\n\n--- Original Message ---\nFrom: shop\nSubject: hi\n\nSoon!", "Late."),
    ("Fine.\nCould I print it again?", "Fine. Could I print it again?"),
    ("> all of it\n> is a quote", "> all of it > is a quote"),  # else nothing would be left
]


@pytest.mark.parametrize(("raw", "expected"), REPAIRS)
def test_the_repairs_on_texts_that_are_not_in_the_set(raw: str, expected: str) -> None:
    for step in (repair.repair_html, repair.repair_mojibake, repair.strip_control,
                 repair.strip_quoted, repair.normalise_space):  # fmt: skip
        raw = step(raw)
    assert fold(raw) == fold(expected)


def test_personal_data_is_found_in_the_course_rows() -> None:
    house = names.house_words(r["text"] for r in even())
    assert {"hallowmere", "fellrunner"} <= house
    kinds = [k for k in pii.KINDS if k != "ORDER"]
    hit = gold = found = 0
    for row in even():
        real = [d for d in ledger()[row["id"]]["damage"] if d["kind"] == "pii"]
        items = pii.find_pii(row["text"], kinds=kinds, house=house)
        gold, found = gold + len(real), found + len(items)
        hit += sum(
            any(i.kind == d["type"] and i.start < d["end"] and d["start"] < i.end for i in items)
            for d in real
        )
        assert all(row["text"][i.start : i.end] == i.text for i in items)
    assert hit / gold >= 0.95 and hit / found >= 0.9


def written() -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Give the texts of pii_texts.txt with the places of their personal data."""
    lines = (course_root() / "tests" / "pii_texts.txt").read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        if line == "--" or line.startswith("# "):
            continue
        text, items = "", []
        for plain, kind, inside in re.findall(r"(.*?)(?:<<([A-Z]+) (.*?)>>|$)", line):
            text += plain.replace("\\n", "\n")
            start = len(text)
            text += inside.replace("\\n", "\n")
            items += [(start, len(text), kind)] if kind else []
        found.append((text, items))
    return found


def test_personal_data_is_found_in_texts_that_are_not_in_the_set() -> None:
    house = names.house_words(r["text"] for r in even())
    there: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    false = []
    for text, items in written():
        free = list(items)
        there.update(kind for _, _, kind in items)
        for one in pii.find_pii(text, house=house):
            same = [i for i in free if i[2] == one.kind and overlap(i, one) >= 0.5]
            hit[one.kind] += bool(same)
            false += [] if same else [one]
            for item in same[:1]:
                free.remove(item)
    assert len(written()) > 240 and sum(there.values()) > 220
    assert all(hit[kind] / there[kind] >= 0.9 for kind in pii.KINDS), (hit, there)
    assert sum(hit.values()) / sum(there.values()) >= 0.95
    assert sum(hit.values()) / (sum(hit.values()) + len(false)) >= 0.95, false


def overlap(gold: tuple[int, int, str], item: pii.Pii) -> float:
    """Give the intersection over union of two places."""
    both = min(gold[1], item.end) - max(gold[0], item.start)
    return max(0, both) / (max(gold[1], item.end) - min(gold[0], item.start))


def test_a_long_line_of_repeats_is_searched_in_little_time() -> None:
    for unit in ("a.", "A", "Aa-", "AB12-"):
        start = time.process_time()
        pii.find_pii(unit * (8000 // len(unit)))
        assert time.process_time() - start < 4, unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm John Smith, 22 High Street, Leeds LS1 4AP", "I'm [NAME], [ADDRESS]"),
        ("ring 0113 496 0999 or (0)20 7946 0018", "ring [PHONE] or [PHONE]"),
        ("jo.x at example dot com", "[EMAIL]"),
        ("4111 1111 1111 1111, not 4111 1111 1111 1112", "[CARD], not 4111 1111 1111 1112"),
        ("IBAN gb82west12345698765432.", "IBAN [IBAN]."),
        ("my name is anna smith and LO-48213 is mine", "my name is [NAME] and [ORDER] is mine"),
        ("my name is on the list", "my name is on the list"),
        ("Musterstra\u00dfe 5, 10115 Berlin", "[ADDRESS]"),
        ("on 12.03.2026 at 10:45 for \u00a31,299.00", "on 12.03.2026 at 10:45 for \u00a31,299.00"),
        ("to 901 Harbor Dr., Ste. 400, San Diego, CA 92101, not", "to [ADDRESS], not"),
        ("It's Keizersgracht 241-II, 1016 EA Amsterdam.", "It's [ADDRESS]."),
        ("send it to 77 MILL LANE, ELY CB7 4AA PLEASE", "send it to [ADDRESS] PLEASE"),
        ("ring 07700 900 four five six", "ring [PHONE]"),
        ("the West Highland Way, 12 Moss Green", "the West Highland Way, 12 Moss Green"),
        ("Where is it?\n\nKind regards,\nSarah", "Where is it?\n\nKind regards,\n[NAME]"),
    ],
)  # fmt: skip
def test_placeholders_on_texts_that_are_not_in_the_set(text: str, expected: str) -> None:
    assert pii.replace_pii(text, pii.find_pii(text)) == expected


def test_check_sums_and_lists() -> None:
    assert pii.luhn("4242424242424242") and not pii.luhn("4242424242424241")
    assert pii.iban_holds("DE89370400440532013000") and not pii.iban_holds("DE88370400440532013000")
    assert not pii.iban_holds("DE8937040044053201300") and not pii.iban_holds("ZZ00")
    assert names.unknown("Drummerhaugh") and not names.unknown("parcel")
    assert "tom\u00e1s" in names.given_names() and "smith" in names.surnames()
    assert names.english()["parcel"] > 0
    assert names.find_names("Ask Ms Tuck.") == [(7, 11)]
    with pytest.raises(UnknownNameError, match="unknown kind of personal data 'MAIL'"):
        pii.find_pii("x", kinds=["MAIL"])


def test_spelling_is_suggested_and_house_words_are_left() -> None:
    row = next(r for r in even() if "pasword" in r["text"])
    assert [s.suggestions[0] for s in clean.suggest_spelling(row["text"])] == ["password"]
    text = "the emberling is brokn"
    found = clean.suggest_spelling(text, known={"emberling"})
    assert [text[s.start : s.end] for s in found] == ["brokn"] and "broken" in found[0].suggestions


def copies() -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Give 150 even rows with copies whose first copy is even, and their true pairs."""
    rows = {r["id"]: r for r in even()}
    pairs = [
        [d["of"], i] for i in rows for d in ledger()[i]["damage"]
        if d["kind"] in ("near_duplicate", "exact_duplicate") and d["of"] in rows
    ]  # fmt: skip
    wanted = {i for pair in pairs for i in pair} | set(random.Random(0).sample(sorted(rows), 100))
    return [rows[i] for i in sorted(wanted)], pairs


@pytest.mark.parametrize("method", ["rapidfuzz", "minhash"])
def test_near_duplicates_of_the_ledger_are_found(method: str) -> None:
    rows, pairs = copies()
    done = clean.clean(rows, steps=list(clean.TEXT_STEPS))
    group = duplicates.duplicate_groups([r["text"] for r in done.rows], method=method)
    place = {r["id"]: p for p, r in enumerate(rows)}
    assert len(pairs) > 20 and all(group[place[a]] == group[place[b]] for a, b in pairs)
    assert sum(group[p] != p for p in range(len(rows))) <= len(pairs) + 2
    scores = duplicates.near_pairs([r["text"] for r in done.rows], method=method)
    assert all(i < j and duplicates.NEAR <= score <= 1 for i, j, score in scores)


def test_clean_keeps_order_and_reports_every_step() -> None:
    rows, pairs = copies()
    done = clean.clean(rows)
    gone = {c.id: c.of for c in done.changes if c.of}
    ids = [r["id"] for r in done.rows]
    assert ids == [r["id"] for r in rows if r["id"] not in gone] and len(gone) >= len(pairs)
    steps = [clean.STEPS.index(c.step) for c in done.changes]
    assert (
        steps == sorted(steps)
        and {"exact_duplicate", "near_duplicate", "pii"} <= done.counts().keys()
    )
    assert any("[EMAIL]" in r["text"] or "[ORDER]" in r["text"] for r in done.rows)
    assert rows == copies()[0]


def test_clean_takes_examples_and_repairs_two_lines_of_a_cell() -> None:
    rows = [Example("a", text="It\u00e2\u20ac\u2122s late", label="x"), Example("b", text="ok")]
    done = clean.clean(rows)
    assert done.rows == (Example("a", text="It's late", label="x"), rows[1])
    assert done.changes[0].spans == (clean.Edit(2, 5, "'"),) and clean.edits("ab", "ab") == ()


def test_clean_refuses_bad_rows_and_steps() -> None:
    with pytest.raises(DataError, match="no rows to clean"):
        clean.clean([])
    with pytest.raises(DataError, match=r"row 2: the row has no text; got int"):
        clean.clean([{"text": "a"}, {"text": 3}])
    with pytest.raises(DataError, match="the id 'a' occurs twice"):
        clean.clean([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}])
    with pytest.raises(UnknownNameError, match="unknown cleaning step 'htlm'"):
        clean.clean([{"text": "a"}], steps=["htlm"])
    with pytest.raises(DataError, match="not a likeness; got 72"):
        duplicates.near_pairs(["a"], threshold=72)
    with pytest.raises(UnknownNameError, match="unknown method 'exact'"):
        duplicates.near_pairs(["a"], method="exact")


def test_a_file_of_copies_leaves_one_row_and_cannot_be_split() -> None:
    rows = [{"id": str(n), "text": "Where is my parcel?"} for n in range(30)]
    done = clean.clean(rows)
    assert [r["id"] for r in done.rows] == ["0"] and len(done.changes) == 29
    assert duplicates.exact_duplicates([r["text"] for r in rows]) == [tuple(range(30))]
    with pytest.raises(DataError, match=r"no rows for .*validation.*; got 30 rows in 1 groups"):
        duplicates.split_by_group(rows)
    assert duplicates.near_pairs(["", "!", "?"]) == []


def test_splits_by_group_hold_no_copy_and_the_detector_sees_one() -> None:
    rows, pairs = copies()
    cut = duplicates.split_by_group(rows, label="intent", seed=1)
    assert sorted(r["id"] for part in cut.values() for r in part) == [r["id"] for r in rows]
    assert duplicates.find_leaks(cut) == []
    assert all(abs(len(cut[s]) / len(rows) - p) < 0.04 for s, p in
               [("train", 0.8), ("validation", 0.1), ("test", 0.1)])  # fmt: skip
    assert duplicates.split_by_group(rows, label="intent", seed=1) == cut
    where = {r["id"]: name for name, part in cut.items() for r in part}
    assert all(where[a] == where[b] for a, b in pairs)
    half = {"train": rows[::2], "test": rows[1::2]}
    leaks = duplicates.find_leaks(half)
    assert {leak.kind for leak in leaks} == {"exact", "near"}
    assert all(leak.left[0] == "train" and leak.right[0] == "test" for leak in leaks)


def test_leaks_by_group_and_bad_splits() -> None:
    first = [Example("1", text="one thing here", group="passage 7")]
    second = [Example("2", text="quite another", group="passage 7"), Example("3", text="alone")]
    (leak,) = duplicates.find_leaks({"train": first, "test": second})
    assert leak == duplicates.Leak("group", ("train", "1"), ("test", "2"), 1.0)
    with pytest.raises(DataError, match=r"no two splits to compare; got train: 1 rows, test: 0"):
        duplicates.find_leaks({"train": first, "test": []})
    with pytest.raises(DataError, match="not one group a row; got 1; expected 2"):
        duplicates.split_by_group(second, groups=["a"])
    with pytest.raises(DataError, match="not shares"):
        duplicates.split_by_group(second, shares={"train": 0.8, "test": 0.3})
    assert duplicates.normal("It\u2019s  LO-1!") == "its lo 1"
    assert duplicates.value_of(first[0], "group") == "passage 7"
