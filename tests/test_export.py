"""Exports read back by programs of others: pyslet, gift-pegjs, amc2moodle, lxml, sympy, pandas."""

from __future__ import annotations

import base64
import functools
import itertools
import json
import os
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sympy
import yaml
from lxml import etree
from lxml import html as lxml_html
from readers.programs import old_score, read_gift, read_moodle, read_qti

from course_lib import cli
from course_lib.errors import UnknownNameError, UsageError
from course_lib.quiz import expressions, render, schema, variants
from course_lib.quiz.grade import grade
from course_lib.teach.export import canvas, export
from course_lib.teach.export.gift import escape
from course_lib.teach.export.items import accepted
from course_lib.teach.grading.gradebook import Gradebook, Mark

ROOT = Path(__file__).resolve().parent.parent
BANK = [
    *sorted((ROOT / "quizzes").glob("*.yaml")),
    *sorted((ROOT / "quizzes/assessment/keys").glob("*.yaml")),
]
load = functools.cache(schema.load_quiz)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42"
    "mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NASTY = r"~ = # {x} : \ \n -> // :: [html] %50% ]]> <script>&amp; שלום مرحبا 🦉 e\u0301 *any* \*"
OWN_WORK = {"experiment", "code", "artefact"}
# What Moodle lets an answer be worth: question/engine/bank.php, the list of grade options.
MOODLE_SHARES = {
    100,
    90,
    83.33333,
    80,
    75,
    70,
    66.66667,
    60,
    50,
    40,
    33.33333,
    30,
    25,
    20,
    16.66667,
    14.28571,
    12.5,
    11.11111,
    10,
    5,
    0,
}


def text(made: str) -> str:
    """The words of a piece of HTML, by lxml, spaces and line breaks as one space."""
    return " ".join(lxml_html.fromstring(f"<div>{made}</div>").text_content().split())


def said(markdown: str, question: Any, *, line: bool = False) -> str:
    """What a learner reads; the bell of the odd quiz is not fit for XML."""
    numbers = {} if line else variants.values(question, variants.PRACTICE)
    filled = variants.fill(markdown, numbers).replace("\a", "\ufffd")
    return text((render.inline if line else render.block)(filled))


def why(question: Any) -> str:
    made = said(question.explanation, question)
    if question.type == "matching":
        made += " " + "".join(
            f"{said(p.left, question, line=True)}: {said(p.feedback, question, line=True)}"
            for p in question.pairs
            if p.feedback
        )
    return re.sub(r"\s", "", made)


def squeezed(words: str) -> str:
    return re.sub(r"\s", "", words)


def odd_quiz(folder: Path) -> Path:
    """A quiz of everything that formats stumble over."""
    common = {
        "objective": "01.1",
        "section": f"Odd {NASTY}",
        "explanation": f"Because `{NASTY}` $x^2$",
    }

    def option(words: str, right: bool) -> dict[str, Any]:
        return {"text": words, "correct": right, "feedback": f"told of {words}"}

    nasty = [
        option(f"`{NASTY}`", True),
        option("%50% of <b>bold</b>", True),
        option("[html] x\\", False),
        option("$\\frac{a}{b}$ ~=#", False),
        option("שלום", False),
    ]
    questions: list[dict[str, Any]] = [
        {
            "id": "00.q1",
            "type": "single",
            "stem": f"`{NASTY}`\n\n    code\n\n    {{~=#}}\n\n$$\\sum_i x_i$$",
            "options": nasty[1:],
            "image": {"file": "dot.png", "alt": 'a "dot" <&>'},
        },
        *(
            {
                "id": f"00.q{i}",
                "type": "multiple",
                "stem": "Which?",
                "options": nasty,
                "credit": credit,
                "points": 2.5,
                "hints": [{"text": "Look *again*", "cost": 0.1}],
            }
            for i, credit in enumerate(("all_or_nothing", "per_option", "penalty"), 2)
        ),
        {
            "id": "00.q5",
            "type": "numeric",
            "stem": "What is {n} in $x^{n}$?",
            "answer": "-n ** 2 / 3 + max(n, 2)",
            "variables": {"n": [2, 4.5]},
            "unit": "kg",
            "units": {"kg": 1, "g": 0.001},
            "tolerance": {"relative": 0.1},
        },
        {
            "id": "00.q6",
            "type": "text",
            "stem": "Name it",
            "accept": [f"{{a|b}}{NASTY}".replace("{x}", "x"), "A*"],
            "near": [{"text": "nearly=so", "feedback": "close"}],
        },
        *(
            {
                "id": f"00.q{i}",
                "type": "ordering",
                "stem": "Order",
                "credit": credit,
                "items": ["third `]]>`", "first ~", "second 🦉"],
            }
            for i, credit in enumerate(("all_or_nothing", "per_option"), 7)
        ),
        *(
            {
                "id": f"00.q{i}",
                "type": "matching",
                "stem": "Match",
                "credit": credit,
                "extra": ["a -> b"],
                "pairs": [
                    {"left": f"`{NASTY}`", "right": "~right} = 1", "feedback": "it's so"},
                    {"left": "two", "right": "zwei \\"},
                ],
            }
            for i, credit in enumerate(("all_or_nothing", "per_option"), 9)
        ),
        {
            "id": "00.q11",
            "type": "matching",
            "stem": "Maths",
            "pairs": [{"left": "a", "right": "$x$"}, {"left": "b", "right": "y"}],
        },
        {
            "id": "00.q12",
            "type": "numeric",
            "stem": "Take {n} and {m}.",
            "answer": "2 * n / (m + 1)",
            "variables": {"n": [1, 2.25], "m": [3, 5]},
            "tolerance": {"absolute": 0.01},
            "explanation": "Because of {n}, see {m}.",
        },
        {
            "id": "00.q13",
            "type": "single",
            "stem": "See ![it](http://x/y.png)",
            "options": nasty[1:3],
        },
        {"id": "00.q14", "type": "code", "stem": "Write", "exercise": "00.e1"},
        {
            "id": "00.q16",
            "type": "text",
            "stem": "Name it",
            "accept": [r"{a|b}~=#:\%1% *\n", "50%"],
            "near": [{"text": "nearly=so", "feedback": "close"}],
        },
        {"id": "00.q15", "type": "single", "stem": "bell \a rings", "options": nasty[1:3]},
    ]
    (folder / "dot.png").write_bytes(PIXEL)
    path = folder / "00_odd.yaml"
    quiz = {
        "id": "00",
        "title": f"Odd / {NASTY}",
        "lesson": "00",
        "version": 1,
        "questions": [common | q for q in questions],
    }
    path.write_text(json.dumps(quiz, ensure_ascii=False), encoding="utf-8")
    return path


def answers_for(question: Any) -> list[Any]:
    """Answers as the course takes them: right, wrong, in part, none."""
    chance = random.Random(question.id)
    if question.type == "single":
        return [None, *(f"o{i}" for i in range(1, len(question.options) + 1))]
    if question.type == "multiple":
        names = [f"o{i}" for i in range(1, len(question.options) + 1)]
        every = [
            list(c) for n in range(1, len(names) + 1) for c in itertools.combinations(names, n)
        ]
        return [None, *(every if len(every) < 40 else chance.sample(every, 40))]
    if question.type == "numeric":
        right = variants.right_number(question, variants.PRACTICE)
        room = max(question.tolerance.absolute, question.tolerance.relative * abs(right))
        return [
            None,
            right,
            right + 0.9 * room,
            right - 0.9 * room,
            right + 1.2 * room + 0.01,
            -right - 1,
        ]
    if question.type == "text":
        return [
            None,
            *accepted(question.accept)[:3],
            *(a.upper() for a in accepted(question.accept)[:1]),
            *accepted([n.text for n in question.near]),
            "no such word",
        ]
    if question.type == "ordering":
        names = [c.id for c in variants.choices_of(question)]
        every = [list(p) for p in itertools.permutations(names)]
        return every if len(every) < 30 else chance.sample(every, 30)
    lefts = [f"l{i}" for i in range(1, len(question.pairs) + 1)]
    rights = [c.id for c in variants.targets_of(question)]
    return [
        None,
        *({left: chance.choice(rights) for left in lefts} for _ in range(12)),
        dict(zip(lefts, own_pairs(question), strict=True)),
    ]


def own_pairs(question: Any) -> list[str]:
    by_text = {c.text: c.id for c in variants.targets_of(question)}
    return [by_text[p.right] for p in question.pairs]


def exported(question: Any, answer: Any) -> Any:
    """The answer with the export's identifiers, which follow the quiz file's order."""
    if answer is None:
        return None
    if question.type == "ordering":
        texts = {c.id: c.text for c in variants.choices_of(question)}
        return [f"i{question.items.index(texts[a]) + 1}" for a in answer]
    if question.type == "matching":
        texts = {c.id: c.text for c in variants.targets_of(question)}
        order = [*(p.right for p in question.pairs), *question.extra]
        return [[left, f"r{order.index(texts[right]) + 1}"] for left, right in answer.items()]
    return answer


def earned(question: Any, answer: Any) -> float:
    verdict = grade(question, answer)
    return verdict.share * verdict.points


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Path]]]:
    """The real bank and the odd quiz, in every format."""
    folder = tmp_path_factory.mktemp("export")
    odd = odd_quiz(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(schema, "load_quiz", load)  # each file is read once, not four times
        for to in export.FORMATS:
            export.export([*map(str, BANK), str(odd)], to, folder / to)
    yield folder, [*BANK, odd]


def carried(path: Path, to: str) -> list[Any]:
    """The questions of a quiz that a format must carry, said once more from the brief."""
    found = []
    for q in load(path).questions:
        maths = any("$" in p.right for p in getattr(q, "pairs", ()))
        credit = getattr(q, "credit", "")
        no = q.type in OWN_WORK or "![" in q.stem
        if to == "qti12":
            no |= q.type == "ordering" or maths
        if to in ("moodle", "gift"):
            no |= (q.type == "multiple" and credit != "penalty") or maths
            no |= q.type == "matching" and credit == "all_or_nothing"
            no |= q.type == "ordering" and credit == "per_option"
        if to == "gift":
            no |= any("->" in a for a in getattr(q, "accept", ()))
            no |= bool(q.image) or q.points != 1 or q.type == "ordering"
        if not no:
            found.append(q)
    return found


@pytest.mark.outside
def test_qti21_scores_and_tells_as_the_course_does(everything: tuple[Path, list[Path]]) -> None:
    folder, paths = everything
    wanted_of = {p.stem: {f"q{q.id}": q for q in carried(p, "qti21")} for p in paths}
    asked = {
        stem: {k: [exported(q, a) for a in answers_for(q)] for k, q in wanted.items()}
        for stem, wanted in wanted_of.items()
    }
    every = read_qti("2.1", [folder / "qti21" / f"{p.stem}.zip" for p in paths], asked)
    for stem, wanted in wanted_of.items():
        read = every[stem]
        assert read.keys() == wanted.keys()
        for key, q in wanted.items():
            got = read[key]
            assert got["title"].startswith(f"{q.id} ") and got["points"] == q.points
            scores = [s["score"] for s in got["scored"]]
            assert scores == pytest.approx([earned(q, a) for a in answers_for(q)], abs=1e-9), q.id
            assert squeezed(got["told"]["explanation"]) == why(q), q.id
            assert squeezed(said(q.stem, q)) in squeezed(got["stem"]), q.id
            for i, o in enumerate(getattr(q, "options", ()), 1):
                assert squeezed(got["told"][f"o{i}"]) == squeezed(said(o.feedback, q)), q.id
                assert squeezed(got["choices"][f"o{i}"]) == squeezed(said(o.text, q, line=True)), (
                    q.id
                )
            if q.type == "single":
                assert [s["shown"] for s in got["scored"]][1] == ["explanation", "o1"]
            near = [s["shown"] for s in got["scored"] if len(s["shown"]) > 1]
            assert len(near) == len(getattr(q, "near", ())) or q.type != "text"


def words_of(node: Any) -> str:
    return node if isinstance(node, str) else "".join(map(words_of, node[2]))


@pytest.mark.outside
def test_qti12_carries_points_answers_feedback_and_credit(
    everything: tuple[Path, list[Path]],
) -> None:
    folder, paths = everything
    every = read_qti("1.2", [folder / "qti12" / f"{p.stem}.zip" for p in paths], {})
    for path in paths:
        wanted = {f"q{q.id}": q for q in carried(path, "qti12")}
        read = every[path.stem]
        assert read.keys() == wanted.keys()
        for key, q in wanted.items():
            item = read[key]
            parts = {c[1].get("ident", c[0]): c for c in item[2] if not isinstance(c, str)}
            fields = [words_of(f) for f in parts["itemmetadata"][2][0][2]]
            assert item[1]["title"].startswith(f"{q.id} ")
            assert f"points_possible{q.points:g}" in [squeezed(f) for f in fields], q.id
            assert squeezed(text(words_of(parts["general_fb"]))) == why(q), q.id
            assert squeezed(said(q.stem, q)) in squeezed(text(words_of(parts["presentation"]))), (
                q.id
            )
            for i, o in enumerate(getattr(q, "options", ()), 1):
                assert text(words_of(parts[f"o{i}_fb"])) == said(o.feedback, q), q.id
            for answer in answers_for(q):
                given = exported(q, answer)
                if q.type == "matching" and given:
                    given = {f"response_{left}": right for left, right in given}
                got = old_score(item, given) * q.points / 100
                assert got == pytest.approx(earned(q, answer), abs=1e-5), (q.id, answer)


def test_moodle_xml_follows_its_importer(everything: tuple[Path, list[Path]]) -> None:
    folder, paths = everything
    for path in paths:
        root = etree.parse(folder / "moodle" / f"{path.stem}.xml").getroot()
        found = {
            e.findtext("idnumber"): e
            for e in root.iterfind("question")
            if e.get("type") != "category"
        }
        wanted = {q.id: q for q in carried(path, "moodle")}
        assert found.keys() == wanted.keys()
        for key, q in wanted.items():
            asked = found[key]
            assert asked.findtext("name/text").startswith(f"{q.id} ")
            assert float(asked.findtext("defaultgrade")) == q.points
            assert len(asked.findall("hint")) == len(q.hints)
            shares = [a.get("fraction") for a in asked.findall("answer")]
            if asked.get("type") != "ordering":
                assert all(abs(float(s)) in MOODLE_SHARES for s in shares), (key, shares)
            if asked.get("type") != "calculated":
                assert squeezed(text(asked.findtext("generalfeedback/text"))) == why(q)
                assert squeezed(said(q.stem, q)) in squeezed(
                    text(asked.findtext("questiontext/text"))
                )
            check_moodle(asked, q)


@pytest.mark.outside
def test_moodle_xml_is_read_by_another_program(everything: tuple[Path, list[Path]]) -> None:
    folder, paths = everything
    kinds = {"single": "question", "multiple": "questionmult", "numeric": "questionmultx"}
    seen = {kind: 0 for kind in kinds}
    every = read_moodle(*(folder / "moodle" / f"{path.stem}.xml" for path in paths))
    for path, read in zip(paths, every, strict=True):
        wanted = {
            q.id: q
            for q in carried(path, "moodle")
            if q.type in kinds and not getattr(q, "variables", None)
        }
        assert read.keys() - {"00.q5"} == wanted.keys() - {"00.q5"}  # numbers inside maths
        for key, q in wanted.items():
            got = read[key]
            seen[q.type] += 1
            assert got["kind"] == kinds[q.type]
            assert squeezed(said(q.stem, q)) in squeezed(text(got["stem"]))
            if q.type == "numeric":
                assert float(got["number"]) == variants.right_number(q, variants.PRACTICE)
            for name, correct in (("right", True), ("wrong", False)):
                assert [text(t) for t in got[name]] == [
                    said(o.text, q, line=True)
                    for o in getattr(q, "options", ())
                    if o.correct == correct
                ]
    assert seen["single"] > 60 and seen["multiple"] and seen["numeric"], seen


def check_moodle(asked: Any, q: Any) -> None:
    answers = asked.findall("answer")
    worth = [float(a.get("fraction")) for a in answers]
    if q.type in ("single", "multiple"):
        assert (asked.findtext("single") == "true") == (q.type == "single")
        assert [text(a.findtext("feedback/text")) for a in answers] == [
            said(o.feedback, q) for o in q.options
        ]
        assert [text(a.findtext("text")) for a in answers] == [
            said(o.text, q, line=True) for o in q.options
        ]
        for answer in answers_for(q):
            chosen = [answer] if isinstance(answer, str) else answer or []
            got = max(0.0, sum(worth[int(o[1:]) - 1] for o in chosen) / 100) * q.points
            assert got == pytest.approx(earned(q, answer), abs=1e-6), (q.id, answer)
    elif q.type == "numeric":
        units = {
            u.findtext("unit_name"): float(u.findtext("multiplier"))
            for u in asked.iterfind("units/unit")
        }
        assert {u: 1 / f for u, f in units.items()} == pytest.approx(
            {u: f for u, f in {**({q.unit: 1.0} if q.unit else {}), **q.units}.items() if u}
        )
        check_formula(asked, q) if asked.get("type") == "calculated" else check_number(asked, q)
    elif q.type == "text":
        literal = [a.findtext("text").replace(r"\*", "*") for a in answers]
        right = accepted(q.accept)
        assert [w for w, share in zip(literal, worth, strict=True) if share == 100] == right
        assert not any(re.search(r"(?<!\\)\*", a.findtext("text")) for a in answers)
        assert sum(share == 0 for share in worth) == len(accepted([n.text for n in q.near], right))
    elif q.type == "ordering":
        in_order = sorted(answers, key=lambda a: float(a.get("fraction")))
        assert [text(a.findtext("text")) for a in in_order] == [
            said(i, q, line=True) for i in q.items
        ]
        assert asked.findtext("gradingtype") == "ALL_OR_NOTHING"
    else:
        got = [
            (text(s.findtext("text") or "-"), s.findtext("answer/text"))
            for s in asked.findall("subquestion")
        ]
        assert got == [
            *((said(p.left, q, line=True), said(p.right, q, line=True)) for p in q.pairs),
            *(("-", said(e, q, line=True)) for e in q.extra),
        ]


def check_number(asked: Any, q: Any) -> None:
    right = variants.right_number(q, variants.PRACTICE)
    assert float(asked.findtext("answer/text")) == right
    room = max(q.tolerance.absolute, q.tolerance.relative * abs(right))
    assert float(asked.findtext("answer/tolerance")) == room


def check_formula(asked: Any, q: Any) -> None:
    """Moodle's formula, computed by sympy, gives the course's answer for every item."""
    columns = {
        d.findtext("name/text"): [
            float(v.text) for v in d.iterfind("dataset_items/dataset_item/value")
        ]
        for d in asked.iterfind("dataset_definitions/dataset_definition")
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    wanted = [
        dict(zip(sorted(q.variables), v, strict=True))
        for v in itertools.product(*(q.variables[n] for n in sorted(q.variables)))
    ]
    assert rows == wanted
    for row in rows:
        formula = re.sub(
            r"\{(\w+)\}", lambda m, row=row: f"({row[m[1]]!r})", asked.findtext("answer/text")
        )
        got = float(
            sympy.sympify(formula, locals={"pow": sympy.Pow, "max": sympy.Max, "min": sympy.Min})
        )
        assert got == pytest.approx(expressions.evaluate(q.answer, row))
    kind = asked.findtext("answer/tolerancetype")
    assert (
        float(asked.findtext("answer/tolerance"))
        == {"1": q.tolerance.relative, "2": q.tolerance.absolute}[kind]
    )
    names = re.findall(r"\{(\w+)\}", asked.findtext("questiontext/text"))
    assert set(names) == set(q.variables)


def test_numbers_are_drawn_by_moodle_where_it_can_compute_them(
    everything: tuple[Path, list[Path]],
) -> None:
    folder, paths = everything
    found = [
        e.get("type")
        for p in paths
        for e in etree.parse(folder / "moodle" / f"{p.stem}.xml").getroot()
    ]
    drawn = sum(
        bool(q.variables) for p in paths for q in carried(p, "moodle") if q.type == "numeric"
    )
    assert found.count("calculated") == drawn - 1  # the odd quiz has one number inside maths


@pytest.mark.outside
def test_gift_is_read_back_whole(everything: tuple[Path, list[Path]]) -> None:
    folder, paths = everything
    seen = 0
    every = read_gift(*(folder / "gift" / f"{path.stem}.gift.txt" for path in paths))
    for path, read in zip(paths, every, strict=True):
        found = {q["id"]: q for q in read if q["type"] != "Category"}
        wanted = {q.id: q for q in carried(path, "gift")}
        assert found.keys() == wanted.keys()
        for key, q in wanted.items():
            check_gift(found[key], q)
            seen += 1
    assert seen > 130


def check_gift(got: dict[str, Any], q: Any) -> None:
    assert got["title"].startswith(f"{q.id} ")
    assert squeezed(said(q.stem, q)) in squeezed(text(got["stem"]["text"]))
    assert squeezed(text(got["globalFeedback"]["text"])) == why(q)
    if q.type == "matching":
        pairs = [  # gift-pegjs leaves its placeholders (&&061; for =) in right-hand sides
            (
                text(p["subquestion"]["text"] or "-"),
                re.sub(r"&&(\d+);", lambda m: chr(int(m[1])), p["subanswer"]),
            )
            for p in got["matchPairs"]
        ]
        assert pairs == [
            *((said(p.left, q, line=True), said(p.right, q, line=True)) for p in q.pairs),
            *(("-", said(e, q, line=True)) for e in q.extra),
        ]
    elif q.type == "numeric":
        [choice] = got["choices"]
        right = variants.right_number(q, variants.PRACTICE)
        room = max(q.tolerance.absolute, q.tolerance.relative * abs(right))
        assert choice["text"]["number"] == pytest.approx(right) and choice["weight"] == 100
        assert choice["text"].get("range") == pytest.approx(room)
    elif q.type == "text":
        right = {c["text"]["text"] for c in got["choices"] if c["weight"] == 100}
        assert {w.replace(r"\*", "*") for w in right} == set(accepted(q.accept))
        near = [c["feedback"]["text"] for c in got["choices"] if c["weight"] == 0]
        assert [text(n) for n in near] == [said(n.feedback, q) for n in q.near]
    else:
        assert [text(c["text"]["text"]) for c in got["choices"]] == [
            said(o.text, q, line=True) for o in q.options
        ]
        assert [text(c["feedback"]["text"]) for c in got["choices"]] == [
            said(o.feedback, q) for o in q.options
        ]
        assert [c["isCorrect"] for c in got["choices"]] == [o.correct for o in q.options]


@pytest.mark.outside
def test_gift_keeps_every_sign_of_its_own(tmp_path: Path) -> None:
    words = r"\~\=\#\{\}\: a\\nb c\nd ::x:: ### %100% [plain]" + "\nnew\n\nline"
    file = tmp_path / "one.gift"
    file.write_text(
        f"::{escape(words)}::[html]{escape(words)} {{\n={escape(words)}#{escape(words)}\n~no\n}}\n"
    )
    [[got]] = read_gift(file)
    assert got["stem"]["text"] == words
    assert got["choices"][0]["text"]["text"] == got["choices"][0]["feedback"]["text"] == words


def test_refusals_name_question_format_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = odd_quiz(tmp_path)
    for to in ("qti12", "qti21", "moodle", "gift"):
        missing = {q.id for q in load(odd).questions} - {q.id for q in carried(odd, to)}
        code = cli.main(["export", str(odd), "--to", to, "--out", str(tmp_path / to)])
        told = capsys.readouterr()
        lines = re.findall(r"^(\S+): not in (\S+): .+ -> .+", told.err, re.M)
        assert code == 1 and set(lines) == {(q, to) for q in missing}
        assert f"{len(missing)} refused" in told.out


def test_strict_writes_nothing_and_lossy_names_each_loss(tmp_path: Path) -> None:
    odd = odd_quiz(tmp_path)
    report = export.export([str(odd)], "moodle", tmp_path / "strict", strict=True)
    assert report.refused and not report.files and not (tmp_path / "strict").exists()
    report = export.export([str(odd)], "moodle", tmp_path / "lossy", lossy=True)
    assert {r.question for r in report.refused} == {"00.q11", "00.q13", "00.q14"}
    assert {q for q, note in report.notes if "lost" in note} == {"00.q2", "00.q3", "00.q8", "00.q9"}


def test_another_process_gives_the_same_bytes(
    everything: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    folder, paths = everything
    code = (
        "import sys; from pathlib import Path; from course_lib.teach.export import export\n"
        "for to in export.FORMATS: export.export(sys.argv[2:], to, Path(sys.argv[1]) / to)"
    )
    some = [str(p) for p in paths[-2:]]
    subprocess.run(
        [sys.executable, "-c", code, tmp_path, *some],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
    )
    again = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()}
    assert again == {name: (folder / name).read_bytes() for name in again}
    assert len(again) == 8


def test_packages_hold_what_their_manifest_names(everything: tuple[Path, list[Path]]) -> None:
    folder, paths = everything
    for to, path in itertools.product(("qti12", "qti21"), paths):
        with zipfile.ZipFile(folder / to / f"{path.stem}.zip") as opened:
            assert opened.testzip() is None
            root = etree.fromstring(opened.read("imsmanifest.xml"))
            named = {e.get("href") for e in root.iter("{*}file")}
            assert named | {"imsmanifest.xml"} == set(opened.namelist())
            assert {e.get("identifierref") for e in root.iter("{*}dependency")} <= {
                e.get("identifier") for e in root.iter("{*}resource")
            }
            for name in opened.namelist():
                if name.endswith(".xml"):
                    etree.fromstring(opened.read(name))


def test_pictures_and_draws_go_along(everything: tuple[Path, list[Path]]) -> None:
    folder, _ = everything
    for to, name in (("qti12", "images/00-q1.png"), ("qti21", "items/images/00-q1.png")):
        with zipfile.ZipFile(folder / to / "00_odd.zip") as opened:
            assert opened.read(name) == PIXEL
    root = etree.parse(folder / "moodle" / "00_odd.xml").getroot()
    [file] = root.iter("file")
    shown = lxml_html.fromstring(file.getparent().findtext("text")).find(".//img")
    assert base64.b64decode(file.text) == PIXEL
    assert (
        shown.get("src") == f"@@PLUGINFILE@@/{file.get('name')}"
        and shown.get("alt") == 'a "dot" <&>'
    )
    draw = load(BANK[-1]).draw
    with zipfile.ZipFile(folder / "qti21" / "assessment.zip") as opened:
        test = etree.fromstring(opened.read("test.xml"))
        got = {
            s.get("title"): int(s.find("{*}selection").get("select"))
            for s in test.iter("{*}assessmentSection")
            if s.find("{*}selection") is not None
        }
    with zipfile.ZipFile(folder / "qti12" / "assessment.zip") as opened:
        old = etree.fromstring(opened.read("quiz-assessment/quiz-assessment.xml"))
        counts = {
            s.get("title"): int(s.findtext(".//{*}selection_number"))
            for s in old.iter("{*}section")
            if s.get("title")
        }
    assert got == counts == draw


def test_no_script_is_live_in_any_export(everything: tuple[Path, list[Path]]) -> None:
    folder, _ = everything
    with zipfile.ZipFile(folder / "qti21" / "00_odd.zip") as opened:
        for name in opened.namelist():
            assert b"<script" not in opened.read(name)
    for field in etree.parse(folder / "moodle" / "00_odd.xml").iter("text"):
        if field.getparent().get("format") == "html":
            assert not list(lxml_html.fromstring(f"<div>{field.text or ''}</div>").iter("script"))


@pytest.fixture
def gradebook(tmp_path: Path) -> Path:
    path = tmp_path / "gradebook.sqlite"
    with Gradebook(path) as book, book.transaction():
        book.add_student("s1", '=HYPERLINK("http://x")', "A", enrolled=True)
        book.add_student("s2", "Ütz, 🦉", "", enrolled=True)
        book.add_student("@s3", "", "", enrolled=False)
        for student, quiz, item, points in (
            ("s1", "03", "03.q1", 1.0),
            ("s1", "03", "03.q2", 0.25),
            ("s2", "03", "03.q1", 0.0),
            ("s1", "assessment", "a1", 2.0),
        ):
            mark = Mark(student, quiz, item, "question", points, 2.0, points / 2, "partial")
            book.set_mark(mark, action="grade", why="test", before=None)
    return path


def test_canvas_csv(gradebook: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.csv"
    assert (
        cli.main(["export", "--to", "canvas-csv", "--gradebook", str(gradebook), "--out", str(out)])
        == 0
    )
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert list(table) == [*canvas.COLUMNS, "Quiz 03", "Quiz assessment"]
    assert table.iloc[0].tolist() == ["    Points Possible", "", "", "", "", "4", "2"]
    rows = {r["SIS Login ID"]: r for _, r in table.iloc[1:].iterrows()}
    assert rows["s1"]["Student"] == '\'=HYPERLINK("http://x")' and rows["s1"]["Section"] == "A"
    assert (rows["s1"]["Quiz 03"], rows["s1"]["Quiz assessment"]) == ("1.25", "2")
    assert (rows["s2"]["Quiz 03"], rows["s2"]["Quiz assessment"]) == ("0", "")
    assert "'@s3" in rows
    other = canvas.grades(gradebook, student_is="sis-user")[0]
    assert "'@s3,,'@s3,,," in other


def test_wrong_calls_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError, match="unknown quiz '77'"):
        export.find_quiz("77")
    with pytest.raises(UsageError, match="no folder of keys"):
        export.find_quiz("03", tmp_path / "none")
    with pytest.raises(UsageError, match="several quizzes do not go into one file"):
        export.export(["01", "02"], "gift", tmp_path / "one.txt")
    with pytest.raises(UsageError, match="no gradebook"):
        canvas.grades(tmp_path / "none.sqlite")
    assert cli.main(["export", "--to", "gift"]) == 2
    assert cli.main(["export", "03", "--to", "canvas-csv"]) == 2
    assert "which quiz" in capsys.readouterr().err


def test_keys_of_the_instructor_come_first_and_one_file_is_named(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    own = yaml.safe_load(BANK[3].read_text(encoding="utf-8"))
    own["title"] = "My own"
    (keys / BANK[3].name).write_text(yaml.safe_dump(own), encoding="utf-8")
    out = tmp_path / "mine.xml"
    report = export.export([own["id"]], "moodle", out, keys=keys)
    assert report.files == [out] and "My own" in out.read_text(encoding="utf-8")
    other = export.export(["01"], "gift", tmp_path / "v", variant=3)
    assert any("fixed" in note for _, note in other.notes)
