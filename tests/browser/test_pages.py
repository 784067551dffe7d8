"""The published pages and slides in a real Chromium, opened as files, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from course_lib.quiz import render, schema, variants
from course_lib.teach import regenerate
from course_lib.teach.publishing import pages, slides

ROOT = Path(__file__).resolve().parents[2]
LESSON = "03_text_classification"
# A slide that holds more than it shows, or a piece of it that is wider than its place.
OVERFULL = """() => {
  const found = [];
  for (let n = 0; n < 500; n++) {
    const slide = Reveal.getCurrentSlide();
    fitSlide(slide);
    const wide = [...slide.querySelectorAll("pre, p, li, table, img, h1, h2, h3")].filter(
      (e) => !e.closest("aside") && e.offsetWidth && e.getBoundingClientRect().right
        > slide.getBoundingClientRect().right + 1);
    const scrolls = slide.scrollHeight > slide.clientHeight + 1;
    const reachable = getComputedStyle(slide).overflowY === "auto" && slide.tabIndex === 0;
    const size = parseFloat(getComputedStyle(slide).fontSize);
    found.push({place: Reveal.getIndices(), tall: slide.scrollHeight, room: slide.clientHeight,
      wide: wide.length + (slide.scrollWidth > slide.clientWidth + 1), lost: scrolls && !reachable,
      scrolls, size, words: slide.innerText.trim().length,
      pictures: slide.querySelectorAll("img").length});
    if (Reveal.isLastSlide()) return found;
    Reveal.next();
  }
}"""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with lesson 03 as its source is now; outputs as large as real ones get."""
    root = tmp_path_factory.mktemp("course")
    (root / "datasets").mkdir()
    shutil.copytree(ROOT / "notebooks" / "source", root / "notebooks" / "source")
    book = regenerate.read_source(root / "notebooks" / "source" / f"{LESSON}.md")
    out = nbformat.v4.new_output
    quiz = schema.load_quiz(ROOT / "quizzes" / f"{LESSON}.yaml")
    asked = [variants.present(q, variants.PRACTICE) for q in quiz.questions]
    page = render.page(quiz.title, asked, ROOT / "quizzes")
    lines = "".join(f"{n} " + "a line that is rather long " * 6 + "\n" for n in range(60))
    for number, cell in enumerate(c for c in book.cells if c.cell_type == "code"):
        if "plots." in cell.source:
            cell.outputs = [out("display_data", {"image/png": picture(), "text/plain": "f"})]
        elif cell.source.endswith('quiz("03")'):
            cell.outputs = [out("display_data", {"text/html": page, "text/plain": "quiz"})]
        elif number:
            cell.outputs = [out("stream", name="stdout", text=lines)]
    nbformat.write(book, root / "notebooks" / f"{LESSON}.ipynb")
    return root


def picture() -> str:
    """A figure of the size the lessons have."""
    import base64
    import io

    from matplotlib.figure import Figure

    figure, data = Figure(figsize=(8, 7)), io.BytesIO()
    figure.add_subplot().plot([1, 2, 3])
    figure.savefig(data, format="png")
    return base64.b64encode(data.getvalue()).decode()


@pytest.fixture(scope="module")
def site(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "pages"
    assert not pages.build_pages(["03"], out, root=course).warnings
    return out


@pytest.fixture(scope="module")
def deck(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deck") / "slides"
    slides.build_slides(["03"], out, root=course)
    return out


@pytest.fixture()
def quiet(page: Page) -> Iterator[Page]:
    """A page that must ask nothing of the network and raise no error."""
    said: list[str] = []
    page.on("request", lambda r: said.append(r.url) if r.url.startswith("http") else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("console", lambda m: said.append(m.text) if m.type == "error" else None)
    yield page
    assert not said


def violations(page: Page, within: str) -> list[Any]:
    rules = {"runOnly": ["color-contrast", "image-alt", "document-title", "html-has-lang"]}
    answer = Axe().run(page, context=within, options=rules).response
    assert "color-contrast" in {p["id"] for p in answer["passes"]}, "colours were looked at"
    found = answer["violations"]
    return [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_lesson_is_legible_in_both_themes(site: Path, quiet: Page, theme: Any) -> None:
    quiet.emulate_media(color_scheme=theme)
    quiet.goto((site / f"{LESSON}.html").as_uri())
    expect(quiet.locator("html")).to_have_attribute("data-theme", theme)
    expect(quiet.get_by_role("heading", name="Text classification").first).to_be_visible()
    for image in quiet.locator("article img").all():
        assert image.evaluate("i => i.naturalWidth") > 0
    assert quiet.locator(".search-button:visible, .search-button-field:visible").count() == 1
    assert quiet.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert not violations(quiet, "article")


def test_the_search_works_from_a_folder(site: Path, quiet: Page) -> None:
    quiet.goto((site / "index.html").as_uri())
    quiet.locator(".search-button-field:visible").click()
    box = quiet.locator("input[type=search]:visible")
    expect(box).to_have_count(1)
    box.fill("padding invariance")
    box.press("Enter")
    hit = quiet.locator("#search-results a").filter(has_text="Text classification").first
    expect(hit).to_be_visible(timeout=20_000)
    hit.click()
    expect(quiet.get_by_role("heading", name="03 · Text classification")).to_be_visible()


@pytest.mark.parametrize("query", ["", "?dark"])
def test_no_slide_loses_anything(deck: Path, quiet: Page, query: str) -> None:
    quiet.goto((deck / f"{LESSON}.html").as_uri() + query)
    quiet.wait_for_function("window.Reveal && Reveal.isReady()")
    found = quiet.evaluate(OVERFULL)
    assert len(found) > 25
    assert {f["room"] for f in found} == {700}
    assert not [f for f in found if f["wide"] or f["lost"]]
    assert all(f["words"] or f["pictures"] for f in found), "an empty slide"
    assert not [f for f in found if f["scrolls"]], "the estimate of heights is off"
    assert min(f["size"] for f in found) >= 18
    quiet.evaluate("Reveal.slide(3, 1)")
    # axe sees no colour below these
    over = ".pause-overlay, .backgrounds, .controls, .progress, .slide-number"
    quiet.add_style_tag(content=f"{over} {{ display: none !important }}")
    assert not violations(quiet, "section.present:not(.stack)")


def test_no_slide_of_any_lesson_is_clipped(
    tmp_path_factory: pytest.TempPathFactory, quiet: Page
) -> None:
    out = tmp_path_factory.mktemp("decks") / "slides"
    made = slides.build_slides([], out)
    assert len(made.lessons) == 11 and not made.failed
    for name in made.lessons:
        quiet.goto((out / f"{name}.html").as_uri())
        quiet.wait_for_function("window.Reveal && Reveal.isReady()")
        found = quiet.evaluate(OVERFULL)
        assert not [f for f in found if f["wide"] or f["lost"] or f["scrolls"]], name


def test_the_speakers_view_shows_the_notes(deck: Path, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto((deck / f"{LESSON}.html").as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady()")
    with context.expect_page() as opened:
        page.keyboard.press("s")
    page.wait_for_timeout(1000)
    page.keyboard.press("ArrowRight")
    notes = opened.value.locator(".speaker-controls-notes")
    expect(notes).to_contain_text("Read the ticket aloud", timeout=20_000)
    context.close()
