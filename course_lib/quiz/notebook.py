"""The notebook that runs: where it lies, and the answers kept inside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError

RECEIPT = "application/vnd.course.receipt+json"


def notebook_path() -> Path | None:
    """Give the notebook that runs, as JupyterLab tells its kernels; None elsewhere."""
    path = Path(os.environ.get("JPY_SESSION_NAME", ""))
    return path if path.is_absolute() and path.suffix == ".ipynb" else None


def notebook_folder() -> Path:
    """Give the folder of the notebook that runs; the working folder outside JupyterLab."""
    path = notebook_path()
    return path.parent if path else Path.cwd()


def _receipts(notebook: Path) -> list[dict[str, Any]]:
    """Give the receipts of a notebook as ``{"lesson", "attempts"}``.

    One that is torn or cannot be read counts as one without: the files beside it count.
    """
    try:
        if RECEIPT.encode() not in notebook.read_bytes():
            return []
        content = files.read_json(notebook)
        outputs = [o for cell in content["cells"] for o in cell.get("outputs", [])]
        found = [o["data"][RECEIPT] for o in outputs if RECEIPT in o.get("data", {})]
        return [{"lesson": str(r["lesson"]), "attempts": list(r["attempts"])} for r in found]
    except (CourseError, OSError, KeyError, TypeError, AttributeError):
        return []


def receipts_in(notebook: Path | None, lesson: str) -> list[dict[str, Any]]:
    """Give the attempts that receipt cells left in a notebook; [] where there are none."""
    found = _receipts(notebook) if notebook else []
    return [a for r in found if r["lesson"] == lesson for a in r["attempts"]]


def with_receipts(work: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield each notebook of a folder whose receipt cells hold attempts, with the receipts."""
    for path in sorted(work.glob("*.ipynb")):
        kept = _receipts(path)
        if any(r["attempts"] for r in kept):
            yield path, kept
