"""`course build`: only what changed, resumed, side by side, nothing good lost; drift is found."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import nbformat
import pytest

from course_lib import cli
from course_lib.errors import DataError, UsageError
from course_lib.teach import regenerate
from course_lib.teach.building import drift, inputs, matrix, runner
from course_lib.teach.building.inputs import reached

HEAD = """---
kernelspec: {{name: python3, display_name: Python 3, language: python}}
---

# Lesson {number}

Words about it.

```{{code-cell}} ipython3
:tags: [parameters]

seed = 0
```

```{{code-cell}} ipython3
{body}
```
"""


def course(folder: Path, **bodies: str) -> Path:
    """A course with one tiny lesson for each body."""
    source = folder / "notebooks" / "source"
    source.mkdir(parents=True)
    (folder / "datasets").mkdir()
    for name, body in bodies.items():
        text = HEAD.format(number=name[1:], body=body)
        (source / f"{name[1:]}_tiny.md").write_text(text, encoding="utf-8")
    return folder


def states(root: Path, **more: object) -> dict[str, str]:
    found = matrix.build(root=root, **more)  # type: ignore[arg-type]
    return {b.lesson[:2]: b.state for b in found}


def printed(path: Path) -> str:
    book = nbformat.read(path, as_version=4)
    return "".join(o.get("text", "") for c in book.cells for o in c.get("outputs", []))


def test_a_second_build_runs_only_what_changed(tmp_path: Path) -> None:
    root = course(tmp_path, n01="print('one')", n02="print('two')")
    source = root / "notebooks" / "source" / "02_tiny.md"
    assert states(root) == {"01": "built", "02": "built"}
    assert states(root) == {"01": "unchanged", "02": "unchanged"}
    source.write_text(source.read_text().replace("'two'", "'deux'"))
    assert states(root) == {"01": "unchanged", "02": "built"}
    assert printed(root / "notebooks" / "02_tiny.ipynb") == "deux\n"


def test_a_change_to_words_keeps_the_outputs_and_runs_nothing(tmp_path: Path) -> None:
    root = course(tmp_path, n01="import time\nprint(time.time_ns())")
    states(root)
    built = root / "notebooks" / "01_tiny.ipynb"
    before = printed(built)
    source = root / "notebooks" / "source" / "01_tiny.md"
    source.write_text(source.read_text().replace("Words about it.", "Better words."))
    assert states(root) == {"01": "words"}
    assert printed(built) == before
    assert "Better words." in built.read_text()
    assert states(root) == {"01": "unchanged"}


QUIZ = """from course_lib.quiz.session import quiz
import time
print(time.time_ns())"""


def test_a_changed_question_renews_its_cell_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = course(tmp_path, n00=QUIZ)
    source = root / "notebooks" / "source" / "00_tiny.md"
    source.write_text(source.read_text() + '\n```{code-cell} ipython3\nquiz("00")\n```\n')
    monkeypatch.setenv("COURSE_ROOT", str(root))
    real = (Path(__file__).parents[1] / "quizzes" / "00_start_here.yaml").read_text()
    asked = root / "quizzes" / "00_tiny.yaml"
    asked.parent.mkdir()
    asked.write_text(real)
    assert states(root) == {"00": "built"}
    built = root / "notebooks" / "00_tiny.ipynb"
    when = printed(built)
    stem = "What does `doctor` do before the first lesson?"
    first = re.search(r"stem: \|\n( +)(.*)\n", real)
    assert first
    asked.write_text(real.replace(first[2], stem, 1))
    assert states(root) == {"00": "words"}
    assert printed(built) == when
    assert "before the first lesson?" in built.read_text()
    source.write_text(source.read_text().replace("time_ns())", "time_ns(), 1)"))
    (left,) = matrix.build(root=root, words=True)
    assert "its code changed" in left.error
    assert printed(built) == when


def test_an_edited_output_is_built_again(tmp_path: Path) -> None:
    root = course(tmp_path, n01="print(1)")
    states(root)
    built = root / "notebooks" / "01_tiny.ipynb"
    built.write_text(built.read_text().replace('"1\\n"', '"2\\n"'))
    assert states(root) == {"01": "built"}
    assert printed(built) == "1\n"


def test_a_library_module_that_a_lesson_reaches_counts_and_another_does_not() -> None:
    found = {p.name for p in reached("from course_lib.quiz.session import quiz")}
    assert {"session.py", "grade.py", "widget.js", "errors.py"} <= found
    assert not {"train.py", "matrix.py"} & found
    assert "train.py" in {p.name for p in reached("import course_lib.finetune.recipe as r")}


def test_words_about_a_module_do_not_count_and_what_it_does_does(tmp_path: Path) -> None:
    module = tmp_path / "one.py"
    code = '"""Says {}."""\n\ndef f():\n    """Does."""\n    return "{}"  # {}\n'
    hashes = []
    for number, words in enumerate([("a", "b", "c"), ("d", "b", "e"), ("a", "x", "c")]):
        module.write_text(code.format(*words))
        os.utime(module, ns=(number, number))
        hashes.append(inputs._hash([module]))
    assert hashes[0] == hashes[1] != hashes[2]


def test_seeds_and_profiles_make_a_matrix_and_parameters_show(tmp_path: Path) -> None:
    body = "import os\nprint(os.environ['COURSE_PROFILE'], seed)"
    root = course(tmp_path, n01=body)
    found = matrix.build(root=root, profiles=["quick", "cpu"], seeds=[1, 2], out=tmp_path / "o")
    places = [b.path.relative_to(tmp_path / "o").as_posix() for b in found]
    assert places == [f"{p}/seed-{s}/01_tiny.ipynb" for p in ("quick", "cpu") for s in (1, 2)]
    assert printed(found[1].path) == "quick 2\n"
    assert "seed = 2" in found[1].path.read_text()
    again = matrix.build(root=root, profiles=["quick", "cpu"], seeds=[1, 2], out=tmp_path / "o")
    assert {b.state for b in again} == {"unchanged"}
    assert not (root / "notebooks" / "01_tiny.ipynb").exists()


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path: Path) -> None:
    root = course(tmp_path, n01="print(1)")
    with pytest.raises(UsageError, match=r"no parameter 'sed'.*\bseed\b"):
        matrix.build(root=root, parameters={"sed": 1})
    assert not list(root.glob("build*"))


@pytest.mark.parametrize(
    ("body", "cell_seconds", "told"),
    [
        ("import time\ntime.sleep(60)", 4, "timeout, cell 2"),
        (
            "import time\nwhile True: print('x' * 10_000), time.sleep(0.001)",
            120,
            "output, cell 2: .*too much output",
        ),
        ("1/0", 60, "cell error, cell 2: ZeroDivisionError"),
        ("import os\nos._exit(1)", 60, "dead kernel, cell 2"),
    ],
)
def test_what_ended_a_run_is_named_and_the_old_output_stays(
    tmp_path: Path, body: str, cell_seconds: int, told: str
) -> None:
    root = course(tmp_path, n01=body)
    old = root / "notebooks" / "01_tiny.ipynb"
    old.write_text("kept")
    (built,) = matrix.build(root=root, cell_seconds=cell_seconds)
    assert built.state == "failed"
    assert re.search(told, built.error, re.S), built.error
    assert old.read_text() == "kept"


@pytest.fixture
def begun() -> Callable[[Path], BaseProcess]:
    """Give what starts a build in a process of its own, at once: what it imports is there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["papermill", "course_lib.teach.building.matrix"])
    ready = context.Process(target=time.monotonic)
    ready.start()
    ready.join()

    def start(root: Path) -> BaseProcess:
        process = context.Process(target=matrix.build, kwargs={"root": root})
        process.start()
        return process

    return start


def tree(folder: Path) -> dict[str, object]:
    """Every file below a folder by name: notebooks as bytes, the manifest without its seconds."""
    found: dict[str, object] = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    manifest = json.loads((folder / "build.json").read_text())
    for entry in manifest["lessons"].values():
        del entry["seconds"]
    return found | {"build.json": manifest}


def test_a_build_killed_at_ten_random_moments_ends_like_an_uninterrupted_one(
    tmp_path: Path, begun: Callable[[Path], BaseProcess]
) -> None:
    bodies = {f"n0{i}": f"print({i})" for i in (1, 2, 3)}
    whole, root = (course(tmp_path / name, **bodies) for name in ("whole", "killed"))
    start = time.monotonic()
    begun(whole).join()
    lasts = time.monotonic() - start
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}, a whole build lasts {lasts:.1f} s")  # shown where this fails
    chance = random.Random(seed)
    killed = 0
    while killed < 10:
        left = 3 - len(list((root / "notebooks").glob("*.ipynb")))
        process = begun(root)
        process.join(chance.uniform(0, lasts * left / 3))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
        if process.exitcode == 0:  # it was through first: there is something to build again
            (root / "notebooks" / f"0{chance.randint(1, 3)}_tiny.ipynb").unlink()
        for path in (root / "notebooks").glob("*.ipynb"):
            nbformat.validate(nbformat.read(path, as_version=4))  # whole, or not there
    states(root)
    assert tree(root / "notebooks") == tree(whole / "notebooks")
    assert set(states(root).values()) == {"unchanged"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a process of its own, over tcp on loopback."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", str(file)], **quiet, start_new_session=True)  # fmt: skip
    while not file.is_file():
        assert scheduler.poll() is None
        time.sleep(0.1)
    address = json.loads(file.read_text())["address"]
    workers = [
        subprocess.Popen([*dask, "worker", address, "--nthreads", "1", "--no-nanny",
                          "--no-dashboard"], **quiet, start_new_session=True)
        for _ in range(2)
    ]  # fmt: skip
    yield address, workers
    for process in (*workers, scheduler):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_dask_worker_killed_in_mid_run_loses_nothing(
    tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, workers = cluster
    bodies = {f"n{i:02d}": f"import time\ntime.sleep(1)\nprint({i})" for i in range(1, 6)}
    root = course(tmp_path / "course", **bodies)
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        if " in " in line and workers[0].poll() is None:  # after the first result
            os.killpg(workers[0].pid, signal.SIGKILL)

    found = matrix.build(root=root, scheduler=address, say=say)
    assert [b.state for b in found] == ["built"] * 5
    assert workers[0].wait() == -signal.SIGKILL
    for i in range(1, 6):
        assert printed(root / "notebooks" / f"{i:02d}_tiny.ipynb") == f"{i}\n"
    assert sum(" in " in line for line in told) == 5


def test_lessons_are_built_side_by_side_and_one_failure_stops_nothing(tmp_path: Path) -> None:
    root = course(tmp_path, n01="print(1)", n02="1/0", n03="print(3)")
    with socket.socket() as other:  # another build on this machine: Dask's usual port is taken
        with contextlib.suppress(OSError):
            other.bind(("0.0.0.0", 8787))
            other.listen()
        assert states(root, jobs=2) == {"01": "built", "02": "failed", "03": "built"}


def test_no_scheduler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("course_lib.teach.building.workers.WAIT", "1s")
    root = course(tmp_path, n01="print(1)")
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        matrix.build(root=root, scheduler="tcp://127.0.0.1:1")


def test_a_damaged_manifest_is_told(tmp_path: Path) -> None:
    root = course(tmp_path, n01="print(1)")
    (root / "notebooks" / "build.json").write_text('{"schema": 9}')
    with pytest.raises(DataError, match="build manifest cannot be read"):
        matrix.build(root=root)


PLOT = """import matplotlib.pyplot as plt
print('accuracy 0.81 in 3.2 s')
plt.plot([1, 2, 3], [1, 4, 9]);"""


def test_check_finds_planted_changes_and_nothing_else(tmp_path: Path) -> None:
    root = course(tmp_path, n01=PLOT)
    states(root)
    path = root / "notebooks" / "01_tiny.ipynb"
    good = path.read_text()
    for _ in range(3):
        (again,) = matrix.build(root=root, check=True)
        assert (again.state, again.drift) == ("same", ())
    assert path.read_text() == good

    def found(text: str) -> tuple[str, ...]:
        path.write_text(text)
        return matrix.build(root=root, check=True)[0].drift

    assert any(
        "number" in d and "0.82" in d
        for d in found(good.replace('"accuracy 0.81', '"accuracy 0.82'))
    )
    book = json.loads(good)
    del book["cells"][-1]
    assert any("added" in d for d in found(json.dumps(book)))
    other = course(tmp_path / "other", n01=PLOT.replace("[1, 4, 9]", "[9, 1, 4]"))
    states(other)
    swapped = (other / "notebooks" / "01_tiny.ipynb").read_text().replace("[9, 1, 4]", "[1, 4, 9]")
    assert any("figure" in d for d in found(swapped))


def test_timings_are_no_drift_and_a_tolerance_is_kept() -> None:
    def book(text: str, *tags: str) -> dict[str, object]:
        output = {"output_type": "stream", "name": "stdout", "text": text}
        cell = {"cell_type": "code", "source": "x", "metadata": {"tags": list(tags)},
                "outputs": [output]}  # fmt: skip
        return {"cells": [cell]}

    assert not drift.compare(book("took 3.1 s, 1.2 GiB"), book("took 17 s, 980 MB"))
    assert drift.compare(book("3.1 shops"), book("17 shops"))
    tag = "drift-tolerance-0.05"
    assert not drift.compare(book("loss 2.00", tag), book("loss 2.08", tag))
    assert drift.compare(book("loss 2.00", tag), book("loss 2.30", tag))
    assert drift.compare(book("loss 2.00", tag), book("gain 2.00", tag))
    assert not drift.compare(book("a", "drift-ignore"), book("b", "drift-ignore"))


def test_the_command_reports_each_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = course(tmp_path, n01="print(seed)")
    monkeypatch.setenv("COURSE_ROOT", str(root))
    monkeypatch.chdir(root)
    out = tmp_path / "out"
    assert cli.main(["build", "01", "-p", "seed=7", "--out", str(out)]) == 0
    assert printed(out / "cpu" / "01_tiny.ipynb") == "7\n"
    assert "built" in capsys.readouterr().out
    assert cli.main(["build", "01", "-p", "seed"]) == 2


def test_a_job_is_plain_data_and_runs_anywhere(tmp_path: Path) -> None:
    import pickle

    root = course(tmp_path, n01="print(1)")
    book = regenerate.read_source(root / "notebooks" / "source" / "01_tiny.md")
    job = pickle.loads(pickle.dumps(runner.Job("01", nbformat.writes(book), "quick")))
    assert '"1\\n"' in runner.run(job).notebook
