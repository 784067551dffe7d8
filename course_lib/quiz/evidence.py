"""Figures of a learner's own runs: recomputed from the predictions, never taken on trust."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from course_lib import files, metrics
from course_lib.errors import CourseError

LABEL_FIGURES = ("accuracy", "f1_macro", "precision_macro", "recall_macro")


def figure(runs: Path, pattern: str, path: str) -> Any:
    """Give the figure an experiment question asks for, from the newest run that matches.

    A figure under ``metrics.after`` that follows from the predictions (accuracy, macro
    figures, exact match, F1) is computed from ``predictions.jsonl``. Anything else, such
    as a setting or a number of steps, is read from ``run.json``.

    Args:
        runs: the folder of run folders.
        pattern: of the run folder's name, such as ``"03-intents-*"``.
        path: into ``run.json``, such as ``"metrics.after.accuracy"``.

    Returns:
        A number or text; None when no run matches, the figure is not there, or the gold
        answers beside the predictions are not those of the course's data set.
    """
    return examined(runs, pattern, path)[0]


def examined(runs: Path, pattern: str, path: str) -> tuple[Any, str]:
    """Give what :func:`figure` gives, and what is damaged in the run it was looked for in.

    Args:
        runs, pattern, path: as for :func:`figure`.

    Returns:
        The figure or None; and one sentence on a file that cannot be read or is not what a
        run writes, empty where there is no such file.
    """
    folder = runs
    try:
        for folder in sorted(runs.glob(pattern), key=lambda p: p.stat().st_mtime, reverse=True):
            if (folder / "run.json").is_file():
                return _figure(folder, path), ""
    except KeyError:
        return None, ""
    except OSError as error:
        name = Path(str(error.filename or "a file")).name
        return None, f"{folder.name}: {name}: {error.strerror or error}"
    except CourseError as error:
        name = Path(error.where.rsplit(":", 1)[0]).name
        return None, f"{folder.name}: {name or 'a file'}: {error.problem}"
    except (AttributeError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        return None, f"{folder.name}: not what a run writes: {error}"
    return None, ""


def _figure(folder: Path, path: str) -> Any:
    run = files.read_json(folder / "run.json")
    stored = _at(run, path)
    return _recomputed(folder, run, path.rsplit(".", 1)[-1]) if _after(path) else stored


def _after(path: str) -> bool:
    return path.startswith("metrics.after.")


def _at(run: Any, path: str) -> Any:
    for name in path.split("."):
        run = run[name]
    return run["value"] if isinstance(run, dict) and "value" in run else run


def _recomputed(folder: Path, run: Any, name: str) -> Any:
    stored = run["metrics"]["after"][name]
    rows = [row for _, row in files.read_jsonl(folder / "predictions.jsonl")]
    if not rows or "prediction" not in rows[0] or not isinstance(stored, int | float):
        return stored
    if not _gold_is_true(run, rows):
        return None
    value = measure(name, [row["prediction"] for row in rows], [row["gold"] for row in rows])
    return stored if value is None else value


def measure(name: str, given: list[Any], gold: list[Any]) -> float | None:
    """Compute a figure that follows from predictions; None for one that does not.

    Args:
        name: such as ``accuracy`` or ``exact_match``.
        given: what was predicted. gold: labels, or lists of accepted answers.
    """
    if all(isinstance(g, list) for g in gold) and all(isinstance(p, str) for p in given):
        measured = metrics.question_answering(given, gold)
    elif all(isinstance(g, str) for g in gold) and name in LABEL_FIGURES:
        measured = metrics.classification(gold, [str(p) for p in given])
    else:
        return None
    value = measured.get(name)
    return value if isinstance(value, float) and math.isfinite(value) else None


def _gold_is_true(run: Any, rows: list[dict[str, Any]]) -> bool:
    """Tell whether the gold answers are the data set's own, where it is the course's."""
    name = str((run.get("data") or {}).get("name", ""))
    folder = files.course_root() / "datasets" / Path(name).name
    if not name or not folder.is_dir():
        return True  # data of the learner's own
    known = _labels(folder)
    if not known:
        return True
    if not all(row.get("id") in known for row in rows):
        return False
    columns = set.intersection(*(set(known[row["id"]]) for row in rows))
    return any(all(known[row["id"]][c] == row["gold"] for row in rows) for c in columns)


def _labels(folder: Path) -> dict[str, dict[str, Any]]:
    """Give every column of a data set's test rows, by id."""
    if (folder / "test.jsonl").is_file():
        return {str(r["id"]): r for _, r in files.read_jsonl(folder / "test.jsonl") if "id" in r}
    if not (folder / "test.json").is_file():
        return {}
    articles = files.read_json(folder / "test.json")["data"]
    asked = (q for a in articles for p in a["paragraphs"] for q in p["qas"])
    return {q["id"]: {"answers": [a["text"] for a in q["answers"]]} for q in asked}


def artefact(run: Path, gold: Path, metric: str, field: str) -> float | None:
    """Measure predictions on rows whose answers only the grader has.

    Args:
        run: a folder with ``predictions.jsonl``, rows with ``id`` and ``prediction``.
        gold: the key file, JSON Lines with ``id`` and, in the rows that count, ``field``.
        metric: as for :func:`measure`. field: such as ``intent`` or ``answers``.

    Returns:
        The figure; a row without a prediction counts as wrong. None when nothing was
        handed in that can be read.
    """
    try:
        rows = files.read_jsonl(run / "predictions.jsonl")
        given = {str(row["id"]): row["prediction"] for _, row in rows}
    except (CourseError, OSError, KeyError, TypeError):
        return None
    wanted = {str(r["id"]): r[field] for _, r in files.read_jsonl(gold) if field in r}
    if not given.keys() & wanted.keys():
        return None
    return measure(metric, [str(given.get(k, "")) for k in wanted], list(wanted.values()))
