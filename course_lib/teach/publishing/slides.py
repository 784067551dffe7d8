"""The lessons as slides: nbconvert and reveal.js, which lies beside them; no network.

Slide types and speaker notes come from the lesson's source, outputs from its built notebook.
"""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError
from course_lib.teach import regenerate
from course_lib.teach.lint import alt_text
from course_lib.teach.publishing import layout, mathml, place

ASSETS = ("reveal.js", "reveal.css", "notes.js", "white.css", "slides.css", "slides.js", "LICENSE")
TEMPLATE = "slides.html.j2"
_LOCAL = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)[^)\s]*\)")
INDEX = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Slides</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ color-scheme: light dark }}
body {{ font: 18px/1.6 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto }}
</style></head><body><h1>Slides</h1><ul>
{entries}
</ul><p>Keys: arrows and space move on, S opens the speaker's view with the notes, D dark or light,
F full screen, O all slides, ? all keys.</p></body></html>
"""


def build_slides(
    names: Sequence[str],
    out: Path,
    *,
    root: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> place.Published:
    """Write one slide show a lesson, and a page that lists them.

    Args:
        names: lessons by number or name; all when empty.
        out: the folder to be written; earlier slides there are replaced at the end.
        root: the course's folder.
        say: told what happens.

    Raises:
        UsageError: when no lesson is built, or ``out`` holds something else.
        UnknownNameError: for an unknown lesson.
        DataError: when no notebook is what its source makes.
        EnvironmentProblem: when nbconvert is not installed.
    """
    place.need("nbconvert")
    root = root or files.course_root()
    ready, failed = place.built_lessons(names, root)
    titles = {}
    with place.replaced(out, "slides") as building:
        for name, source in ready.items():
            try:
                book = merged(source, root / "notebooks" / f"{name}.ipynb")
            except DataError as error:
                failed[name] = str(error)
                continue
            titles[name] = _title(book, name)
            page = show(book, titles[name])
            (building / f"{name}.html").write_text(page, encoding="utf-8")
            starts = sum(layout.kind_of(c) in ("slide", "subslide") for c in book.cells)
            say(f"{name}: {starts} slides")
        if not titles:
            raise DataError("no slides could be made", got="; ".join(failed.values()))
        reveal = building / "reveal"
        reveal.mkdir()
        for asset in ASSETS:
            shutil.copyfile(files.assets_dir() / "reveal" / asset, reveal / asset)
        links = (f'<li><a href="{n}.html">{html.escape(t)}</a></li>' for n, t in titles.items())
        index = INDEX.format(entries="\n".join(links))
        (building / "index.html").write_text(index, encoding="utf-8")
    return place.Published("slides", out, tuple(titles), failed)


def merged(source: Path, notebook: Path) -> Any:
    """Give the source's cells, notes included, with the outputs of the built notebook.

    Raises:
        DataError: when the notebook's code is not the source's.
    """
    book = regenerate.read_source(source, notes=True)
    built = [c for c in place.read_notebook(notebook).cells if c.cell_type == "code"]
    cells = [c for c in book.cells if c.cell_type == "code"]
    if [c.source for c in cells] != [c.source for c in built]:
        raise DataError(
            "the notebook was built from other code than the source has now",
            where=str(notebook),
            next_step=f"run 'course build {source.name[:2]}', then make the slides",
        )
    for cell, done in zip(cells, built, strict=True):
        cell.outputs = done.outputs
    _alternatives([c for c in book.cells if layout.kind_of(c) != "notes"])
    book.cells = layout.laid_out(book.cells)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = mathml.in_markdown(_LOCAL.sub(r"\1", cell.source))
    return book


def _alternatives(cells: Sequence[Any]) -> None:
    """Give each picture the words that describe it, where nbconvert looks for them."""
    for number, cell in enumerate(cells):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                kept = output.get("metadata", {}).get("image/png", {})
                alt = kept.get("alt") or alt_text(cells, number) or "Figure made by the code before"
                output["metadata"] = {"image/png": {**kept, "alt": alt}}


def _title(book: Any, name: str) -> str:
    sources: Iterable[str] = (c.source for c in book.cells if c.cell_type == "markdown")
    found = re.search(r"^# (.+)$", "\n".join(sources), re.M)
    return found[1].strip() if found else name


def show(book: Any, title: str) -> str:
    """Give a slide show as one page; it loads what lies in ``reveal/`` beside it."""
    from nbconvert import SlidesExporter
    from traitlets.config import Config

    settings = Config()
    settings.SlidesExporter.reveal_url_prefix = "reveal"
    settings.SlidesExporter.reveal_number = "c/t"
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_input_tags = (layout.ONLY_OUTPUT,)
    template = files.assets_dir() / "reveal" / TEMPLATE
    exporter = SlidesExporter(  # type: ignore[no-untyped-call]
        config=settings, template_file=str(template)
    )
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    book.metadata["title"] = title
    page, _ = exporter.from_notebook_node(book)
    return str(page)
