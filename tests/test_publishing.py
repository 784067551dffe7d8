"""Pages and slides from built notebooks, the live preview, and a new lesson."""

from __future__ import annotations

import html
import http.client
import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest

from course_lib import cli
from course_lib.errors import DataError, UsageError
from course_lib.quiz import lint as quiz_lint
from course_lib.quiz import render, schema, variants
from course_lib.teach import glossary, lint, regenerate
from course_lib.teach.live_preview import LiveServer, Preview
from course_lib.teach.new_lesson import new_lesson
from course_lib.teach.publishing import layout, mathml, pages, slides

ROOT = Path(__file__).resolve().parent.parent
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
SOURCE = """---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

+++ {"slideshow": {"slide_type": "slide"}}

# 41 · A tiny lesson

The loss is $-\\ln p$ and costs `$5`; see [token](glossary.md#token).

+++ {"slideshow": {"slide_type": "notes"}, "tags": ["notes"]}

Whispered to the speaker.

```{code-cell} ipython3
:tags: [parameters]

seed = 0
```

```{code-cell} ipython3
print("forty lines")
```

```{code-cell} ipython3
draw()
```

*The figure shows one dot.* And words.

+++ {"slideshow": {"slide_type": "slide"}}

## Quiz

```{code-cell} ipython3
quiz("41")
```

+++ {"slideshow": {"slide_type": "skip"}}

## Only in the notebook

```{code-cell} ipython3
print("kept off the slides")
```
"""
QUIZ = """
id: "41"
title: Tiny
lesson: "41"
version: 1
status: draft
questions:
  - id: 41.q1
    type: single
    objective: "41.1"
    section: Quiz
    stem: "What is $\\\\frac{1}{2}$ of a token?"
    explanation: Hushhush, because it is so and not otherwise at all.
    options:
      - {text: Alpha, feedback: Hushhush alpha.}
      - {text: Beta, correct: true, feedback: Hushhush beta.}
  - id: 41.q2
    type: text
    objective: "41.1"
    section: Quiz
    stem: Its name?
    accept: [hushhush]
    explanation: Hushhush, because it is so and not otherwise at all.
"""


def notebook(root: Path) -> Any:
    """The tiny lesson as it would be built: outputs, run by nobody."""
    quiz = schema.load_quiz(root / "quizzes" / "41_tiny.yaml")
    asked = [variants.present(q, variants.PRACTICE) for q in quiz.questions]
    page = render.page("Tiny", asked, root / "quizzes")
    book = regenerate.read_source(root / "notebooks" / "source" / "41_tiny.md")
    code = [c for c in book.cells if c.cell_type == "code"]
    out = nbformat.v4.new_output
    lines = "".join(f"line {n}\n" for n in range(40))
    code[1].outputs = [out("stream", name="stdout", text=lines)]
    code[2].outputs = [out("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})]
    code[3].outputs = [out("display_data", {"text/html": page, "text/plain": "quiz",
                           "application/vnd.course.receipt+json": {"a": 1}})]  # fmt: skip
    code[4].outputs = [out("stream", name="stdout", text="kept off the slides\n")]
    return book


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("course")
    for folder in ("datasets", "quizzes", "notebooks/source/glossary"):
        (root / folder).mkdir(parents=True)
    source = root / "notebooks" / "source"
    (source / "41_tiny.md").write_text(SOURCE)
    (source / "42_unbuilt.md").write_text(SOURCE.replace("41", "42"))
    (source / "glossary" / "41.yaml").write_text(
        "- {term: token, section: Quiz, definition: A piece of text.}\n"
    )
    (root / "quizzes" / "41_tiny.yaml").write_text(QUIZ)
    nbformat.write(notebook(root), root / "notebooks" / "41_tiny.ipynb")
    return root


@pytest.fixture(scope="module")
def site(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "pages"
    done = pages.build_pages([], out, root=course)
    assert done.lessons == ("41_tiny",) and not done.warnings
    assert "course build 42" in done.failed["42_unbuilt"]
    return out


@pytest.fixture(scope="module")
def deck(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "slides"
    done = slides.build_slides(["41"], out, root=course)
    assert done.lessons == ("41_tiny",) and not done.failed
    return out


class Loads(HTMLParser):
    """Collects what a page loads, and the words of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        place = found.get("href") if tag == "link" else found.get("src")
        if place and (tag != "link" or found.get("rel") != "canonical"):
            self.loaded.append(place)
        if tag == "img":
            self.alts.append(found.get("alt") or "")


def read(path: Path) -> Loads:
    parser = Loads()
    parser.feed(path.read_text())
    return parser


@pytest.mark.parametrize("kind", ["site", "deck"])
def test_a_folder_needs_no_network_and_lacks_no_file(
    kind: str, request: pytest.FixtureRequest
) -> None:
    out: Path = request.getfixturevalue(kind)
    found = sorted(out.glob("*.html"))
    assert len(found) >= 2
    loaded = [(page, place) for page in found for place in read(page).loaded]
    assert len(loaded) > 5
    for page, place in loaded:
        assert not re.match(r"(?:https?:)?//", place), f"{page.name} loads {place}"
        if not place.startswith(("data:", "#")):
            name = place.split("?")[0].split("#")[0]
            assert (page.parent / name).is_file(), f"{page.name}: {place} is missing"
    for style in out.rglob("*.css"):
        far = re.search(r"(?:url\(|@import)\s*[\"']?https?:[^)\s]+", style.read_text())
        assert not far, f"{style.name} loads {far and far[0]}"
    scripts = "".join(p.read_text() for p in found)
    assert not re.search(r"(?:import|from|fetch|require)\s*\(?\s*[\"']https?:", scripts)


def test_pages_hold_lesson_outputs_questions_glossary_and_the_words_of_figures(site: Path) -> None:
    text = (site / "41_tiny.html").read_text()
    assert "line 39" in text, "a page cuts nothing"
    assert read(site / "41_tiny.html").alts == ["The figure shows one dot."]
    assert "<math" in text and "$5" in html.unescape(text)
    assert 'href="glossary.html#token"' in text
    assert 'id="token"' in (site / "glossary.html").read_text()
    assert "Alpha" in text and "to be" not in text and "Run this cell" not in text
    assert "Whispered" not in text


@pytest.mark.parametrize("kind", ["site", "deck"])
def test_no_key_is_published(kind: str, request: pytest.FixtureRequest) -> None:
    out: Path = request.getfixturevalue(kind)
    every = "".join(p.read_text(errors="replace") for p in out.rglob("*") if p.is_file())
    assert "Its name?" in every
    assert "hushhush" not in every.lower()


def test_the_search_index_finds_a_word_of_the_lesson(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    found = re.fullmatch(r"Search\.setIndex\((.*)\)\s*", index, re.S)
    assert found
    content = json.loads(found[1])
    assert "41_tiny" in content["docnames"] and "loss" in content["terms"]


def test_notes_are_the_speakers_and_outputs_are_the_builds(deck: Path) -> None:
    text = (deck / "41_tiny.html").read_text()
    notes = re.findall(r'<aside class="notes">.*?</aside>', text, re.S)
    assert notes and "Whispered to the speaker" in notes[0]
    assert "Whispered" not in re.sub(r'<aside class="notes">.*?</aside>', "", text, flags=re.S)
    assert "line 12\n… 27 more lines in the notebook" in text and "line 13" not in text
    assert "seed" not in text and "kept off the slides" not in text
    assert read(deck / "41_tiny.html").alts == ["The figure shows one dot."]
    assert "<math" in text and "<code>$5</code>" in text
    assert "glossary.md" not in text


def test_each_question_has_a_slide(deck: Path) -> None:
    text = (deck / "41_tiny.html").read_text()
    sections = re.split(r"<section", text)
    first = next(s for s in sections if "Alpha" in s)
    assert "Its name?" not in first
    assert any("Its name?" in s for s in sections)


def test_slides_refuse_outputs_of_other_code(course: Path, tmp_path: Path) -> None:
    source = tmp_path / "41_tiny.md"
    source.write_text(SOURCE.replace("forty lines", "fifty lines"))
    with pytest.raises(DataError, match="built from other code than the source has now"):
        slides.merged(source, course / "notebooks" / "41_tiny.ipynb")


def test_cells_that_do_not_fit_are_continued_below_with_their_notes() -> None:
    cell = nbformat.v4.new_markdown_cell
    head = cell("# Head", metadata={"slideshow": {"slide_type": "slide"}})
    spoken = cell("say", metadata={"tags": ["notes"], "slideshow": {"slide_type": "notes"}})
    found = layout.laid_out([head, spoken, *(cell("word " * 90) for _ in range(5))])
    kinds = [layout.kind_of(c) for c in found]
    assert kinds.count("subslide") == kinds.count("notes") - 1 > 0
    assert len({c["id"] for c in found}) == len(found)
    used = 0
    for c in found:
        if layout.kind_of(c) in ("slide", "subslide"):
            used = 0
        used += layout.height(c) if layout.kind_of(c) != "notes" else 0
        assert used <= layout.ROOM


def test_a_failed_publication_leaves_the_earlier_one(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "slides"
    slides.build_slides(["41"], out, root=course)
    before = sorted((p.name, p.read_bytes()) for p in out.iterdir() if p.is_file())

    def broken(*given: Any) -> str:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(slides, "show", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        slides.build_slides(["41"], out, root=course)
    assert sorted((p.name, p.read_bytes()) for p in out.iterdir() if p.is_file()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["slides"], "nothing half-made stays"


def test_a_folder_with_other_things_is_never_replaced(course: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else"):
        slides.build_slides(["41"], tmp_path, root=course)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_command_publishes_lists_what_is_left_out_and_refuses_what_does_not_fit(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("COURSE_ROOT", str(course))
    out = str(tmp_path / "s")
    assert cli.main(["build", "--to", "slides", "--out", out, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["lessons"] == ["41_tiny"] and list(told["failed"]) == ["42_unbuilt"]
    assert cli.main(["build", "41", "--to", "slides", "--out", out]) == 0
    assert cli.main(["build", "--to", "pages", "--check"]) == 2
    assert "--check does not go with --to pages" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("costs $5 and $6 more", True),
        ("`$x$` in code", True),
        ("```\n$x$\n```", True),
        ("where $x$ is", False),
        ("$$x^2$$", False),
    ],
)
def test_only_formulas_become_formulas(text: str, kept: bool) -> None:
    assert (mathml.in_markdown(text) == text) is kept
    assert ("<math" in mathml.in_markdown(text)) is not kept


@pytest.fixture()
def live(tmp_path: Path) -> Iterator[tuple[Path, LiveServer]]:
    path = tmp_path / "41_tiny.yaml"
    path.write_text(QUIZ)
    server = LiveServer(Preview(path, {}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield path, server
    server.shutdown()
    server.server_close()


def fetch(server: LiveServer, place: str = "") -> str:
    with urllib.request.urlopen(server.address + place, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_the_live_preview_tells_of_a_change_and_shows_it(live: tuple[Path, LiveServer]) -> None:
    path, server = live
    assert "Hushhush beta" in fetch(server)
    with urllib.request.urlopen(server.address + "events", timeout=10) as events:
        assert events.readline() == b"data: start\n" and events.readline() == b"\n"
        path.write_text(QUIZ.replace("Alpha", "Omega"))
        begun = time.monotonic()
        assert events.readline().startswith(b"data: ")
        assert time.monotonic() - begun < 10
    assert "Omega" in json.loads(fetch(server, "content"))["html"]


def test_the_live_preview_shows_faults_with_their_lines_and_recovers(
    live: tuple[Path, LiveServer],
) -> None:
    path, server = live
    fetch(server)
    path.write_text(QUIZ.replace("correct: true, ", ""))
    shown = json.loads(fetch(server, "content"))["html"]
    assert "cannot be used yet" in shown and "41.q1" in shown
    line = 1 + QUIZ.split("\n").index("  - id: 41.q1")
    assert re.search(rf"<b> *{line}  ", shown), "the line stands out"
    assert "Hushhush beta" in shown, "the last sound version stays in view"
    path.write_text(QUIZ.replace("title: Tiny", "title: [Tiny"))
    assert re.search(r"<b> *\d+  ", json.loads(fetch(server, "content"))["html"])
    path.write_text(QUIZ.replace("<", "").replace("Tiny", "<script>alert(1)</script>"))
    assert "<script>alert" not in fetch(server, "content")
    path.unlink()
    assert "no such file" in fetch(server, "content")
    path.write_text(QUIZ)
    assert "cannot be used" not in fetch(server, "content")


def test_the_live_preview_gives_advice_and_answers_this_machine_alone(
    live: tuple[Path, LiveServer],
) -> None:
    path, server = live
    path.write_text(QUIZ.replace("not otherwise at all.", "so."))
    shown = json.loads(fetch(server, "content"))["html"]
    assert "the explanation does not say why" in shown and "<b>" in shown
    assert server.server_address[0] == "127.0.0.1"
    asked = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    asked.request("GET", "/", headers={"Host": "evil.example:80"})
    assert asked.getresponse().status == 403
    asked.close()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(server, "../41_tiny.yaml")


def test_live_as_a_command_ends_on_ctrl_c(tmp_path: Path) -> None:
    import signal

    path = tmp_path / "41_tiny.yaml"
    path.write_text(QUIZ)
    command = [sys.executable, "-m", "course_lib", "preview", str(path), "--live", "--no-browser"]

    def heard() -> None:  # a parent in the background has its children ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=heard
    ) as running:
        assert running.stdout
        found = re.search(r"http://127\.0\.0\.1:\d+/", running.stdout.readline())
        assert found
        assert "Hushhush" in urllib.request.urlopen(found[0], timeout=10).read().decode()
        running.send_signal(signal.SIGINT)
        try:
            assert running.wait(timeout=30) == 0
        finally:
            running.kill()


@pytest.fixture()
def own(tmp_path: Path) -> Path:
    source = tmp_path / "notebooks" / "source"
    for folder in (tmp_path / "datasets", source / "glossary", tmp_path / "quizzes"):
        folder.mkdir(parents=True)
    (source / "topics.yaml").write_text('"11":\n  T90: a topic of its own\n')
    (source / "numbers.yaml").write_text("{}\n")
    return tmp_path


def test_a_new_lesson_passes_the_check_but_for_its_todos_and_being_built(own: Path) -> None:
    made = new_lesson("11", "Naïve: trees & “forests”", root=own)
    assert made.paths[0].name == "11_naive_trees_forests.md" and made.todo > 20
    todo = {f"{p.relative_to(own)}:{n}:" for p in made.paths
            for n, line in enumerate(p.read_text().splitlines(), 1) if "TODO" in line}  # fmt: skip
    found = lint.check(own)
    assert {p.split()[0] for p in found if "still to be filled in" in p} == todo
    left = [p for p in found if "still to be filled in" not in p]
    assert sorted(re.sub(r"^\S+ ", "", p) for p in left) == [
        "is not built", "is not what the glossary files make; run `course build`",
    ]  # fmt: skip
    bank = quiz_lint.load_bank(own / "quizzes")
    lessons = {"11": made.paths[0].read_text()}
    assert not quiz_lint.lint(bank, lessons, own / "quizzes")
    ready = made.paths[1].read_text().replace("status: draft", "status: ready")
    made.paths[1].write_text(ready)
    assert not quiz_lint.lint(quiz_lint.load_bank(own / "quizzes"), lessons, own / "quizzes")
    assert regenerate.parameters_of(regenerate.read_source(made.paths[0])) >= {"profile", "seed"}
    assert [t.lesson for t in glossary.read_terms(made.paths[3].parent)] == ["11"]


def test_a_new_lesson_never_overwrites(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = own / "quizzes" / "11_mine.yaml"
    kept.write_text("mine")
    with pytest.raises(UsageError, match="lesson 11 is there already; nothing was written"):
        new_lesson("11", "Another", root=own)
    assert sorted(p.name for p in (own / "quizzes").iterdir()) == ["11_mine.yaml"]
    assert not list((own / "notebooks" / "source").glob("11*"))
    assert kept.read_text() == "mine"
    monkeypatch.setenv("COURSE_ROOT", str(own))
    assert cli.main(["new", "lesson", "12", "Fine"]) == 0
    assert cli.main(["new", "lesson", "12", "Fine"]) == 2


@pytest.mark.parametrize(
    ("number", "title", "told"),
    [
        ("1", "Fine", "two digits"),
        ("../", "Fine", "two digits"),
        ("11", "…", "cannot name a lesson"),
        ("11", "# a [link](x)", "cannot name a lesson"),
        ("11", "long " * 40, "cannot name a lesson"),
    ],
)
def test_numbers_and_titles_that_cannot_be(own: Path, number: str, title: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        new_lesson(number, title, root=own)
    assert not [p for p in own.rglob("*") if p.name.startswith("11")]
