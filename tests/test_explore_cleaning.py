"""Lesson 02: the cleaning explorer, its figures, scores against the ledger, what faults cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from course_lib.errors import DataError, UsageError
from course_lib.finetune import data
from course_lib.finetune.model import load_base
from course_lib.finetune.records import Example
from course_lib.finetune.text import annotate, clean, faults, ledger
from course_lib.show import preparing
from course_lib.show.explorers import cleaning

STEPS = [*clean.TEXT_STEPS, "pii"]
DIRTY = "<p>It donâ€™t zip.</p>\u200b Mail&nbsp;me: ana@example.org"


def run(text: str, steps: Sequence[str]) -> Any:
    return clean.clean([{"id": "yours", "text": text}], steps, kinds=ledger.KINDS).changes


@cache
def some() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows, keys = ledger.read()
    return rows[:300], dict(keys)


# --- the explorer ----------------------------------------------------------------------------
def test_a_trace_names_every_step_and_ends_with_the_clean_text() -> None:
    shown, after = cleaning.trace(DIRTY, STEPS, run)
    assert [s.step for s in shown] == STEPS
    assert after.split() == ["It", "don't", "zip.", "Mail", "me:", "[EMAIL]"]
    changed = {s.step for s in shown if s.changed}
    assert {"html", "mojibake", "pii"} <= changed and "quoted_mail" not in changed


def test_steps_that_are_not_ticked_leave_their_damage() -> None:
    shown, after = cleaning.trace(DIRTY, ["pii"], run)
    assert after.startswith("<p>") and after.endswith("[EMAIL]") and len(shown) == 1
    assert cleaning.trace(DIRTY, [], run) == ([], DIRTY)


def test_marks_show_what_went_and_what_came_and_run_no_script() -> None:
    found = cleaning.marked("a <b>\u200bx y", [(2, 6, ""), (7, 8, "\n")])
    assert "&lt;b&gt;⟨U+200B⟩</del>" in found and "␣</del>" in found and "↵" in found
    assert "<b>" not in found and cleaning.visible("a\u00a0b") == "a⟨hard space⟩b"


def test_the_widget_keeps_what_was_typed_and_says_errors_in_words() -> None:
    def broken(text: str, steps: Sequence[str]) -> Any:
        if "boom" in text:
            raise ValueError("<no> such step")
        return run(text, steps)

    box = cleaning.cleaning_explorer({"first": DIRTY, "second": "Plain."}, STEPS, broken)
    choice, area, ticks, result = box.children
    assert "[EMAIL]" in result.value
    area.value = "my own  words"
    assert choice.value == cleaning.OWN and "␣" in result.value
    choice.value = "second"
    assert area.value == "Plain." and "0 of 6" in result.value
    choice.value = cleaning.OWN
    assert area.value == "my own  words"
    area.value = "boom"
    assert "&lt;no&gt; such step" in result.value
    for tick in ticks.children:
        tick.value = False
    assert area.value == "boom" and "0 of 0" in result.value
    area.value = " "
    assert "empty" in result.value


# --- the figures -----------------------------------------------------------------------------
def test_figures_print_their_values_and_name_their_lines() -> None:
    figure = preparing.precision_recall({"html": (1.0, 0.5), "pii": (0.9, 0.95)})
    assert {t.get_text() for t in figure.axes[0].texts} == {"0.50", "0.90"}
    figure = preparing.lines({"a": [1, 2], "b": [2, 1]}, [0, 1], xlabel="x", ylabel="y")
    marks = {line.get_marker() for line in figure.axes[0].lines}
    assert len(marks) == 2
    figure = preparing.lines({"a": [1, 2]}, [0, 1], xlabel="x", ylabel="y", joined=False)
    assert figure.axes[0].lines[0].get_linestyle() == "None"
    figure = preparing.rectangles({"loose": [[1, 9], [9, 1]], "tight": [[1, 1], [9, 9]]})
    assert figure.axes[0].get_title() == "loose: 44% padding"
    assert figure.axes[1].get_title() == "tight: 0% padding"


# --- the ledger ------------------------------------------------------------------------------
def test_scores_count_what_is_there_found_and_right() -> None:
    rows, keys = some()
    found = {s.step: s for s in ledger.score(rows, keys)}
    html = found["html"]
    assert html.there == sum("html" in ledger.damage(keys[r["id"]]) for r in rows) > 3
    assert html.recall == html.right / html.there and html.exact is not None
    assert sum(found[k].there for k in ledger.KINDS) == found["pii"].there > 20
    assert found["pii"].recall > 0.85 and found["near_duplicate"].recall > 0.85


def test_a_step_that_finds_nothing_scores_zero_and_divides_by_nothing() -> None:
    assert ledger.Score("x", 0, 0, 0).precision == ledger.Score("x", 3, 0, 0).recall == 0


def test_arms_share_held_out_rows_and_no_message_lies_on_both_sides() -> None:
    rows, keys = some()
    arms, groups = ledger.arms(rows, keys, seed=1), ledger.true_groups(keys)
    assert len({(tuple(a.validation), tuple(a.test)) for a in map(frozen, arms.values())}) == 1
    raw = arms["raw"]
    held = {groups[r.id] for r in [*raw.validation, *raw.test]}
    for name, arm in arms.items():
        assert not held & {groups[r.id] for r in arm.train}, name
    assert all(r.text == keys[r.id]["clean_text"] for r in raw.test)
    assert len(arms["cleaned"].train) < len(raw.train)
    perfect = arms["perfect"].train
    assert all(r.label == keys[r.id]["intent"] for r in perfect)
    same = {name: list(arms[name].train) for name in ("broken text", "wrong labels")}
    assert [r.label for r in same["broken text"]] == [r.label for r in perfect]
    assert [r.text for r in same["wrong labels"]] == [r.text for r in perfect]
    assert same["broken text"] != list(perfect) != same["wrong labels"]
    assert [r.id for r in arms["copies"].train] == [r.id for r in raw.train]


def frozen(splits: Any) -> Any:
    return type("S", (), {n: tuple(getattr(splits, n)) for n in ("validation", "test")})


def test_a_reader_is_asked_about_the_first_suspects_alone() -> None:
    rows = [Example("a", "x", "one"), Example("b", "y", "two")]
    suspects = [
        annotate.Suspect(1, "two", "one", 0.5, True),
        annotate.Suspect(0, "one", "two", 0.1, False),
    ]
    keys = {"a": {"intent": "two"}, "b": {"intent": "one"}}
    assert ledger.read_suspects(suspects, rows, keys, 1) == {"b": "one"}
    assert ledger.read_suspects(suspects, rows, keys, 2) == {"a": "two", "b": "one"}


def test_what_is_written_is_what_data_loads(tmp_path: Any) -> None:
    rows, keys = some()
    arm = ledger.arms(rows, keys)["cleaned"]
    read = data.load("classification", str(ledger.write(arm, tmp_path / "set")))
    assert [(r.id, r.text, r.label) for r in read.test] == [
        (r.id, r.text, r.label) for r in arm.test
    ]
    assert len(read.train) == len(arm.train)


# --- what faults cost ------------------------------------------------------------------------
def test_copies_in_training_make_a_random_cut_look_better() -> None:
    rows, _ = some()
    cut = faults.random_against_group(ledger.examples(rows), [0])[0]
    assert cut.twins + cut.others == round(0.2 * len(rows)) and cut.twins > 5
    assert cut.random == (cut.twins_right + cut.others_right) / (cut.twins + cut.others)
    assert cut.random > cut.apart
    assert cut.twins_right / cut.twins > cut.others_right / cut.others


def test_a_channel_that_writes_otherwise_is_shown_to_cost_and_a_like_one_is_not() -> None:
    def made(count: int, channel: str, words: str) -> list[dict[str, str]]:
        return [
            {"id": f"{channel}{i}", "channel": channel, "intent": "ab"[i % 2],
             "text": f"{words.split()[i % 2]} {'vwxyz'[i // 2 % 5]}"}
            for i in range(count)
        ]  # fmt: skip

    held = made(60, "mail", "parcel invoice")
    strange = faults.one_source(
        [*made(40, "chat", "zzz qqq"), *made(120, "mail", "parcel invoice")], held, "chat"
    )
    assert strange.count == 40 and strange.mixed > 0.95 > strange.only
    assert 0 < strange.low <= strange.difference == strange.mixed - strange.only <= strange.high
    rows = [*made(40, "chat", "parcel invoice"), *made(40, "mail", "parcel invoice")]
    alike = faults.one_source(rows, held, "chat")
    assert alike.low <= 0 <= alike.high
    with pytest.raises(DataError, match="no rows from this channel"):
        faults.one_source(rows, held, "letter")
    with pytest.raises(DataError, match="no rows but its"):
        faults.one_source(rows, held, "mail")
    with pytest.raises(UsageError, match="nothing to compare with"):
        faults.one_source(rows, held, "chat", draws=0)


def test_labels_are_spoilt_by_the_share_asked_for() -> None:
    rows = [Example(str(i), "t", "abc"[i % 3]) for i in range(50)]
    spoilt = faults.mislabel(rows, 0.3, seed=4)
    assert sum(a.label != b.label for a, b in zip(rows, spoilt, strict=True)) == 15
    assert faults.mislabel(rows, 0) == rows
    with pytest.raises(UsageError, match="not a share"):
        faults.mislabel(rows, 1.5)
    with pytest.raises(DataError, match="cannot be mistaken"):
        faults.mislabel(rows[:1], 0.5)


def test_a_cut_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="not a share"):
        faults.random_cut([], share=1.0)
    with pytest.raises(DataError, match="no rows"):
        faults.accuracy(None, [])


def test_an_interval_over_cuts_of_the_same_rows_is_wider() -> None:
    values = [0.01, 0.03, 0.02, 0.02, 0.02]
    mean, low, high = faults.interval(values)
    assert mean == pytest.approx(0.02) and high - mean == pytest.approx(0.00878, abs=1e-4)
    wider = faults.interval(values, ratio=0.25)
    assert (wider[2] - mean) / (high - mean) == pytest.approx((0.45 / 0.2) ** 0.5)
    assert low > wider[1]
    with pytest.raises(UsageError, match="no interval"):
        faults.interval([0.1])


def test_a_verdict_needs_an_interval_without_zero_and_enough_repeats() -> None:
    assert faults.verdict([0.02] * 4).endswith("better")
    assert faults.verdict([-0.02] * 4).endswith("worse")
    assert faults.verdict([-0.02, 0.02, 0.01, -0.01]).endswith("no difference is shown")
    assert faults.verdict([0.02, 0.04]) == "+3.0 points: 2 repeats are too few to tell", (
        "no interval"
    )
    assert faults.verdict([-0.0004, 0.0002] * 2).startswith("+0.0 points [-"), "not -0.0"


def test_a_model_is_more_surprised_by_mirrored_text() -> None:
    model, tokenizer = load_base("embedded", task="language-modeling")
    texts = ["The parcel never arrived, and nobody answers the telephone."]
    plain = faults.surprise(model, tokenizer, texts)
    assert 0 < plain < faults.surprise(model, tokenizer, [texts[0][::-1]]) < math.inf
    with pytest.raises(DataError, match="no texts"):
        faults.surprise(model, tokenizer, [])
