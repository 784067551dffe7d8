"""The quiz in a real JupyterLab: mouse and keyboard, restarts and reloads, both themes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from conftest import open_notebook, started_lab
from course_lib.quiz import paper, schema

COMMON = (
    "objective: '90.1'\n    section: s\n    explanation: Because it is so, and not otherwise.\n"
)
QUIZ = """
id: "90"
title: Every kind of question
lesson: "90"
version: 1
status: draft
questions:
  - id: 90.q1
    type: single
    COMMON    stem: "Which is **right**, $\\\\frac{1}{2}$ or `less`?"
    options:
      - {text: Alpha, feedback: Not alpha.}
      - {text: Beta, correct: true, feedback: Beta it is.}
      - {text: Gamma, feedback: Not gamma.}
    hints: [{text: It starts with B., cost: 0.25}]
  - id: 90.q2
    type: multiple
    COMMON    stem: Which two?
    credit: per_option
    options:
      - {text: One, correct: true, feedback: One.}
      - {text: Two, correct: true, feedback: Two.}
      - {text: Three, feedback: Not three.}
  - id: 90.q3
    type: numeric
    COMMON    stem: What is {n} and {n} together?
    variables: {n: [21]}
    answer: n * 2
  - id: 90.q4
    type: text
    COMMON    stem: What fills short rows?
    accept: [padding]
  - id: 90.q5
    type: ordering
    COMMON    stem: In which order?
    items: [first, second, third]
  - id: 90.q6
    type: matching
    COMMON    stem: What belongs together?
    pairs:
      - {left: cat, right: meows}
      - {left: dog, right: barks}
    extra: [moos]
""".replace("COMMON", COMMON)


OWN = """
id: "93"
title: A picture and an exercise
lesson: "93"
version: 1
status: draft
questions:
  - id: 93.q1
    type: single
    objective: '93.1'
    section: 1 The section to read again
    explanation: Because it is so, and not otherwise.
    stem: Which?
    image: {file: red.svg, alt: a red square}
    options:
      - {text: Alpha, feedback: Not alpha.}
      - {text: Beta, correct: true, feedback: Beta it is.}
  - {id: 93.q2, type: code, objective: '93.1', section: s, stem: Solve it.,
     explanation: Because it is so., exercise: 93.e1}
  - {id: 93.q3, type: experiment, objective: '93.1', section: s, stem: "How many steps?",
     explanation: Because it is so., run: "93-*", answer: steps}
"""
EXERCISE = """
lesson: "93"
exercises:
  - id: 93.e1
    title: Twice
    objective: "93.1"
    function: twice
    prompt: Double it.
    start: "def twice(x):\\n    ...\\n"
    solution: "def twice(x):\\n    return 2 * x\\n"
    cases: [[1], [5]]
    wrong: [{name: one, code: "x"}, {name: two, code: "y"}]
"""
RED = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">'
    '<rect width="20" height="20" fill="red"/></svg>'
)
KEY = """
id: assessment
title: Final assessment
lesson: "10"
version: 1
questions:
  - {id: 10.a1, type: single, objective: "10.1", section: s, stem: "One?", explanation: hushhush,
     options: [{text: A, feedback: hushhush}, {text: B, correct: true, feedback: hushhush b}]}
  - {id: 10.a2, type: text, objective: "10.1", section: s, stem: "Word?", explanation: hushhush,
     accept: [hushhush]}
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start JupyterLab on a small course of its own, with a quiz of every kind."""
    root = tmp_path_factory.mktemp("course")
    for folder in ("datasets", "quizzes", "notebooks"):
        (root / folder).mkdir()
    (root / "quizzes" / "90_kinds.yaml").write_text(QUIZ)
    write(root / "notebooks" / "90_kinds.ipynb", ['quiz("90")', 'receipt("90")', "1 + 1"])
    many = [f"ask('90.q{i % 4 + 1}')" for i in range(60)]
    write(root / "notebooks" / "91_many.ipynb", many)
    write(root / "notebooks" / "92_plain.ipynb", ["1 + 1"] * 60)
    (root / "quizzes" / "exercises").mkdir()
    (root / "quizzes" / "assessment").mkdir()
    (root / "quizzes" / "93_own.yaml").write_text(OWN)
    (root / "quizzes" / "red.svg").write_text(RED)
    (root / "quizzes" / "exercises" / "93_own.yaml").write_text(EXERCISE)
    twice = ["def twice(x):\n    return x + x", 'ex("93.e1").check(twice)']
    run = ["import json, pathlib\nrun = pathlib.Path('runs/93-mine')",
           "run.mkdir(parents=True, exist_ok=True)",
           "_ = (run / 'run.json').write_text(json.dumps({'steps': 37}))"]  # fmt: skip
    write(root / "notebooks" / "93_own.ipynb", [*run, *twice, 'quiz("93")', "1 + 1"])
    key = root / "key.yaml"
    key.write_text(KEY)
    handed_out = paper.dump(paper.paper_of(schema.load_quiz(key)))
    (root / "quizzes" / "assessment" / "paper.yaml").write_text(handed_out)
    write(root / "notebooks" / "94_assessment.ipynb",
          ['quiz("assessment")', 'receipt("assessment")'])  # fmt: skip
    with started_lab(root / "home", COURSE_ROOT=str(root)) as found:
        yield found


def write(path: Path, cells: list[str]) -> None:
    first = "from course_lib.quiz.session import ask, ex, quiz, receipt"
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in (first, *cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(made, path)


def run_all(page: Page, last: str = "2") -> None:
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
        ".every(p => /\\[\\d+\\]/.test(p.textContent))",
        timeout=120_000,
    )


def form(page: Page, question: str) -> Locator:
    return page.locator(f"form[data-question='{question}']").first


def verdict(page: Page, question: str) -> Locator:
    return form(page, question).locator(".course-verdict")


def fresh(page: Page, course: tuple[str, Path], name: str = "90_kinds.ipynb") -> Path:
    """Open the notebook with no answers yet."""
    address, work = course
    shutil.rmtree(work / "answers", ignore_errors=True)
    shutil.copy(work.parents[1] / "notebooks" / name, work / name)
    open_notebook(page, address, name)
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
    restart(page)
    run_all(page)
    page.wait_for_selector("form[data-question]", timeout=60_000)
    return work


def restart(page: Page) -> None:
    """Restart the kernel without the dialog that asks."""
    page.evaluate(
        """async () => {
          const panel = window.jupyterapp.shell.currentWidget;
          await panel.context.sessionContext.session.kernel.restart();
        }"""
    )
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)


def cells(page: Page) -> tuple[int, int]:
    found = page.evaluate(
        "() => { const n = window.jupyterapp.shell.currentWidget.content;"
        " return [n.widgets.length, n.activeCellIndex]; }"
    )
    return found[0], found[1]


def test_every_kind_is_answered_by_mouse_and_kept(
    course: tuple[str, Path], page: Page, tmp_path: Path
) -> None:
    work = fresh(page, course)
    form(page, "90.q1").get_by_label("Alpha").check()
    form(page, "90.q1").get_by_role("button", name="Submit").click()
    expect(verdict(page, "90.q1")).to_contain_text("Not yet")
    expect(form(page, "90.q1")).to_contain_text("Not alpha.")
    form(page, "90.q1").get_by_role("button", name="Hint").click()
    expect(form(page, "90.q1")).to_contain_text("It starts with B.")
    form(page, "90.q1").get_by_label("Beta").check()
    form(page, "90.q1").get_by_role("button", name="Submit").click()
    expect(verdict(page, "90.q1")).to_contain_text("attempt 2, 0.75 of 1 point · saved")
    assert form(page, "90.q1").locator("math mfrac").count() == 1
    for label in ("One", "Two"):
        form(page, "90.q2").get_by_label(label, exact=True).check()
    form(page, "90.q3").get_by_role("textbox").fill("42")
    form(page, "90.q4").get_by_role("textbox").fill("Padding.")
    order(page, ["first", "second", "third"])
    form(page, "90.q6").get_by_label("cat").select_option(label="meows")
    form(page, "90.q6").get_by_label("dog").select_option(label="barks")
    for q in range(2, 7):
        form(page, f"90.q{q}").get_by_role("button", name="Submit").click()
        expect(verdict(page, f"90.q{q}")).to_contain_text("Correct")
    expect(page.locator(".course-summary")).to_have_text("6 of 6 answered, 5.75 of 6 points")
    kept = "".join(p.read_text() for p in (work / "answers").glob("90.*.jsonl"))
    assert kept.count("\n") == 7

    restart(page)
    run_all(page)
    expect(page.locator(".course-summary")).to_have_text("6 of 6 answered, 5.75 of 6 points")
    assert form(page, "90.q1").get_by_label("Beta").is_checked()
    assert form(page, "90.q3").get_by_role("textbox").input_value() == "42"
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(1500)
    saved = (work / "90_kinds.ipynb").read_text()
    assert "application/vnd.course.receipt+json" in saved and str(work) not in saved

    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    run_all(page)
    expect(page.locator(".course-summary")).to_have_text("6 of 6 answered, 5.75 of 6 points")

    alone = work / "alone"
    alone.mkdir()
    shutil.copy(work / "90_kinds.ipynb", alone / "90_kinds.ipynb")
    open_notebook(page, course[0], "alone/90_kinds.ipynb")
    run_all(page)
    expect(page.locator(".course-summary")).to_have_text("6 of 6 answered, 5.75 of 6 points")


def order(page: Page, wanted: list[str]) -> None:
    """Put items in order with the buttons."""
    for place, text in enumerate(wanted):
        for _ in range(len(wanted)):
            shown = form(page, "90.q5").locator(".course-item").all_text_contents()
            if shown.index(text) == place:
                break
            form(page, "90.q5").get_by_role("button", name=f"Move up: {text}").click()


def test_every_kind_is_answered_by_keyboard_and_no_cell_is_touched(
    course: tuple[str, Path], page: Page
) -> None:
    fresh(page, course)
    page.locator(".jp-CodeCell").nth(1).locator(".jp-InputPrompt").click()
    before = cells(page)
    keys = page.keyboard
    form(page, "90.q1").locator("input").first.focus()
    keys.press("Space")
    while not form(page, "90.q1").get_by_label("Beta").is_checked():
        keys.press("ArrowDown")
    for key in ("d", "d", "Escape", "a", "b", "x", "0", "0", "m", "ArrowUp", "ArrowDown"):
        keys.press(key)
    while not form(page, "90.q1").get_by_label("Beta").is_checked():
        keys.press("ArrowDown")
    keys.press("Enter")
    expect(verdict(page, "90.q1")).to_contain_text("Correct")
    for label in ("One", "Two"):
        form(page, "90.q2").get_by_label(label, exact=True).focus()
        for key in ("d", "d", "Escape", "ArrowDown"):
            keys.press(key)
        keys.press("Space")
    keys.press("Enter")
    expect(verdict(page, "90.q2")).to_contain_text("Correct")
    form(page, "90.q3").get_by_role("textbox").focus()
    keys.type("42")
    keys.press("Escape")
    keys.press("Enter")
    expect(verdict(page, "90.q3")).to_contain_text("Correct")
    keys.press("Tab")  # Submit
    keys.press("d")
    keys.press("d")
    form(page, "90.q4").get_by_role("textbox").focus()
    keys.type("padding dd")
    keys.press("Backspace")
    keys.press("Backspace")
    keys.press("Backspace")
    keys.press("Enter")
    expect(verdict(page, "90.q4")).to_contain_text("Correct")
    for place, text in enumerate(("first", "second", "third")):
        while form(page, "90.q5").locator(".course-item").all_text_contents().index(text) > place:
            form(page, "90.q5").get_by_role("button", name=f"Move up: {text}").focus()
            keys.press("Enter")
    form(page, "90.q5").get_by_role("button", name="Submit").focus()
    keys.press("Space")
    expect(verdict(page, "90.q5")).to_contain_text("Correct")
    for left, right in (("cat", "me"), ("dog", "ba")):
        form(page, "90.q6").get_by_label(left).focus()
        keys.type(right)
    form(page, "90.q6").get_by_role("button", name="Submit").focus()
    keys.press("Enter")
    expect(verdict(page, "90.q6")).to_contain_text("Correct")
    assert cells(page) == before
    expect(page.locator(".course-summary")).to_have_text("6 of 6 answered, 6 of 6 points")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_accessible_in_both_themes(
    course: tuple[str, Path], page: Page, theme: str, tmp_path: Path
) -> None:
    fresh(page, course)
    page.evaluate(
        f"() => window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{theme}'}})"
    )
    page.wait_for_timeout(1500)
    form(page, "90.q1").get_by_label("Alpha").check()
    form(page, "90.q1").get_by_role("button", name="Submit").click()
    expect(verdict(page, "90.q1")).to_contain_text("Not yet")
    found = Axe().run(page, context=".course-quiz").response["violations"]
    assert not found, json.dumps(
        [{v["id"]: [n["html"] for n in v["nodes"]]} for v in found], indent=1
    )
    page.locator(".course-quiz").first.screenshot(path=str(tmp_path / "quiz.png"))


def test_narrow_and_zoomed_pages_need_no_sideways_scrolling(
    course: tuple[str, Path], page: Page
) -> None:
    fresh(page, course)
    form(page, "90.q1").get_by_label("Alpha").check()
    submit(page, "90.q1")
    expect(verdict(page, "90.q1")).to_contain_text("Not yet")
    page.get_by_role("button", name="Review").click()
    expect(page.locator(".course-review")).to_contain_text("Not answered")
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    for width in (390, 640):  # a phone; 1280 pixels at 200%
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(500)
        widths = page.evaluate(
            "() => [...document.querySelectorAll('.course-question, .course-review')]"
            ".map(f => [f.className, f.scrollWidth, f.clientWidth])"
        )
        assert all(inner <= outer + 1 and outer > 100 for _, inner, outer in widths), widths
    page.set_viewport_size({"width": 1280, "height": 900})


def script_seconds(page: Page, course: tuple[str, Path], name: str) -> float:
    """Give the script time Chromium spent on opening and running a notebook."""
    open_notebook(page, course[0], name)
    page.wait_for_selector("text=/Python 3.*Idle/", timeout=90_000)
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")

    def spent() -> float:
        metrics: Any = client.send("Performance.getMetrics")["metrics"]
        return next(float(m["value"]) for m in metrics if m["name"] == "ScriptDuration")

    before = spent()
    run_all(page)
    page.wait_for_timeout(3000)
    return spent() - before


def test_sixty_quizzes_cost_little(course: tuple[str, Path], page: Page) -> None:
    plain = script_seconds(page, course, "92_plain.ipynb")
    many = script_seconds(page, course, "91_many.ipynb")
    assert page.locator("form[data-question]").count() == 60
    assert many - plain < 3.0, f"{many:.1f} s against {plain:.1f} s"


def test_review_starting_again_pictures_and_code(course: tuple[str, Path], page: Page) -> None:
    work = fresh(page, course, "93_own.ipynb")
    picture = form(page, "93.q1").get_by_role("img", name="a red square")
    expect(picture).to_be_visible()
    assert picture.evaluate("i => i.naturalWidth") > 0, "the picture is drawn"
    submit(page, "93.q2")
    expect(verdict(page, "93.q2")).to_contain_text("Correct")  # the cell above solved it
    form(page, "93.q3").get_by_role("textbox").fill("38")
    submit(page, "93.q3")
    expect(verdict(page, "93.q3")).to_contain_text("Not yet")
    form(page, "93.q3").get_by_role("textbox").fill("37")
    page.keyboard.press("Enter")
    expect(verdict(page, "93.q3")).to_contain_text("Correct")  # as the learner's own run says
    form(page, "93.q1").get_by_label("Alpha").check()
    submit(page, "93.q1")
    expect(verdict(page, "93.q1")).to_contain_text("Not yet")
    page.get_by_role("button", name="Review").press("Enter")
    review = page.locator(".course-review")
    expect(review).to_contain_text("1 The section to read again")
    expect(review).to_contain_text("Because it is so")
    found = Axe().run(page, context=".course-quiz").response["violations"]
    assert not found, [v["id"] for v in found]

    before = cells(page)
    page.get_by_role("button", name="Start again").press("Enter")
    page.keyboard.press("Enter")  # the safe answer has the focus
    expect(page.locator(".course-summary")).to_have_text("3 of 3 answered, 2 of 3 points")
    page.get_by_role("button", name="Start again").press("Enter")
    page.get_by_role("button", name="Yes, start again").press("Enter")
    expect(page.locator(".course-summary")).to_have_text("0 of 3 answered, 0 of 3 points")
    assert not form(page, "93.q1").get_by_label("Alpha").is_checked()
    expect(review).to_have_text("")
    assert cells(page) == before
    kept = "".join(p.read_text() for p in (work / "answers").glob("93.*.jsonl"))
    assert kept.count("\n") == 6, "the exercise, four answers, and the fresh start"


def test_closed_and_opened_again_the_answers_are_there(
    course: tuple[str, Path], page: Page
) -> None:
    fresh(page, course)
    form(page, "90.q1").get_by_label("Beta").check()
    submit(page, "90.q1")
    expect(verdict(page, "90.q1")).to_contain_text("Correct")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(1500)
    page.evaluate("() => window.jupyterapp.commands.execute('application:close')")
    expect(page.locator(".jp-Notebook")).to_have_count(0)
    open_notebook(page, course[0], "90_kinds.ipynb")
    run_all(page)
    expect(page.locator(".course-summary")).to_have_text("1 of 6 answered, 1 of 6 points")
    assert form(page, "90.q1").get_by_label("Beta").is_checked()


def test_an_answer_that_cannot_be_saved_says_so_and_the_learner_goes_on(
    course: tuple[str, Path], page: Page
) -> None:
    work = fresh(page, course)
    (work / "answers").write_text("in the way")
    form(page, "90.q1").get_by_label("Beta").check()
    submit(page, "90.q1")
    expect(form(page, "90.q1")).to_contain_text("the answer could not be saved")
    expect(verdict(page, "90.q1")).to_have_count(0)
    assert form(page, "90.q1").get_by_label("Beta").is_checked()
    (work / "answers").unlink()
    submit(page, "90.q1")
    expect(verdict(page, "90.q1")).to_contain_text("Correct")


def test_an_assessment_reaches_browser_and_disk_without_its_key(
    course: tuple[str, Path], page: Page
) -> None:
    said: list[str] = []
    page.on("websocket", lambda s: s.on("framereceived", lambda f: said.append(str(f))))
    work = fresh(page, course, "94_assessment.ipynb")
    form(page, "10.a1").get_by_label("A", exact=True).check()
    submit(page, "10.a1")
    expect(verdict(page, "10.a1")).to_contain_text("Saved for grading")
    expect(page.locator(".course-summary")).to_have_text("1 of 2 answered, saved for grading")
    expect(page.get_by_role("button", name="Start again")).to_be_hidden()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(1500)
    assert any("10.a1" in s for s in said), "the frames were seen"
    disk = (p.read_text(errors="replace") for p in work.rglob("*") if p.is_file())
    for text in (*said, page.content(), *disk):
        assert "hushhush" not in text
    restart(page)
    run_all(page)
    assert form(page, "10.a1").get_by_label("A", exact=True).is_checked()


def submit(page: Page, question: str) -> None:
    form(page, question).get_by_role("button", name="Submit").click()
