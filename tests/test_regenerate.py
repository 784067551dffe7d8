"""Building lessons: one way, whole or not at all, nothing private in the result."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from course_lib import files
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.teach import regenerate
from course_lib.teach.building import matrix

ROOT = Path(__file__).resolve().parents[1]

LESSON = """---
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

# A lesson

```{{code-cell}} ipython3
:tags: [parameters]

import os
profile = os.environ.get("COURSE_PROFILE", "cpu")
seed = 0
```

```{{code-cell}} ipython3
{body}
```
"""


def course(folder: Path, body: str) -> Path:
    source = folder / "notebooks" / "source"
    source.mkdir(parents=True)
    (folder / "datasets").mkdir()
    (source / "03_tiny.md").write_text(LESSON.format(body=body), encoding="utf-8")
    return folder


def outputs(path: Path) -> str:
    book = nbformat.read(path, as_version=4)
    return "".join(o.get("text", "") for c in book.cells for o in c.get("outputs", []))


def test_a_lesson_is_run_in_its_profile_and_cleaned(tmp_path: Path) -> None:
    body = (
        "import sys\nimport ipywidgets\nfrom IPython.display import display\n"
        "print('profile', profile)\nprint('noise', file=sys.stderr)\n"
        "display(ipywidgets.IntSlider())"
    )
    root = course(tmp_path, body)
    (built,) = matrix.build(["03"], profiles=["quick"], root=root, out=root / "notebooks")
    assert not built.error
    book = nbformat.read(built.path, as_version=4)
    assert outputs(built.path) == "profile quick\n"
    assert "widgets" not in book.metadata
    assert "widget-view" not in built.path.read_text()
    assert all(c.execution_count for c in book.cells if c.cell_type == "code")
    nbformat.validate(book)


def test_a_failed_lesson_leaves_the_old_notebook(tmp_path: Path) -> None:
    root = course(tmp_path, "raise ValueError('this lesson is broken')")
    old = root / "notebooks" / "quick" / "03_tiny.ipynb"
    old.parent.mkdir()
    old.write_text("kept")
    (built,) = matrix.build([], profiles=["quick"], root=root, out=root / "notebooks")
    assert "this lesson is broken" in built.error
    assert old.read_text() == "kept"


def test_a_dead_kernel_is_reported_and_replaces_nothing(tmp_path: Path) -> None:
    root = course(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    (built,) = matrix.build(["03_tiny"], profiles=["quick"], root=root, out=root / "notebooks")
    assert "dead kernel, cell 2" in built.error
    assert not (root / "notebooks" / "quick" / "03_tiny.ipynb").exists()


def test_a_path_of_this_machine_is_refused(tmp_path: Path) -> None:
    root = course(tmp_path, "print(os.getcwd() + '/x')")
    (built,) = matrix.build(["03"], profiles=["quick"], root=root, out=root / "notebooks")
    assert "hold paths of this machine" in built.error


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    root = course(tmp_path, "1")
    with pytest.raises(UnknownNameError, match="03_tiny"):
        matrix.build(["03_tyni"], profiles=["quick"], root=root, out=root / "notebooks")
    with pytest.raises(UsageError, match="quick, cpu, gpu"):
        matrix.build(["03"], profiles=["fast"], root=root)


def test_a_long_cell_is_refused(tmp_path: Path) -> None:
    root = course(tmp_path, "\n".join(f"a{i} = {i}" for i in range(16)))
    with pytest.raises(DataError, match="at most 15"):
        regenerate.read_source(root / "notebooks" / "source" / "03_tiny.md")


SOURCES = sorted((files.course_root() / "notebooks" / "source").glob("[0-9][0-9]_*.md"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_committed_notebooks_match_their_source(source: Path) -> None:
    built = nbformat.read(source.parent.parent / f"{source.stem}.ipynb", as_version=4)
    fresh = regenerate.read_source(source)
    assert [(c.cell_type, c.source) for c in built.cells] == [
        (c.cell_type, c.source) for c in fresh.cells
    ]
    code = [c for c in built.cells if c.cell_type == "code"]
    assert all(c.execution_count for c in code)
    assert not any(o.output_type == "error" for c in code for o in c.outputs)
    assert "widgets" not in built.metadata
    assert not regenerate.find_paths(built)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_lesson_as_a_page_shows_its_questions_and_no_key(path: Path) -> None:
    """nbconvert makes the page from what is published: no kernel, no widget."""
    from nbconvert import HTMLExporter

    from course_lib.quiz.lint import load_bank

    page = HTMLExporter().from_filename(str(path))[0]
    quiz = next(q for q in load_bank().values() if q.lesson == path.name[:2])
    assert "Run this cell in JupyterLab to answer." in page
    plain = " ".join(page.split())
    for asked in quiz.questions:
        told = [asked.explanation, *(o.feedback for o in getattr(asked, "options", ()))]
        told += [h.text for h in asked.hints]
        for text in told:
            assert " ".join(text.split())[:60] not in plain, asked.id
