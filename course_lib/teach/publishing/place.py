"""Which lessons can be published, and where to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import EnvironmentProblem, UsageError
from course_lib.teach import regenerate

MARK = ".course-published"
INJECTED = "injected-parameters"


@dataclass(frozen=True, slots=True)
class Published:
    """What became of one publication.

    Attributes:
        kind: ``pages`` or ``slides``.
        out: the folder; ``index.html`` lies in it.
        lessons: the names of those that are in it.
        failed: name -> why it is not, and what to do.
        warnings: what the page maker complained of.
    """

    kind: str
    out: Path
    lessons: tuple[str, ...]
    failed: dict[str, str]
    warnings: tuple[str, ...] = ()


def built_lessons(names: Sequence[str], root: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Give ``(sources by name, why the others are left out)`` of the named lessons, or of all.

    Raises:
        UnknownNameError: for a name without a source.
        UsageError: when none of them is built.
    """
    ready: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for source in regenerate.lesson_sources(list(names), root):
        name = source.stem
        if (root / "notebooks" / f"{name}.ipynb").is_file():
            ready[name] = source
        else:
            failed[name] = f"there is no notebook yet; run 'course build {name[:2]}' first"
    if not ready:
        raise UsageError(
            "none of these lessons is built",
            where=str(root / "notebooks"),
            next_step="run 'course build', then publish",
        )
    return ready, failed


def read_notebook(path: Path) -> Any:
    """Read a built notebook, without the cell that papermill put in for parameters."""
    import nbformat

    book = nbformat.reads(files.read_text(path), as_version=4)
    book.cells = [c for c in book.cells if INJECTED not in c.metadata.get("tags", [])]
    return book


@contextlib.contextmanager
def replaced(out: Path, kind: str) -> Iterator[Path]:
    """Build a publication under another name; it takes the place of an earlier one at the end.

    Raises:
        UsageError: when ``out`` holds something that this command did not write.
        StorageError: when the disk is full or not writable.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file()):
        raise UsageError(
            "this folder holds something else, and would be replaced",
            where=str(out),
            expected=f"a new or empty folder, or earlier {kind}",
            next_step="name another one with --out",
        )
    with files.new_folder(out) as building:
        yield building
        (building / MARK).write_text(kind + "\n", encoding="utf-8")


def need(*modules: str) -> None:
    """Check that the instructor's libraries are there.

    Raises:
        EnvironmentProblem: naming those that are not.
    """
    import importlib.util

    if missing := [m for m in modules if importlib.util.find_spec(m) is None]:
        raise EnvironmentProblem(
            "libraries of the instructor's side are missing",
            got=", ".join(missing),
            next_step="install them with 'pip install -e .[instructor]'",
        )
