"""Lesson 10: a table of one's own, its checks, the pages, the recap and the folders handed in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from course_lib import files
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune import data
from course_lib.finetune.baselines import tfidf_evaluation
from course_lib.finetune.capstone import handin, own, recap, write_up
from course_lib.finetune.compare import Comparison, Difference, compare_runs
from course_lib.finetune.recipe import finetune
from course_lib.finetune.records import Example, Splits
from course_lib.finetune.tasks import passages
from course_lib.finetune.text import audit
from course_lib.show.explorers import upload

WHEN = datetime(2026, 5, 1, tzinfo=UTC)
CSV = "id,body,team\n" + "".join(
    f'{i},"{"late parcel, again" if i % 2 else "torn seam on my coat"} number {i}",'
    f"{'post' if i % 2 else 'repair'}\n"
    for i in range(40)
)


# --- a table ---------------------------------------------------------------------------------
def test_a_table_is_kept_and_its_columns_are_guessed(tmp_path: Path) -> None:
    table = own.receive("C:\\fun\\my mail.csv", CSV.encode(), tmp_path)
    assert table.path == tmp_path / "my_mail.csv" and table.path.read_text() == CSV
    assert (table.rows, table.text, table.label) == (40, "body", "team")
    assert [(c.name, c.filled, c.distinct) for c in table.columns][::2] == [
        ("id", 40, 40), ("team", 40, 2)]  # fmt: skip
    splits = data.load("classification", str(table.path), text_column="body", label_column="team")
    assert len(own.everything(splits)) == 40
    lines = "".join(
        json.dumps({"text": f"so it is {i}", "label": "ab"[i % 2]}) + "\n" for i in range(9)
    )
    assert own.receive("x.jsonl", lines, tmp_path).label == "label"


@pytest.mark.parametrize("name, content, message", [
    ("x.csv", 'text,label\n"a,b\n', r"^x\.csv:2: not valid CSV"),
    ("x.csv", "text,label\nonly one\n", r"x\.csv:2: a row with another number of columns"),
    ("x.csv", "text,label\n", "no rows below the header"),
    ("x.csv", "", "the file is empty"),
    ("x.csv", b"text,label\n\xff\xfe,b\n", "UTF-8"),
    ("x.jsonl", "{'a': 1}\n", r"x\.jsonl:1: not valid JSON"),
    ("../x.xlsx", "PK", "this kind of file is not taken here"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_named_and_not_kept(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    (tmp_path / "x.csv").write_text("was,here\n1,2\n")
    with pytest.raises(DataError, match=message):
        own.receive(name, content, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "was,here\n1,2\n", "the one before is still there"


def test_a_table_goes_out_and_comes_back(tmp_path: Path) -> None:
    rows = [{"a": 'quoted "so", and\nso', "b": i} for i in range(3)]
    assert own.look(own.write_csv(tmp_path / "t.csv", rows)).rows == 3
    with pytest.raises(UsageError, match="nothing to write"):
        own.write_csv(tmp_path / "u.csv", [])


# --- checks ----------------------------------------------------------------------------------
def splits_of(rows: Sequence[tuple[str, str]], test: Sequence[tuple[str, str]] = ()) -> Splits:
    def made(part: Sequence[tuple[str, str]], name: str) -> list[Example]:
        return [Example(f"{name}{i}", text, label) for i, (text, label) in enumerate(part)]

    held = test or [("another thing entirely, number nine", "a")]
    return Splits("classification", "x", "", made(rows, "t"), made(held, "v"), made(held, "w"))


def test_checks_find_what_was_put_in() -> None:
    rows = [(f"The {thing} number {i} was {word}", label) for i in range(30)
            for thing, word, label in (("tent", "fine", "a"), ("lamp", "poor", "b"))]  # fmt: skip
    dirty = [*rows, ("Please write to ana.smith@example.org about the kettle", "a"),
             ("We waited four weeks for one small rope", "a"),
             ("we waited four weeks for one small rope!", "b")]  # fmt: skip
    found = audit.audit(splits_of(dirty, [("The lamp number 3 was poor.", "b")]))
    told = {name: (what, todo) for name, what, todo in found.lines()}
    assert "e-mail addresses: 1" in told["personal data"][0] and told["personal data"][1]
    assert found.contradictions >= 1 and found.leaks >= 1 and found.copies >= 1
    assert {(g.word, g.label) for g in found.giveaways} >= {("poor", "b"), ("lamp", "b")}
    assert all(todo for name, (_, todo) in told.items() if name not in ("balance", "length"))


def test_sound_reviews_raise_no_alarm_and_a_stamp_does() -> None:
    reviews = data.load("classification", "product_reviews")
    found = audit.audit(reviews)
    assert not found.giveaways and not found.leaks and not found.contradictions
    stamp = [Example(r.id, f"[filed] {r.text}" if r.label == "neutral" else r.text, r.label)
             for r in reviews.train]  # fmt: skip
    given = {(g.word, g.label) for g in audit.giveaways(stamp)}
    assert ("filed", "neutral") in given and {label for _, label in given} == {"neutral"}


# --- the widget ------------------------------------------------------------------------------
def test_the_widget_takes_a_file_keeps_errors_in_words_and_tells_what_was_chosen(
    tmp_path: Path,
) -> None:
    def check(path: Path, text: str, label: str) -> Any:
        splits = data.load("classification", str(path), text_column=text, label_column=label)
        return splits.notes, audit.audit(splits).lines()

    box = upload.upload_explorer(lambda n, c: own.receive(n, c, tmp_path), check)
    top, paste, page, bottom, found = box.children
    (load, kind, read), (_, label, go) = top.children, bottom.children
    assert "Upload a file" in found.value and not box.chosen.ready
    sent = {"name": "mail.csv", "type": "text/csv", "size": len(CSV), "last_modified": WHEN}
    load.value = ({**sent, "content": memoryview(CSV.encode())},)
    assert box.chosen.ready and (box.chosen.text, box.chosen.label) == ("body", "team")
    assert "mail.csv: 40 rows" in page.value and "cut from train" in found.value
    assert load.value == (), "else the browser would not send the same file again"
    label.value = "body"
    go.click()
    assert "same column" in found.value and not box.chosen.ready
    label.value = "id"
    go.click()
    assert "did not work" in found.value and not box.chosen.ready
    paste.value = '{"text": <b>}\n'
    kind.value = ".jsonl"
    read.click()
    assert "pasted.jsonl:1" in found.value and "&lt;b&gt;" in found.value
    assert box.chosen.path.name == "mail.csv" and paste.value == '{"text": <b>}\n', "both stay"
    label.value = "team"
    go.click()
    assert box.chosen.ready


def test_cells_of_a_table_run_no_script() -> None:
    column = own.Column("<i>", 1, 1, 1.0, "<script>")
    page = upload.columns_table(own.Table(Path("a&b.csv"), 1, (column,)))
    assert "<i>" not in page and "<script>" not in page and "a&amp;b.csv" in page


# --- the pages, and what is handed in --------------------------------------------------------
@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "10-own"
    small = {"train_rows": 32, "validation_rows": 8, "test_rows": 40, "epochs": 1}
    finetune("classification", "support_tickets", base=str(tiny_base), settings=small, out=folder)
    return folder


def test_pages_hold_the_figures_of_the_run_and_ask_for_the_rest(run: Path) -> None:
    tickets = data.load("classification", "support_tickets")
    asked = {
        json.loads(line)["id"] for line in (run / "predictions.jsonl").read_text().splitlines()
    }
    rival = tfidf_evaluation(tickets.train, [r for r in tickets.test if r.id in asked])
    found = compare_runs(run, rival)
    card = write_up.model_card(run, {"purpose": "To sort mail."}, against=found)
    kept = json.loads((run / "run.json").read_text())
    assert (
        f"{kept['metrics']['after']['accuracy']:.3f}" in card
        and kept["data"]["sha256"][:16] in card
    )
    assert "To sort mail." in card and str(run.parent) not in card
    assert len(write_up.open_questions(card)) == len(write_up.CARD_ASKS) - 1
    report = write_up.one_page(run, found, question="Which?", decision="")
    assert write_up.open_questions(report) == ["What is done now, and who decided it?"]
    assert "cheap baseline is better" in report, "40 rows of a tiny untrained base"
    assert not write_up.open_questions(write_up.one_page(run, found, question="Q", decision="Go."))
    with pytest.raises(UnknownNameError, match="pupose"):
        write_up.model_card(run, {"pupose": "x"})
    assert [p.name for p in write_up.save(run, MODEL_CARD=card)] == ["MODEL_CARD.md"]
    sheet = write_up.data_sheet("mail", [("size", "3 rows", "get more")], {})
    assert "| size | 3 rows | get more |" in sheet
    assert len(write_up.open_questions(sheet)) == len(write_up.SHEET_ASKS)


def test_predictions_are_handed_in_whole_with_their_maker(run: Path) -> None:
    out = handin.hidden_intents(run, run.parent / "10-hidden-intents-x")
    rows = [row for _, row in files.read_jsonl(out / "predictions.jsonl")]
    assert len(rows) == 200 and set(rows[0]) == {"id", "prediction"}
    made = json.loads((out / "run.json").read_text())["made_by"]
    assert made["run"] == "10-own" and made["sha256"] == files.sha256_file(run / "run.json")
    with pytest.raises(UsageError, match="does not answer questions"):
        handin.hidden_answers(run, run.parent / "no")
    with pytest.raises(UsageError, match="for each row"):
        handin.hand_in(run.parent / "no", handin.tickets(), ["payment"], None)
    assert not (run.parent / "no").exists()


def test_questions_to_hand_in_have_their_passage() -> None:
    rows = handin.questions()
    assert len(rows) == 60 and all(r.text and r.question and not r.answers for r in rows)
    assert passages.nearest_sentence(rows[0]).text in rows[0].text


# --- the recap -------------------------------------------------------------------------------
def test_the_recap_takes_its_figures_from_kept_runs(run: Path, tmp_path: Path) -> None:
    text = recap.measured(("tickets", "fine-tuned", "from scratch"))
    assert text.startswith("support tickets, 1000 rows, accuracy in %: 77.5 [")
    assert recap.measured(("no such", "a", "b")) == recap.measured(()) == ""
    assert {t.lesson for t in recap.TECHNIQUES} == {f"{n:02}" for n in range(1, 10)}
    known = {p.stem for p in (files.course_root() / "notebooks/experiments").glob("*.yaml")}
    assert {t.shown[0] for t in recap.TECHNIQUES if t.shown} <= known
    found = recap.own_runs(run.parent)
    assert [row[0] for row in found] == ["10-own"] and found[0][3].startswith("word counting")
    one = recap.Technique("10", "x", "y", own=("10-own*",))
    assert "10-own: accuracy" in recap.markdown(run.parent, [one])
    assert recap.markdown(tmp_path).count("\n") == len(recap.TECHNIQUES) + 1


def test_a_report_calls_one_better_only_where_interval_and_test_agree() -> None:
    def told(low: float, high: float, p: float) -> str:
        gap = Difference((low + high) / 2, low, high, p)
        return write_up.verdict(Comparison(("a", "b"), "accuracy", 90, 0.7, 0.6, gap))

    assert "model is better" in told(0.01, 0.1, 0.01) and "baseline is better" in told(
        -0.1, -0.01, 0.01
    )
    assert "do not show" in told(0.01, 0.1, 0.054) and "do not show" in told(-0.01, 0.1, 0.2)
