"""Build lesson notebooks from their MyST sources: convert, run with papermill, clean, replace.

A lesson is edited in ``notebooks/source/NN_topic.md`` alone. Building goes one
way. The finished notebook replaces the old one only when every cell ran, so an
interrupted or failed build leaves the committed outputs as they were.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError, DataError, UnknownNameError, UsageError
from course_lib.teach import glossary
from course_lib.teach.lesson import NOTES
from course_lib.teach.lint import alt_text

PROFILES = ("quick", "cpu", "gpu")
CELL_TIMEOUT = 900  # seconds; the longest cell of the cpu profile takes a few minutes
KEPT_METADATA = ("kernelspec", "language_info")


@dataclass(frozen=True)
class Built:
    """One built lesson: its name, the file written, seconds taken, and the error if it failed."""

    lesson: str
    path: Path
    seconds: float
    error: str = ""


def lesson_sources(names: list[str], root: Path | None = None) -> list[Path]:
    """Give the sources of the named lessons (``03`` or a full name), or of all.

    Raises:
        UnknownNameError: for a name without a source, with close matches.
    """
    folder = (root or files.course_root()) / "notebooks" / "source"
    known = {p.stem: p for p in sorted(folder.glob("[0-9][0-9]_*.md"))}
    if not names:
        return list(known.values())
    found = []
    for name in names:
        match = [p for stem, p in known.items() if name in (stem, stem.split("_")[0])]
        if not match:
            raise UnknownNameError("lesson", name, known)
        found += match
    return found


def read_source(path: Path, *, notes: bool = False) -> Any:
    """Convert a MyST lesson to a notebook with stable cell ids and no outputs.

    Args:
        path: the source file.
        notes: keep the speaker notes; students' notebooks are made without.

    Raises:
        DataError: when the lesson has no cell tagged ``parameters`` or a cell is too long.
    """
    import jupytext

    book = jupytext.reads(files.read_text(path), fmt="md:myst")
    for number, cell in enumerate(book.cells):
        cell["id"] = f"{path.stem[:2]}-{number:03d}"
        if cell.cell_type == "code" and len(cell.source.splitlines()) > 15:
            raise DataError(
                "a code cell is too long",
                where=f"{path}, cell {number}",
                got=f"{len(cell.source.splitlines())} lines",
                expected="at most 15",
                next_step="move what it does into course_lib or split the cell",
            )
    if not notes:
        book.cells = [c for c in book.cells if NOTES not in c.metadata.get("tags", [])]
    code = [c for c in book.cells if c.cell_type == "code"]
    if not code or "parameters" not in code[0].metadata.get("tags", []):
        raise DataError("the first code cell must be tagged 'parameters'", where=str(path))
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    book.nbformat, book.nbformat_minor = 4, 5
    return book


def clean(book: Any) -> Any:
    """Strip what must not be published: widget state, progress bars, run metadata.

    Each picture gets the words of the paragraph after it as its alternative text.
    """
    book.metadata = {k: v for k, v in book.metadata.items() if k in KEPT_METADATA}
    book.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(book.cells):
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in ("tags", "slideshow")}
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.get("output_type") == "stream" and output.get("name") == "stderr":
                continue
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "data" in output and not data:
                continue
            if "image/png" in data and (alt := alt_text(book.cells, number)):
                output["metadata"] = {**output.get("metadata", {}), "image/png": {"alt": alt}}
            kept.append(output)
        cell.outputs = kept
    return book


def find_paths(book: Any) -> list[str]:
    """List absolute paths of this machine that appear in outputs (there should be none)."""
    import json

    text = json.dumps([c.get("outputs", []) for c in book.cells])
    places = {str(Path.home()), str(files.course_root()), tempfile.gettempdir()}
    return sorted(
        {m for p in places if len(p) > 1 for m in re.findall(re.escape(p) + r"/[\w./-]*", text)}
    )


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {k: os.environ.get(k) for k in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, old in before.items():
            if old is None:
                del os.environ[key]
            else:
                os.environ[key] = old


def build_lesson(source: Path, profile: str, out: Path) -> Built:
    """Run one lesson in ``profile`` and replace ``out`` with the result.

    Returns:
        The record; ``error`` is set, and ``out`` untouched, when a cell failed.
    """
    import nbformat
    import papermill

    began = time.monotonic()
    name = source.stem
    with tempfile.TemporaryDirectory() as temporary:
        raw, ran = Path(temporary) / "in.ipynb", Path(temporary) / "out.ipynb"
        nbformat.write(read_source(source), raw)
        try:
            with _environment(
                COURSE_PROFILE=profile, COURSE_RUNS=f"{temporary}/runs", TQDM_DISABLE="1"
            ):
                papermill.execute_notebook(
                    str(raw),
                    str(ran),
                    cwd=temporary,
                    kernel_name="python3",
                    execution_timeout=CELL_TIMEOUT,
                    store_widget_state=False,
                    progress_bar=False,
                )
            book = clean(nbformat.read(ran, as_version=4))
            if leaked := find_paths(book):
                raise DataError(
                    "outputs hold paths of this machine", where=name, got=str(leaked[:3])
                )
        except CourseError as error:
            return Built(name, out, time.monotonic() - began, str(error))
        except Exception as error:  # papermill, nbclient and kernel errors share no base class
            return Built(name, out, time.monotonic() - began, _short(error))
        files.write_text(out, nbformat.writes(book) + "\n")
    return Built(name, out, time.monotonic() - began)


def _short(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: " + " | ".join(lines[-2:])[:600]


def build(
    names: list[str],
    *,
    profile: str = "cpu",
    root: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Built]:
    """Build lessons into ``notebooks/NN_topic.ipynb``, one after another.

    Raises:
        UsageError: for an unknown profile.
        UnknownNameError: for an unknown lesson.
    """
    if profile not in PROFILES:
        raise UsageError(f"unknown profile {profile!r}", expected=", ".join(PROFILES))
    results = []
    folder = (root or files.course_root()) / "notebooks"
    terms = glossary.read_terms(folder / "source" / "glossary")
    if terms:
        files.write_text(folder / glossary.PAGE, glossary.page(terms))
    for source in lesson_sources(names, root):
        say(f"building {source.stem} ({profile})")
        built = build_lesson(source, profile, source.parent.parent / f"{source.stem}.ipynb")
        say(f"  {built.error or 'done'} in {built.seconds:.0f} s")
        results.append(built)
    return results
