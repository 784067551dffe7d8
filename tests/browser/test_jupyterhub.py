"""A class on a real JupyterHub: local users, real passwords, a quiz in Chromium, a hand-in."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from hub_machine import GROUP, PASSWORD, Machine
from playwright.sync_api import Browser, Page, expect
from test_quiz import form, run_all, submit, verdict

from conftest import ROOT, SETTINGS
from course_lib.quiz import schema, variants
from course_lib.teach.release import bundle, roster

KEY = ROOT / "quizzes" / "assessment" / "keys" / "assessment.yaml"
PAPER = "10_assessment.ipynb"
CLASS = "autumn"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """Set a machine up as hub/README.md says."""
    made = Machine(tmp_path_factory.mktemp("machine"))
    made.add_users("ada", "bob", "eve", "teacher")
    instructor = made.place / "srv" / "instructor"
    made.run("chown", "teacher:", "/srv/instructor")
    instructor.chmod(0o700)
    _course(made.place)
    (made.place / "etc" / "course").mkdir(mode=0o700)
    (instructor / "secret").write_text("b" * 64 + "\n")  # the same questions in every run
    (instructor / "secret").chmod(0o600)
    (instructor / "class.csv").write_text("student,name\nada,Ada Ohm\nBob,Bob Volt\n")
    made.run("course", "roster", "/srv/instructor/class.csv", "--course", CLASS, "--secret",
             "/srv/instructor/secret", "--out", "/etc/course/roster-tokens.csv")  # fmt: skip
    made.run("chown", "teacher:", "/srv/instructor/secret")
    made.run("course", "exchange", "make", "/srv/exchange", "--group", GROUP)
    return made


def _course(place: Path) -> None:
    """Unpack the students' bundle, with a notebook for the assessment; settings for the browser."""
    file = bundle.release(place / "bundle.zip").path
    with zipfile.ZipFile(file) as packed:
        packed.extractall(place / "unpacked")
    (place / "unpacked" / "fine-tuning-gpt").rename(place / "srv" / "course")
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in (
            "from course_lib.quiz.session import quiz, receipt", 'quiz("assessment")', "1 + 1",
        )],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )  # fmt: skip
    nbformat.write(book, place / "srv" / "course" / "notebooks" / PAPER)
    for name, value in SETTINGS.items():
        path = place / "srv" / "settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))


@pytest.fixture(scope="module")
def hub(machine: Machine) -> Iterator[str]:
    with machine.hub() as address:
        yield address


def log_in(page: Page, hub: str, name: str) -> None:
    page.goto(f"{hub}/hub/login")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def opened(page: Page, hub: str, name: str, notebook: str) -> None:
    page.goto(f"{hub}/user/{name}/lab/tree/{notebook}?reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
    run_all(page)


def in_terminal(page: Page, line: str, until: Path) -> None:
    """Type a command into a terminal of JupyterLab; it writes to ``until`` what it printed."""
    page.evaluate("() => window.jupyterapp.commands.execute('terminal:create-new')")
    page.locator(".jp-Terminal .xterm-screen").last.wait_for(timeout=30_000)
    page.wait_for_timeout(2000)
    page.keyboard.type(f"{line} > ~/told 2>&1; mv ~/told ~/{until.name}\n")
    for _ in range(120):
        if until.exists():
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"{line!r} did not end")


def answer_right(page: Page, question: schema.Question, seed: bytes) -> None:
    if isinstance(question, schema.Numeric):
        number = variants.right_number(question, seed)
        form(page, question.id).get_by_role("textbox").fill(f"{number:g}")
    else:
        assert isinstance(question, schema.Single)
        place = next(i for i, o in enumerate(question.options, 1) if o.correct)
        shown = variants.present(question, seed).choices
        at = next(i for i, c in enumerate(shown) if c.id == f"o{place}")
        form(page, question.id).get_by_role("radio").nth(at).check()
    submit(page, question.id)
    expect(verdict(page, question.id)).to_contain_text("Saved for grading")


def test_a_class_from_login_to_marks(
    machine: Machine, hub: str, browser: Browser, tmp_path: Path
) -> None:
    home, exchange = machine.place / "home", machine.place / "srv" / "exchange"
    ada = browser.new_page(viewport={"width": 1280, "height": 900})
    log_in(ada, hub, "ada")
    bob = browser.new_context().new_page()
    log_in(bob, hub, "bob")
    ada.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    assert ada.url.startswith(f"{hub}/user/ada/lab/tree/00_start_here.ipynb"), ada.url

    # A lesson runs whole on the read-only course; its quiz is answered, one right, one wrong.
    run_all(ada)
    assert ada.locator(".jp-RenderedText[data-mime-type*='stderr'] .ansi-red-fg").count() == 0
    quiz = ada.locator("form[data-question='00.q2']")
    quiz.get_by_label(re.compile("fewer rows and steps")).check()
    submit(ada, "00.q2")
    expect(verdict(ada, "00.q2")).to_contain_text("Correct")
    form(ada, "00.q4").get_by_label(re.compile("waits and tries again")).check()
    submit(ada, "00.q4")
    expect(verdict(ada, "00.q4")).to_contain_text("Not yet")

    # The assessment is the one drawn for her: by the roster's token, nothing she typed.
    seed = variants.student_seed(roster.secret(machine.place / "srv/instructor/secret"), "ada")
    keyed = schema.load_quiz(KEY)
    mine, everyone = (variants.drawn(keyed, s) for s in (seed, variants.PRACTICE))
    chosen = [
        next(q for q in mine if isinstance(q, schema.Numeric) and numbers(q, seed)),
        next(q for q in mine if isinstance(q, schema.Single) and q not in everyone),
    ]
    opened(ada, hub, "ada", PAPER)
    for question in chosen:
        answer_right(ada, question, seed)

    # Her kernels speak over sockets in a folder of hers, not over ports the machine shares.
    kernels = [json.loads(p.read_text()) for p in (home / "ada/.course-run").glob("kernel-*.json")]
    assert kernels and {k["transport"] for k in kernels} == {"ipc"}

    in_terminal(ada, "course submit", home / "ada" / "submitted")
    told = (home / "ada" / "submitted").read_text()
    handed = re.search(r"handed in as (/srv/exchange/submission-ada-001-[0-9a-f]{32}\.zip)", told)
    assert handed, told
    bob.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    seen = _what_bob_sees(bob, hub, machine, handed[1])
    assert not seen, seen
    eve = browser.new_context().new_page()
    log_in(eve, hub, "eve")  # a user of the machine with a good password, not on the roster
    expect(eve.locator("body")).to_contain_text("Invalid username or password")
    assert "User 'eve' not allowed" in machine.log()
    ada.screenshot(path=str(tmp_path / "hub.png"))
    for page in (ada, bob, eve):
        page.close()

    # The instructor, an ordinary user, grades the exchange itself.
    assert stat.S_IMODE(exchange.stat().st_mode) == 0o3773
    grade = ("course", "grade", "--secret", "/srv/instructor/secret", "--no-code", "--gradebook")
    clone = {"COURSE_ROOT": "/srv/instructor/clone", "PYTHONPATH": "/srv/instructor/clone"}
    machine.run(*grade, "/home/teacher/marks.sqlite", "/srv/exchange", user="teacher", **clone)
    collect = ("course", "exchange", "collect", "/srv/exchange", "--out", "/home/teacher/in")
    told = machine.run(*collect, user="teacher", **clone)
    assert "1 collected" in told and [p.name for p in (home / "teacher/in").iterdir()] == ["ada"]
    wanted = {"00.q2": 1.0, "00.q4": 0.0} | {q.id: q.points for q in chosen}
    assert marks(home / "teacher" / "marks.sqlite") == {("ada", k): v for k, v in wanted.items()}


def _what_bob_sees(page: Page, hub: str, machine: Machine, handed: str) -> list[str]:
    """Give what of Ada's another student reaches; nothing, if all is well."""
    seen = []
    answer = page.goto(f"{hub}/user/ada/lab")
    if answer is None or answer.status not in (403, 404):
        seen.append(f"her server: {answer and answer.status}")
    reads = [
        ("ls", "/srv/exchange"), ("cat", handed), ("ls", "/home/ada/work"),
        ("cat", "/home/ada/work/.course/handed-out.json"), ("ls", "/home/ada/work/answers"),
        ("ls", "/home/ada/.course-run"), ("cat", "/etc/course/roster-tokens.csv"),
        ("ls", "/srv/instructor"), ("ls", "/var/lib/course-hub"),
    ]  # fmt: skip
    writes = [
        ("cp", "/dev/null", handed), ("rm", "-f", handed), ("touch", "/srv/course/notebooks/mine"),
        ("touch", "/srv/course/quizzes/00_start_here.yaml"), ("touch", "/home/ada/work/mine"),
    ]  # fmt: skip
    assert all(reached(machine, words, "") for words in reads), "it is there to be read"
    return seen + [" ".join(w) for w in reads + writes if reached(machine, w, "bob")]


def reached(machine: Machine, words: tuple[str, ...], user: str) -> bool:
    """Tell whether a command succeeds; an empty user is root."""
    line = '"$@" > /dev/null && echo REACHED; true'
    return "REACHED" in machine.run("sh", "-c", line, "sh", *words, user=user)


def numbers(question: schema.Question, seed: bytes) -> bool:
    """Tell whether a question has numbers of this seed's own."""
    mine, practice = (variants.values(question, s) for s in (seed, variants.PRACTICE))
    return mine != practice


def marks(gradebook: Path) -> dict[tuple[str, str], float]:
    with sqlite3.connect(gradebook) as book:
        rows = book.execute("SELECT student, item, points FROM marks WHERE answer IS NOT NULL")
        return {(student, item): points for student, item, points in rows}
