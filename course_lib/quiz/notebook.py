"""The notebook that runs: where it lies, and the answers kept inside it."""

from __future__ import annotations

import os
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


def receipts_in(notebook: Path | None, lesson: str) -> list[dict[str, Any]]:
    """Give the attempts that receipt cells left in a notebook; [] where there are none."""
    if notebook is None or not notebook.is_file():
        return []
    try:
        content = files.read_json(notebook)
        outputs = [o for cell in content["cells"] for o in cell.get("outputs", [])]
        found = [o["data"][RECEIPT] for o in outputs if RECEIPT in o.get("data", {})]
        return [a for r in found if r.get("lesson") == lesson for a in r["attempts"]]
    except (CourseError, KeyError, TypeError, AttributeError):
        return []  # the notebook is torn or no notebook: the files beside it count
