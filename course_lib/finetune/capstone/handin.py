"""The two tasks of the final assessment: predictions for texts whose labels you do not have.

A run folder with ``run.json`` and ``predictions.jsonl`` (rows with ``id`` and ``prediction``) is
what is handed in; the figure is computed when it is marked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import UsageError
from course_lib.finetune import formats, runs, sources
from course_lib.finetune.lineage import run_facts
from course_lib.finetune.records import Example

SET = "assessment_hidden"


def tickets() -> list[Example]:
    """Give the 200 messages whose intents are asked for; they have no label."""
    path = sources.course_file(SET, "tickets.jsonl")
    return [Example(id=row["id"], text=row["text"]) for _, row in files.read_jsonl(path)]


def questions() -> list[Example]:
    """Give the 60 questions, each with its passage as ``text``; they have no answers."""
    path = sources.course_file(SET, "passages.json")
    return [
        Example(id=row["id"], text=row["context"], question=row["question"])
        for _, row in formats.read_rows(path)
    ]


def hidden_intents(run: Path | str, out: Path | str) -> Path:
    """Let a finished classification run name the intent of every hidden message.

    Args:
        run: the folder of a run fine-tuned on support_tickets.
        out: the folder to hand in, such as ``runs/10-hidden-intents``; replaced if there.

    Raises:
        UsageError: when the run was made for another task or other labels.
    """
    facts = run_facts(run)
    if facts["task"] != "classification":
        raise UsageError(
            "this run does not sort messages", where=str(run), got=str(facts["task"]),
            expected="classification", next_step="fine-tune on support_tickets first",
        )  # fmt: skip
    rows = tickets()
    found = runs.predict_run(run, [row.text for row in rows])
    return hand_in(out, rows, [p["prediction"] for p in found], run)


def hidden_answers(
    run: Path | str, out: Path | str, shorten: Callable[[Example], Example] = lambda row: row
) -> Path:
    """Let a finished question-answering run answer every hidden question.

    Args:
        run: the folder of a run fine-tuned on questions with passages.
        out: the folder to hand in, such as ``runs/10-hidden-answers``; replaced if there.
        shorten: what is done to a row first, such as ``passages.nearest_sentence``.

    Raises:
        UsageError: when the run was made for another task.
    """
    facts = run_facts(run)
    if facts["task"] != "question-answering":
        raise UsageError(
            "this run does not answer questions", where=str(run), got=str(facts["task"]),
            expected="question-answering", next_step="fine-tune on handbook_qa first",
        )  # fmt: skip
    rows = [shorten(row) for row in questions()]
    found = runs.predict_run(run, [f"{row.question}\t{row.text}" for row in rows])
    return hand_in(out, rows, [p["prediction"] for p in found], run)


def hand_in(
    out: Path | str, rows: Sequence[Example], predictions: Sequence[str], run: Path | str | None
) -> Path:
    """Write predictions as the folder that is marked, whole or not at all.

    Args:
        out: the folder. rows: what was asked. predictions: one a row.
        run: the run that made them; None for a method without a run, such as a baseline.

    Returns:
        The folder.

    Raises:
        UsageError: when there are not as many predictions as rows.
    """
    if len(rows) != len(predictions):
        raise UsageError(
            "a prediction for each row is needed", got=str(len(predictions)),
            expected=str(len(rows)),
        )  # fmt: skip
    content: dict[str, Any] = {
        "schema": 1, "task": "prediction", "data": {"name": SET, "rows": {"test": len(rows)}},
        "made_by": None if run is None else _maker(Path(run)),
        "metrics": {"before": {}, "after": {}, "baselines": {}},
    }  # fmt: skip
    lines = (
        json.dumps({"id": row.id, "prediction": text}, ensure_ascii=False) + "\n"
        for row, text in zip(rows, predictions, strict=True)
    )
    with files.new_folder(Path(out)) as temporary:
        files.write_text(temporary / "predictions.jsonl", "".join(lines))
        files.write_json(temporary / "run.json", content)
    return Path(out)


def _maker(run: Path) -> dict[str, Any]:
    """Name the run that predicted, with the digest of its record and its settings."""
    facts = run_facts(run)
    return {
        "run": run.name, "sha256": files.sha256_file(run / "run.json"),
        "base": facts["base"], "data": facts["data"], "settings": facts["settings"],
        "seed": facts["seed"],
    }  # fmt: skip
