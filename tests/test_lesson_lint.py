"""`course check` on lessons: each planted fault is reported, and the clean lesson is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from course_lib import files
from course_lib.errors import DataError
from course_lib.quiz import schema
from course_lib.teach import glossary, lint
from course_lib.teach.lesson import read_lesson

LESSON = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

+++ {"slideshow": {"slide_type": "slide"}}

# 03 · Sorting

## Learning objectives

- **03.1** say what sorting is.

+++ {"slideshow": {"slide_type": "slide"}, "tags": ["objective-03.1", "topic-T16"]}

## 1 What sorting is

A **label** names a box. Half of 3 letters went astray.

+++ {"slideshow": {"slide_type": "notes"}, "tags": ["notes"]}

Ask the room for examples.

+++

**Predict.** How many?

```{code-cell} ipython3
:tags: [parameters]

print(1)
```

## Play: a box

## What goes wrong: no box

See [label](glossary.md#label).

## Your turn

```{code-cell} ipython3
quiz("03"), receipt("03")
```

## Quiz

## Key takeaways

## Where to read more
"""
TERM = {"term": "label", "forms": ["labels"], "section": "1 What sorting is",
        "definition": "The name of a box."}  # fmt: skip


def course(folder: Path, text: str, earlier: str = "") -> Path:
    """A course of one lesson with its page, glossary and built notebook."""
    source = folder / "notebooks" / "source"
    (source / "glossary").mkdir(parents=True)
    (folder / "quizzes").mkdir()
    (source / "03_sorting.md").write_text(text, encoding="utf-8")
    (source / "topics.yaml").write_text('"03": {T16: sorting}\n')
    (source / "numbers.yaml").write_text("{}\n")
    (source / "glossary" / "03.yaml").write_text(json.dumps([TERM]))
    terms = glossary.read_terms(source / "glossary")
    files.write_text(source.parent / "glossary.md", glossary.page(terms))
    files.write_json(source.parent / "03_sorting.ipynb", {"cells": []})
    return folder


def faults(folder: Path) -> list[str]:
    """What is wrong besides the question that the tiny course does not ask."""
    return [p for p in lint.check(folder) if "no question is about" not in p]


def test_a_clean_lesson_has_no_fault(tmp_path: Path) -> None:
    assert faults(course(tmp_path, LESSON)) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("## Key takeaways", "## Ends", "no section 'Key takeaways'"),
        (
            "## Key takeaways",
            '+++ {"slideshow": {"slide_type": "notes"}, "tags": ["notes"]}\n\n## Key takeaways',
            "no section 'Key takeaways'",  # what is in the speaker notes no reader sees
        ),
        ("**Predict.**", "Predict.", "begins with"),
        ('"objective-03.1", ', "", "no cell is tagged objective-03.1"),
        ("topic-T16", "topic-T17", "T17 belongs to another lesson"),
        ("topic-T16", "other", "no cell is tagged topic-T16"),
        ("Half of 3 letters", "A share of 0.38", "'0.38' is typed"),
        ("Half of 3 letters", "About 38% of them", "'38%' is typed"),
        ("Half of 3 letters", "[gone](gone.png)", "gone.png does not exist"),
        ("glossary.md#label", "glossary.md#lable", "no entry 'glossary.md#lable'"),
        ("names a box", "names " + "a box " * 50, "words on one slide"),
        ("print(1)", "print(1)\n" * 16, "more than 15 lines"),
        ('receipt("03")', "None", 'no cell calls receipt("03")'),
        ("print(1)", 'ex("03.e1")', "exercise 03.e1 is not in"),
        (
            "# 03 · Sorting",
            "# 03 · Sorting\n\n## 0 Early\n\nOne label each.\n\n+++\n",
            "is used before",
        ),
        ("A **label** names", "A label names", "not in bold"),
        ("Ask the room", "Ask 3 labels", ""),
        ('slide_type": "notes"}, "tags": ["notes"]}', 'slide_type": "skip"}}', "speaker notes"),
    ],
)
def test_each_fault_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in LESSON
    found = faults(course(tmp_path, LESSON.replace(old, new)))
    assert any(told in p for p in found) if told else found == []


def test_what_waits_to_be_filled_in_is_told_with_file_and_line(tmp_path: Path) -> None:
    folder = course(tmp_path, LESSON.replace("print(1)", "print(1)  # TODO: your own rows"))
    line = LESSON.splitlines().index("print(1)") + 1
    assert faults(folder) == [
        f"notebooks/source/03_sorting.md:{line}: still to be filled in "
        "('print(1) # TODO: your own rows')"
    ]
    (folder / "quizzes" / "exercises").mkdir()
    (folder / "quizzes" / "exercises" / "04_x.yaml").write_text("lesson: x\ntitle: TODO\n")
    assert any(p.startswith("quizzes/exercises/04_x.yaml:2: ") for p in faults(folder))
    done = LESSON.replace("print(1)", "TODOS = todo = 1")
    assert faults(course(tmp_path / "done", done)) == []


def test_a_picture_without_words_is_told_and_one_with_words_has_alt_text(tmp_path: Path) -> None:
    folder = course(tmp_path, LESSON)
    picture = {"cell_type": "code", "source": "", "outputs": [{"data": {"image/png": "x"}}]}
    words = {"cell_type": "markdown", "source": ["*The figure shows a\n", "line.* And more."]}
    book = folder / "notebooks" / "03_sorting.ipynb"
    files.write_json(book, {"cells": [picture]})
    assert any("follows the picture" in p for p in faults(folder))
    files.write_json(book, {"cells": [picture, words]})
    assert faults(folder) == []
    assert lint.alt_text([picture, words], 0) == "The figure shows a line."


def test_a_number_with_a_reason_may_stay(tmp_path: Path) -> None:
    folder = course(tmp_path, LESSON.replace("Half of 3 letters", "The rule is 70% of them"))
    assert any("70%" in p for p in faults(folder))
    reason = '"03":\n  rule is 70%: the rule for the certificate\n'
    (folder / "notebooks" / "source" / "numbers.yaml").write_text(reason)
    assert faults(folder) == []


def test_a_topic_that_no_question_is_about_is_told(tmp_path: Path) -> None:
    folder = course(tmp_path, LESSON)
    lesson = read_lesson(folder / "notebooks" / "source" / "03_sorting.md")
    question = {"id": "03.q1", "type": "numeric", "objective": "03.1", "points": 1,
                "section": "1 What sorting is", "stem": "How many?", "answer": 1,
                "explanation": "One, since there is one box and no other."}  # fmt: skip
    quiz = schema.Quiz.model_validate(
        {"id": "03", "title": "t", "lesson": "03", "version": 1, "questions": [question]}
    )
    topics = {"03": {"T16": "sorting"}}
    assert any("no question is about topic T16" in p for p in lint.coverage([lesson], [], topics))
    assert lint.coverage([lesson], [quiz], topics) == []


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({**TERM, "section": ""}, "'section' is missing"),
        ({**TERM, "since": 1}, "unknown fields"),
        ({**TERM, "forms": "labels"}, "'forms' is a list"),
    ],
)
def test_a_bad_glossary_entry_names_file_and_entry(
    tmp_path: Path, entry: dict[str, object], told: str
) -> None:
    (tmp_path / "03.yaml").write_text(json.dumps([entry]))
    with pytest.raises(DataError, match=rf"03.yaml, entry 1.*{told}"):
        glossary.read_terms(tmp_path)


def test_a_term_defined_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "03.yaml").write_text(json.dumps([TERM]))
    (tmp_path / "04.yaml").write_text(json.dumps([TERM]))
    with pytest.raises(DataError, match="defined twice"):
        glossary.read_terms(tmp_path)
