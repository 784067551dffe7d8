"""One page a student: points, what was answered, feedback and explanation. Nothing is loaded.

Texts of students are escaped and cut; texts of the keys are Markdown without HTML or pictures
from elsewhere. The pages hold no script, and a policy in their head forbids any.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.quiz import render, schema, variants
from course_lib.quiz.grade import grade
from course_lib.quiz.records import Choice
from course_lib.teach.grading.gradebook import Gradebook, Mark
from course_lib.teach.grading.marker import Marker

LONGEST_ANSWER, LONGEST_CODE, MOST_HISTORY, MOST_ITEMS = 2000, 6000, 200, 1000
WORDS = {"right": "right", "partial": "partly right", "wrong": "wrong", "blank": "not answered",
         "needs_review": "a person will look at it", "queued": "not run yet",
         "void": "taken out: everybody has its points"}  # fmt: skip
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;
color:#1b1b1b}section{border-top:1px solid #bbb;padding:.6rem 0}
.meta{color:#555;font-size:.9em}.mine{border-left:4px solid #0072b2;padding-left:.8rem}
.why{border-left:4px solid #2e7d32;padding-left:.8rem}
pre{white-space:pre-wrap;background:#f2f2f2;padding:.4rem .6rem;overflow-wrap:anywhere}
table{border-collapse:collapse}th,td{padding:.2rem .6rem;text-align:left;
border-bottom:1px solid #ccc;overflow-wrap:anywhere}
"""


def write_pages(book: Gradebook, marker: Marker, folder: Path) -> dict[str, Path]:
    """Write a page for each student who has marks.

    Args:
        book: the gradebook. marker: keys, and the secret that decides each student's variant.
        folder: where the pages go.

    Returns:
        The page's file of each student.

    Raises:
        StorageError: when a page cannot be written.
    """
    written: dict[str, Path] = {}
    rows = book.db.execute(
        "SELECT DISTINCT m.student, s.name FROM marks m LEFT JOIN students s USING(student) "
        "ORDER BY m.student"
    ).fetchall()
    for student, name in rows:
        path = folder / file_name(student)
        files.write_text(path, page(book, marker, student, name or ""))
        written[student] = path
    return written


def file_name(student: str) -> str:
    """Give a name for a student's page that is safe on every system and given to nobody else."""
    reserved = re.fullmatch(r"(com|lpt)[0-9]", student)  # CON and AUX are too short
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{3,39}", student) and not reserved:
        return f"{student}.html"
    plain = re.sub(r"[^a-z0-9_-]+", "_", student.lower())[:40].strip("_-") or "student"
    return f"{plain}.{files.sha256_bytes(student.encode('utf-8', 'replace'))[:12]}.html"


def page(book: Gradebook, marker: Marker, student: str, name: str = "") -> str:
    """Give one student's page."""
    marks = list(book.marks("WHERE student=?", (student,)))[:MOST_ITEMS]
    values = dict(book.db.execute(
        "SELECT a.id, a.value FROM marks m JOIN answers a ON a.id = m.answer WHERE m.student=?",
        (student,),
    ).fetchall())  # fmt: skip
    title = escaped(f"Marks of {name or student}", 200)
    parts = [f"<h1>{title}</h1>", _total(marks), _lateness(book, student)]
    quiz = ""
    for mark in marks:
        if mark.quiz != quiz:
            quiz = mark.quiz
            known = marker.keys.quizzes.get(quiz)
            parts.append(f"<h2>{escaped(f'{quiz} {known.title}' if known else quiz, 200)}</h2>")
            parts.append(_total([m for m in marks if m.quiz == quiz]))
        given = values.get(mark.answer) if mark.answer is not None else None
        parts.append(_item(marker, mark, json.loads(given) if given else None))
    parts.append(_history(book, student))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def escaped(text: str, most: int = LONGEST_ANSWER) -> str:
    """Give a text cut, without unprintable characters but line breaks, and escaped."""
    cut = text if len(text) <= most else text[:most] + f" … ({len(text):,} characters)"
    shown = (c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in cut)
    return html.escape("".join(shown))


def _total(marks: Iterable[Mark]) -> str:
    listed = list(marks)
    points, most = sum(m.points for m in listed), sum(m.out_of for m in listed)
    waits = sum(m.outcome in ("queued", "needs_review") for m in listed)
    more = f"; {waits} to be marked yet" if waits else ""
    return f"<p><strong>{_number(points)} of {_number(most)} points</strong>{more}</p>"


def _number(value: float) -> str:
    return f"{round(value, 2):g}"


def _lateness(book: Gradebook, student: str) -> str:
    rows = book.db.execute(
        "SELECT handed_in, late_seconds FROM submissions WHERE student=? ORDER BY id", (student,)
    )
    shown = []
    for handed_in, late in rows:
        told = f", late by {timedelta(seconds=late)}" if late else ""
        shown.append(f"<li>handed in {escaped(str(handed_in)[:19], 40)} UTC{told}</li>")
    return f"<ul>{''.join(shown[:50])}</ul>"


def _item(marker: Marker, mark: Mark, answer: Any) -> str:
    detail = json.loads(mark.detail)
    told = [f"{_number(mark.points)} of {_number(mark.out_of)} points",
            WORDS.get(mark.outcome, mark.outcome)]  # fmt: skip
    if hints := detail.get("hints"):
        told.append(f"hints opened: {hints}, at {detail.get('cost', 0):.0%} of the points")
    if (kept := detail.get("kept", 1.0)) != 1.0:
        told.append(f"late: {kept:.0%} of the points count")
    head = f'<h3>{escaped(mark.item, 80)}</h3><p class="meta">{escaped("; ".join(told), 400)}</p>'
    if mark.kind == "exercise":
        return f"<section>{head}{_exercise(marker, mark, answer, detail)}</section>"
    question = marker.keys.question(mark.quiz, mark.item)
    if question is None:
        return f"<section>{head}</section>"
    if said := detail.get("told"):
        head += f"<p>{escaped(str(said))}</p>"
    return f"<section>{head}{_question(marker, mark, question, answer)}</section>"


def _exercise(marker: Marker, mark: Mark, answer: Any, detail: Mapping[str, Any]) -> str:
    exercise = marker.keys.exercises.get(mark.item)
    title = f"<p><strong>{escaped(exercise.title)}</strong></p>" if exercise else ""
    source = answer.get("source") if isinstance(answer, dict) else None
    shown = ""
    if isinstance(source, str) and source.strip():
        shown = f'<div class="mine"><pre>{escaped(source, LONGEST_CODE)}</pre></div>'
    return f"{title}{shown}<p>{escaped(str(detail.get('told', '')))}</p>"


def _question(marker: Marker, mark: Mark, asked: schema.Question, answer: Any) -> str:
    seed = marker.seed(mark.student)
    shown = variants.present(asked, seed)
    numbers = variants.values(asked, seed)
    told = [] if answer is None else _feedback(asked, answer, seed)
    why = _block(variants.fill(asked.explanation, numbers))
    return (
        f'{_block(shown.stem)}<div class="mine"><p>Your answer</p>'
        f"{_answer(asked, shown.choices, answer)}"
        f'{"".join(_block(t) for t in told)}</div><div class="why">{_right(asked, seed)}{why}</div>'
    )


def _feedback(asked: schema.Question, answer: Any, seed: bytes) -> list[str]:
    """What the options chosen say; what names the answer itself is left out."""
    if isinstance(asked, schema.Single | schema.Multiple):
        options = {f"o{i}": o for i, o in enumerate(asked.options, 1)}
        chosen = answer if isinstance(answer, list) else [answer]
        return [options[c].feedback for c in options if c in chosen]
    if isinstance(asked, schema.Experiment | schema.Artefact | schema.Code):
        return []
    found = grade(asked, answer, seed)
    return [] if found.outcome == "needs review" else list(found.feedback)


def _block(text: str) -> str:
    return re.sub(r"<img[^>]*>", "", render.block(text))


def _inline(text: str) -> str:
    return re.sub(r"<img[^>]*>", "", render.inline(text))


def _answer(asked: schema.Question, choices: Iterable[Choice], answer: Any) -> str:
    """What the student gave, in the order the student saw; as it is where it fits nothing."""
    if answer is None:
        return "<p>none</p>"
    texts = {c.id: c.text for c in choices}
    if isinstance(asked, schema.Single | schema.Multiple):
        listed = answer if isinstance(answer, list) else [answer]
        chosen = [a for a in listed if isinstance(a, str)]
        if chosen and all(a in texts for a in chosen):
            rows = (f"<li>{_inline(t)}{' <strong>(chosen)</strong>' if i in chosen else ''}</li>"
                    for i, t in texts.items())  # fmt: skip
            return f"<ul>{''.join(rows)}</ul>"
    listed = answer if isinstance(asked, schema.Ordering) and isinstance(answer, list) else []
    if listed and all(isinstance(a, str) and a in texts for a in listed):
        return f"<ol>{''.join(f'<li>{_inline(texts[a])}</li>' for a in listed)}</ol>"
    if isinstance(asked, schema.Matching) and isinstance(answer, dict):
        rights = {c.id: c.text for c in variants.targets_of(asked)}
        if all(k in texts and isinstance(v, str) and v in rights for k, v in answer.items()):
            pairs = (f"<li>{_inline(texts[k])}: {_inline(rights[v])}</li>"
                     for k, v in answer.items())  # fmt: skip
            return f"<ul>{''.join(pairs)}</ul>"
    return f"<pre>{escaped(answer if isinstance(answer, str) else json.dumps(answer))}</pre>"


def _right(asked: schema.Question, seed: bytes) -> str:
    """The right answer, in a line or a list."""
    if isinstance(asked, schema.Single | schema.Multiple):
        texts = [_inline(o.text) for o in asked.options if o.correct]
    elif isinstance(asked, schema.Numeric):
        texts = [escaped(f"{variants.right_number(asked, seed):g} {asked.unit}")]
    elif isinstance(asked, schema.ShortText):
        texts = [escaped(asked.accept[0])]
    elif isinstance(asked, schema.Ordering):
        texts = [_inline(i) for i in asked.items]
    elif isinstance(asked, schema.Matching):
        texts = [f"{_inline(p.left)}: {_inline(p.right)}" for p in asked.pairs]
    else:
        return ""
    return f"<p>Right</p><ul>{''.join(f'<li>{t}</li>' for t in texts)}</ul>"


def _history(book: Gradebook, student: str) -> str:
    """What was marked again, and why."""
    rows = book.db.execute(
        "SELECT time, item, before, after, why FROM history WHERE student=? AND action<>'grade' "
        "ORDER BY id DESC LIMIT ?", (student, MOST_HISTORY),
    ).fetchall()  # fmt: skip
    if not rows:
        return ""
    lines = "".join(
        f"<tr><td>{escaped(str(time)[:10], 20)}</td><td>{escaped(item, 80)}</td>"
        f"<td>{_number(before or 0)}</td><td>{_number(after)}</td><td>{escaped(why, 500)}</td></tr>"
        for time, item, before, after, why in rows
    )
    return (
        "<h2>Marked again</h2><table><thead><tr><th>day</th><th>item</th><th>before</th>"
        f"<th>after</th><th>why</th></tr></thead><tbody>{lines}</tbody></table>"
    )
