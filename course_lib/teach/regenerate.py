"""From a lesson's MyST source to a notebook, and from an executed notebook to a published one.

A lesson is edited in ``notebooks/source/NN_topic.md`` alone. Building goes one way; the room
``building`` runs the notebooks.
"""

from __future__ import annotations

import ast
import re
import tempfile
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UnknownNameError
from course_lib.teach.lesson import NOTES
from course_lib.teach.lint import alt_text

PROFILES = ("quick", "cpu", "gpu")
KEPT_METADATA = ("kernelspec", "language_info")


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


def parameters_of(book: Any) -> set[str]:
    """Give the names that the cell tagged ``parameters`` assigns."""
    cell = next(c for c in book.cells if "parameters" in c.metadata.get("tags", []))
    return {
        target.id
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


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


def find_paths(book: Any, root: Path | None = None) -> list[str]:
    """List absolute paths of this machine that appear in outputs (there should be none)."""
    import json

    text = json.dumps([c.get("outputs", []) for c in book.cells])
    places = {str(Path.home()), str(root or files.course_root()), tempfile.gettempdir()}
    return sorted(
        {m for p in places if len(p) > 1 for m in re.findall(re.escape(p) + r"/[\w./-]*", text)}
    )
