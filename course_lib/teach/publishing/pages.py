"""The lessons as web pages: Sphinx with MyST-NB, from the built notebooks, nothing executed.

The folder works where it lies: no server, no network. Formulas become MathML.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError
from course_lib.teach import glossary
from course_lib.teach.lint import alt_text
from course_lib.teach.publishing import place

TITLE = "Fine-Tuning GPT, Hands-On"
SECONDS = 900  # the longest Sphinx may take
CONF = """\
project = {title!r}
html_title = {title!r}
language = "en"
extensions = ["myst_nb", "course_lib.teach.publishing.mathml"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {{}}
html_theme = "sphinx_book_theme"
html_theme_options = {{
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_prev_next": True,
    "search_as_you_type": False,
    "navbar_start": [], "navbar_center": [], "navbar_end": [], "navbar_persistent": [],
    "footer_content_items": [],
    "article_header_end": ["theme-switcher.html", "toggle-secondary-sidebar.html"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}}
html_sidebars = {{"**": ["navbar-logo.html", "search-button-field.html", "sbt-sidebar-nav.html"]}}
html_static_path = [{static!r}]
html_css_files = ["course.css"]
html_context = {{"default_mode": "auto"}}
html_show_search_summary = False  # it would fetch pages, which a folder does not allow
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_show_sphinx = False
html_show_copyright = False
"""
INDEX = """\
# {title}

A course in notebooks in which every claim is something you run. These pages show the lessons with
the outputs they were built with. To run them, and to answer the quizzes, open the course with
`course lab`.

The search box looks through all lessons. Every term is explained in the [glossary](glossary.md).

```{{toctree}}
:maxdepth: 1
{entries}
```
"""


def build_pages(
    names: Sequence[str],
    out: Path,
    *,
    root: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> place.Published:
    """Write the pages.

    Args:
        names: lessons by number or name; all when empty.
        out: the folder to be written; earlier pages there are replaced at the end.
        root: the course's folder.
        say: told what happens.

    Raises:
        UsageError: when no lesson is built, or ``out`` holds something else.
        UnknownNameError: for an unknown lesson.
        EnvironmentProblem: when Sphinx and its like are not installed.
        CourseError: when Sphinx fails; earlier pages stay.
    """
    place.need("sphinx", "myst_nb", "sphinx_book_theme")
    root = root or files.course_root()
    ready, failed = place.built_lessons(names, root)
    say(f"{len(ready)} lessons to pages")
    with tempfile.TemporaryDirectory(prefix="course-pages-") as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        _gather(source, ready, root)
        with place.replaced(out, "pages") as building:
            warnings = _sphinx(source, building, Path(scratch) / "doctrees")
            for name in (".buildinfo", "objects.inv", ".doctrees"):
                (building / name).unlink(missing_ok=True)
    return place.Published("pages", out, tuple(ready), failed, tuple(warnings))


def _gather(source: Path, ready: Iterable[str], root: Path) -> None:
    """Put together what Sphinx reads: the lessons, the glossary, pictures, its settings."""
    import nbformat

    entries = list(ready)
    for name in entries:
        book = prepared(place.read_notebook(root / "notebooks" / f"{name}.ipynb"))
        (source / f"{name}.ipynb").write_text(nbformat.writes(book), encoding="utf-8")
    terms = glossary.read_terms(root / "notebooks" / "source" / "glossary")
    (source / glossary.PAGE).write_text(glossary.page(terms), encoding="utf-8")
    if (root / "notebooks" / "images").is_dir():
        shutil.copytree(root / "notebooks" / "images", source / "images")
    index = INDEX.format(title=TITLE, entries="\n".join([*entries, "glossary"]))
    (source / "index.md").write_text(index, encoding="utf-8")
    static = str(files.assets_dir() / "pages")
    (source / "conf.py").write_text(CONF.format(title=TITLE, static=static), encoding="utf-8")


def prepared(book: Any) -> Any:
    """Make a built notebook ready for a page.

    The pictures' alternative texts go where MyST-NB looks for them. What only JupyterLab
    understands is left out, and so is the pointer to a cell that cannot be run here.
    """
    for number, cell in enumerate(book.cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in [k for k in data if k.startswith("application/vnd.")]:
                del data[kind]
            kept = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            if "image/png" in data:
                alt = kept or alt_text(book.cells, number) or "Figure made by the code above"
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
            if "text/html" in data:
                data["text/html"] = _still(data["text/html"])
    return book


def _still(page: str | list[str]) -> str:
    text = page if isinstance(page, str) else "".join(page)
    return text.replace(
        "<em>Run this cell in JupyterLab to answer.</em>",
        "<em>To answer, open this lesson with <code>course lab</code>.</em>",
    )


def _sphinx(source: Path, out: Path, doctrees: Path) -> list[str]:
    """Run Sphinx; give its warnings.

    Raises:
        CourseError: with its last words when it fails.
    """
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "--no-color",
               "-d", str(doctrees), str(source), str(out)]  # fmt: skip
    package = str(Path(__file__).resolve().parents[3])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(
            command, cwd=source, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise CourseError("Sphinx did not end", got=f"no result in {SECONDS} s") from None
    told = re.sub(re.escape(str(source)) + "/?", "", done.stderr).strip()
    if done.returncode:
        raise CourseError(
            "Sphinx could not make the pages",
            got=told[-1500:] or f"exit code {done.returncode}",
            next_step="mend the lesson that it names; earlier pages are untouched",
        )
    return [line for line in told.splitlines() if "WARNING" in line or "ERROR" in line]
