"""Quiz files, variants and grading: every rule on a table, properties on random answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from course_lib.errors import DataError
from course_lib.quiz import schema, variants
from course_lib.quiz.exercise import ExerciseFile
from course_lib.quiz.expressions import evaluate
from course_lib.quiz.grade import grade, read_number

ROOT = Path(__file__).resolve().parent.parent
BANK = sorted((ROOT / "quizzes").glob("*.yaml"))
COMMON = {"objective": "03.1", "section": "1 What", "stem": "?", "explanation": "because"}


def question(kind: str, **fields: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(schema.Question)
    return adapter.validate_python({"id": "03.q1", "type": kind, **COMMON, **fields})


def options(right: str) -> list[dict[str, Any]]:
    return [
        {"text": f"option {i}", "correct": c == "1", "feedback": f"about {i}"}
        for i, c in enumerate(right, 1)
    ]


def verdict(asked: Any, answer: Any, **more: Any) -> tuple[str, float]:
    found = grade(asked, answer, **more)
    return found.outcome, round(found.share, 3)


def test_one_option() -> None:
    asked = question("single", options=options("010"))
    assert verdict(asked, "o2") == ("correct", 1)
    assert verdict(asked, "o1") == ("incorrect", 0)
    assert grade(asked, "o1").feedback == ("about 1",)
    assert verdict(asked, None) == verdict(asked, "") == ("unanswered", 0)
    for odd in ("o9", "option 2", 2, True, ["o2"], {"o2": 1}):
        assert verdict(asked, odd) == ("needs review", 0), odd


@pytest.mark.parametrize(
    ("credit", "answer", "share"),
    [
        ("all_or_nothing", ["o1", "o2"], 1),
        ("all_or_nothing", ["o1"], 0),
        ("all_or_nothing", ["o1", "o2", "o3"], 0),
        ("per_option", ["o2", "o1"], 1),
        ("per_option", ["o1"], 0.8),
        ("per_option", ["o1", "o3"], 0.6),
        ("per_option", ["o3", "o4", "o5"], 0),
        ("penalty", ["o1", "o2"], 1),
        ("penalty", ["o1"], 0.5),
        ("penalty", ["o1", "o3"], 0),
        ("penalty", ["o3", "o4"], 0),
        ("penalty", ["o1", "o2", "o3"], 0.5),
        ("penalty", ["o1", "o1"], 0.5),
    ],
)
def test_several_options(credit: str, answer: list[str], share: float) -> None:
    asked = question("multiple", options=options("11000"), credit=credit)
    assert grade(asked, answer).share == pytest.approx(share)
    assert grade(asked, answer[::-1]).share == pytest.approx(share)


def test_a_right_option_left_out_is_named_and_not_praised() -> None:
    given = options("110")
    given[0]["feedback"] = "Right. it is one."
    asked = question("multiple", options=given, credit="per_option")
    assert grade(asked, ["o2", "o3"]).feedback == (
        "Not chosen, though it belongs: option 1\n\nIt is one.",
        "about 3",
    )
    assert grade(asked, ["o1", "o2"]).feedback == ("Right. it is one.", "about 2")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.75", 0.75), (".75", 0.75), ("0,75", 0.75), ("75 %", 0.75), ("75%", 0.75), ("3/4", 0.75),
        ("7.5e-1", 0.75), (" 0.750 ", 0.75), ("+0.75", 0.75), (0.75, 0.75), ("1,234", 1234),
        ("1,234.5", 1234.5), ("1 234", 1234), ("\u22122", -2), ("12,5", 12.5), ("0", 0),
        ("", None), ("abc", None), ("nan", None), ("inf", None), ("1e999", None), ("1/0", None),
        (True, None), (None, None), ("0.7.5", None), ("5 apples", None), ("--3", None),
        (float("nan"), None), ([0.75], None), ("9" * 80, None),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text: Any, value: float | None) -> None:
    found = read_number(text, {"": 1.0, "%": 0.01})
    assert found is None if value is None else found == pytest.approx(value)


def test_numbers_have_a_tolerance_and_mistakes_are_named() -> None:
    asked = question(
        "numeric", answer=0.75, tolerance={"absolute": 0.005}, units={"": 1, "%": 0.01}
    )
    assert verdict(asked, "0.754") == ("correct", 1)
    assert verdict(asked, "75%") == ("correct", 1)
    assert verdict(asked, "0.76") == ("incorrect", 0)
    assert "100 times too large" in grade(asked, "75").feedback[0]
    assert verdict(asked, "three quarters") == ("needs review", 0)
    relative = question("numeric", answer=200, tolerance={"relative": 0.01})
    assert verdict(relative, "202") == ("correct", 1) and verdict(relative, "203")[1] == 0
    assert verdict(question("numeric", answer=0), "0.0") == ("correct", 1)


def test_short_texts_forgive_case_spacing_and_articles_only() -> None:
    asked = question("text", accept=["padding token"], near=[{"text": "EOS", "feedback": "close"}])
    for fine in ("padding token", " Padding  TOKEN. ", "the padding token", "PADDING TOKEN!"):
        assert verdict(asked, fine) == ("correct", 1), fine
    assert grade(asked, "eos").feedback == ("close",)
    assert verdict(asked, "padding") == ("incorrect", 0)
    assert verdict(asked, "  . ") == ("unanswered", 0)
    assert verdict(asked, "x" * 500) == verdict(asked, 7) == ("needs review", 0)


def test_short_texts_may_have_several_spellings() -> None:
    asked = question("text", accept=["{neural |}net{work|}{s|}"],
                     near=[{"text": "colo{u|}r", "feedback": "no"}])  # fmt: skip
    for right in ("Neural networks", "net", "NETS", "neural  net"):
        assert verdict(asked, right) == ("correct", 1)
    assert verdict(asked, "neural") == ("incorrect", 0)
    assert grade(asked, "colour").feedback == grade(asked, "color").feedback == ("no",)
    for wrong, said in (("a{b", "pair up"), ("a{b{c}}", "pair up"), ("{a|b|c|d}" * 4, "200")):
        with pytest.raises(ValueError, match=said):
            question("text", accept=[wrong])


def test_orders_count_neighbouring_pairs() -> None:
    asked = question("ordering", items=["a", "b", "c", "d"])
    shown = {c.text: c.id for c in variants.present(asked, variants.PRACTICE).choices}
    order = lambda text: [shown[t] for t in text]  # noqa: E731
    assert verdict(asked, order("abcd")) == ("correct", 1)
    assert verdict(asked, order("bacd")) == ("partial", 0.667)
    assert verdict(asked, order("dcba")) == ("incorrect", 0)
    assert list(shown) != ["a", "b", "c", "d"], "it is not shown in the right order"
    for odd in (order("abc"), [*order("abc"), "i9"], "abcd", order("abcc")):
        assert verdict(asked, odd) == ("needs review", 0)
    strict = question("ordering", items=["a", "b", "c", "d"], credit="all_or_nothing")
    assert verdict(strict, order("bacd")) == ("incorrect", 0)


def test_pairs_are_matched_one_by_one() -> None:
    pairs = [{"left": f"L{i}", "right": f"R{i}", "feedback": f"f{i}"} for i in range(4)]
    asked = question("matching", pairs=pairs, extra=["R9"])
    shown = variants.present(asked, variants.PRACTICE)
    left = {c.text: c.id for c in shown.choices}
    right = {c.text: c.id for c in shown.targets}
    assert set(right) == {"R0", "R1", "R2", "R3", "R9"}
    full = {left[f"L{i}"]: right[f"R{i}"] for i in range(4)}
    assert verdict(asked, full) == ("correct", 1)
    wrong = {**full, left["L2"]: right["R9"]}
    assert verdict(asked, wrong) == ("partial", 0.75) and grade(asked, wrong).feedback == ("f2",)
    assert verdict(asked, {left["L0"]: right["R0"]}) == ("partial", 0.25)
    assert verdict(asked, {"l9": "r1"}) == verdict(asked, ["l1"]) == ("needs review", 0)


def test_experiments_are_compared_with_what_was_recomputed() -> None:
    asked = question("experiment", run="03-*", answer="metrics.after.accuracy",
                     tolerance={"absolute": 0.005})  # fmt: skip
    assert verdict(asked, "0.71", truth=0.712) == ("correct", 1)
    assert verdict(asked, "0.5", truth=0.712) == ("incorrect", 0)
    assert verdict(asked, "0.71") == ("needs review", 0)
    code = question("code", exercise="03.e1")
    assert verdict(code, "done", truth="correct") == ("correct", 1)
    assert verdict(code, "done", truth="crashed") == ("needs review", 0)


answers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from(["o1", "o2", "o3", "i1", "i2", "i3", "l1", "r1"]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip
ANY = [
    question("single", options=options("010")),
    question("multiple", options=options("1101"), credit="penalty"),
    question("multiple", options=options("1101")),
    question("numeric", answer="a / b", variables={"a": [1, 2], "b": [4]}, stem="{a} {b}"),
    question("text", accept=["loss"]),
    question("ordering", items=["x", "y", "z"]),
    question("matching", pairs=[{"left": "1", "right": "2"}, {"left": "3", "right": "4"}]),
    question("experiment", run="x", answer="metrics.loss"),
    question("code", exercise="03.e1"),
]


@given(answer=answers, place=st.integers(0, len(ANY) - 1))
def test_whatever_is_answered_the_verdict_is_sound(answer: Any, place: int) -> None:
    found = grade(ANY[place], answer, truth=0.5)
    assert 0 <= found.share <= 1
    assert (found.share == 1) == (found.outcome == "correct")
    assert (0 < found.share < 1) == (found.outcome == "partial")
    if found.outcome == "needs review":
        assert found.feedback, "it says why"


@given(
    chosen=st.sets(st.sampled_from(["o1", "o2", "o3", "o4", "o5"]), min_size=1),
    credit=st.sampled_from(["all_or_nothing", "per_option", "penalty"]),
    data=st.data(),
)
def test_one_more_right_option_never_costs(chosen: set[str], credit: str, data: Any) -> None:
    asked = question("multiple", options=options("10110"), credit=credit)
    missing = sorted({"o1", "o3", "o4"} - chosen)
    if missing:
        more = chosen | {data.draw(st.sampled_from(missing))}
        assert grade(asked, sorted(more)).share >= grade(asked, sorted(chosen)).share


@pytest.mark.parametrize("path", BANK, ids=lambda p: p.stem)
def test_a_thousand_learners_each_get_a_sound_quiz(path: Path) -> None:
    quiz = schema.load_quiz(path)
    for student in range(1000):
        seed = variants.student_seed(b"secret", str(student))
        for asked in variants.drawn(quiz, seed):
            shown = variants.present(asked, seed)
            texts = [c.text for c in shown.choices]
            assert len(set(texts)) == len(texts)
            if isinstance(asked, schema.Single):
                right = [c.id for c in shown.choices if grade(asked, c.id, seed).share == 1]
                assert len(right) == 1
            if isinstance(asked, schema.Numeric):
                assert "{" not in shown.stem.replace("{,}", "") or "$" in shown.stem
                number = variants.right_number(asked, seed)
                assert grade(asked, repr(number), seed).outcome == "correct"


def test_variants_are_the_same_everywhere_and_differ_between_learners() -> None:
    asked = question("single", options=options("01000"))
    first = [c.id for c in variants.present(asked, variants.PRACTICE).choices]
    assert first == ["o5", "o2", "o3", "o4", "o1"]  # another order would move every learner's page
    orders = {
        tuple(c.id for c in variants.present(asked, variants.student_seed(b"s", str(i))).choices)
        for i in range(200)
    }
    assert len(orders) > 50


def test_every_fault_of_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "03.yaml"
    path.write_text(
        'id: "03"\ntitle: T\nlesson: "03"\nversion: 1\nquestions:\n'
        "  - id: 03.q1\n    type: single\n    objective: '03.1'\n    section: s\n    stem: a\n"
        "    explanation: e\n    options:\n      - {text: x, feedback: f}\n"
        "      - {text: X, feedback: f}\n"
        "  - id: 03.q2\n    type: numeric\n    objective: '03.1'\n    section: s\n"
        "    stem: 'what of {n}'\n    explanation: e\n    answer: 'n * m'\n"
        "    variables: {n: [1]}\n    colour: red\n"
        "  - id: 03.q3\n    type: riddle\n"
    )
    with pytest.raises(DataError, match="faults in the quiz") as caught:
        schema.load_quiz(path)
    text = str(caught.value)
    assert f"{path}:6, 03.q1" in text and "exactly one option must be correct, 0 are" in text
    assert f"{path}:23, 03.q2" in text and "colour" in text
    assert f"{path}:24, 03.q3" in text and "riddle" in text


def test_expressions_are_arithmetic_only() -> None:
    assert evaluate("tp / (tp + fp)", {"tp": 30, "fp": 10}) == 0.75
    assert evaluate("round(2 ** 3 * sqrt(4) - 1)", {}) == 15
    for bad in (
        "__import__('os')",
        "a.b",
        "[1]",
        "x",
        "1/0",
        "9 ** 99",
        "exp(9999)",
        "'a'",
        "f(x=1)",
    ):
        with pytest.raises(ValueError, match=r"."):
            evaluate(bad, {"a": 1})


@pytest.mark.parametrize(
    ("name", "model"),
    [("quiz.schema.json", schema.Quiz), ("exercises/exercises.schema.json", ExerciseFile)],
)
def test_the_published_schema_is_that_of_the_code(name: str, model: Any) -> None:
    assert json.loads((ROOT / "quizzes" / name).read_text()) == model.model_json_schema()
