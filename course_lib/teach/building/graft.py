"""Put saved outputs into a lesson whose words changed; only cells that show questions are run.

The code cells must be the same, one for one. Cells that call ``quiz``, ``ask``, ``ex`` or
``receipt`` show files that change more often than lessons; they are run in a notebook of their own,
which takes seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.teach import regenerate
from course_lib.teach.building import runner

INJECTED = "injected-parameters"
_ASKS = re.compile(r"(?<![\w.])(?:quiz|ask|ex|receipt)\(\s*[\"']")
PRELUDE = "from course_lib.quiz.session import ask, ex, quiz, receipt"


def own(book: Any) -> list[Any]:
    """Give the cells without the one papermill put in for parameters."""
    return [c for c in book.cells if INJECTED not in c.metadata.get("tags", [])]


def _code(book: Any) -> list[Any]:
    return [c for c in own(book) if c.cell_type == "code"]


def copy(book: Any) -> Any:
    """Give a copy of a notebook that can be changed."""
    import nbformat

    return nbformat.reads(nbformat.writes(book), as_version=4)


def same_words(book: Any, path: Path) -> bool:
    """Tell whether a built notebook has the cells of ``book``, outputs aside."""
    import nbformat

    pairs = [
        [(c.cell_type, c.source, c.metadata) for c in own(one)]
        for one in (nbformat.read(path, as_version=4), regenerate.clean(copy(book)))
    ]
    return bool(pairs[0] == pairs[1])


def same_code(book: Any, path: Path) -> bool:
    """Tell whether a built notebook has the code of ``book``, cell for cell, and outputs."""
    import nbformat

    if not path.is_file():
        return False
    saved = _code(nbformat.read(path, as_version=4))
    return [c.source for c in saved] == [c.source for c in _code(book)]


def renewed(book: Any, path: Path, profile: str, *, questions: bool) -> str:
    """Write ``book`` to ``path`` with the outputs that lie there.

    Args:
        book: without outputs, with the code of the notebook at ``path``.
        path: the built notebook.
        profile: the kernel's, for the cells that are run.
        questions: run the cells that show questions and exercises.

    Returns:
        What ended the run of those cells; ``""`` when all is well and written.
    """
    import nbformat

    saved, new = nbformat.read(path, as_version=4), copy(book)
    for before, cell in zip(_code(saved), _code(new), strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    if questions and (error := _ask_again(new, profile)):
        return error
    injected = [c for c in saved.cells if INJECTED in c.metadata.get("tags", [])]
    place = 1 + new.cells.index(_code(new)[0])
    new.cells[place:place] = injected
    files.write_text(path, nbformat.writes(regenerate.clean(new)) + "\n")
    return ""


def _ask_again(book: Any, profile: str) -> str:
    """Run the cells that show questions; put what they give into ``book``."""
    import nbformat

    asking = [c for c in _code(book) if _ASKS.search(c.source)]
    alone = nbformat.v4.new_notebook(metadata=book.metadata)
    alone.cells = [nbformat.v4.new_code_cell(PRELUDE), *copy_cells(asking)]
    ran = runner.run(runner.Job("questions", nbformat.writes(alone), profile, cell_seconds=60))
    if ran.kind:
        return f"{ran.kind}: {ran.error}"
    given = nbformat.reads(ran.notebook, as_version=4).cells[1:]
    for cell, shown in zip(asking, given, strict=True):
        cell.outputs = shown.outputs
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = cell.execution_count
    return ""


def copy_cells(cells: list[Any]) -> list[Any]:
    """Give new code cells with the same source."""
    import nbformat

    return [nbformat.v4.new_code_cell(c.source) for c in cells]
