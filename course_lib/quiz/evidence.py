"""Figures of a learner's own runs: recomputed from the predictions, never taken on trust."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from course_lib import files, metrics
from course_lib.errors import CourseError


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
        A number or text; None when no run matches or the figure is not there.
    """
    found = sorted(runs.glob(pattern), key=lambda p: p.stat().st_mtime, reverse=True)
    for folder in found:
        if not (folder / "run.json").is_file():
            continue
        try:
            stored = _at(files.read_json(folder / "run.json"), path)
            return _recomputed(folder, path.rsplit(".", 1)[-1], stored) if _after(path) else stored
        except (CourseError, KeyError, TypeError, ValueError):
            return None
    return None


def _after(path: str) -> bool:
    return path.startswith("metrics.after.")


def _at(run: Any, path: str) -> Any:
    for name in path.split("."):
        run = run[name]
    return run["value"] if isinstance(run, dict) and "value" in run else run


def _recomputed(folder: Path, name: str, stored: Any) -> Any:
    rows = [row for _, row in files.read_jsonl(folder / "predictions.jsonl")]
    if not rows or "prediction" not in rows[0] or not isinstance(stored, int | float):
        return stored
    given = [row["prediction"] for row in rows]
    if isinstance(rows[0]["gold"], list) and isinstance(given[0], str):
        measured = metrics.question_answering(given, [row["gold"] for row in rows])
    elif isinstance(rows[0]["gold"], str) and name in ("accuracy", "f1_macro", "precision_macro",
                                                       "recall_macro"):  # fmt: skip
        measured = metrics.classification([row["gold"] for row in rows], given)
    else:
        return stored
    value = measured.get(name, stored)
    return value if isinstance(value, float) and math.isfinite(value) else None
