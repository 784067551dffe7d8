"""How fast `course grade` marks a class, what memory it takes, and what becomes of killed workers.

    python tests/benchmarks/grading.py rate [--students 10000]      marking parsed answers
    python tests/benchmarks/grading.py zips [--sizes 1000 5000 10000]  zip files to the gradebook
    python tests/benchmarks/grading.py dask [--students 200]        two workers, one killed
    python tests/benchmarks/grading.py nbgrader --bin DIR [--students 10]   beside nbgrader

A student answers 30 questions: 12 single, 6 multiple, 4 numeric with numbers of their own, 4 short
texts, 2 orderings, 2 matchings. Seconds are given on the clock and of the processor: the second
says more where other work runs beside. nbgrader is installed in an environment of its own; the
same 30 questions are 30 variables there, each with a hidden test.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bad_submissions import EXERCISES, chained, pack, row

from course_lib.quiz.answers import Attempt
from course_lib.teach.grading import marking
from course_lib.teach.grading.gradebook import Gradebook
from course_lib.teach.grading.keys import load_keys
from course_lib.teach.grading.marker import Marker

KINDS = ["single"] * 12 + ["multiple"] * 6 + ["numeric"] * 4 + ["text"] * 4 + ["ordering"] * 2
KINDS += ["matching"] * 2
OPTIONS = "options: [{text: a, correct: true, feedback: f}, {text: b, feedback: f}, " + (
    "{text: c, feedback: f}, {text: d, feedback: f}]"
)
FIELDS = {
    "single": OPTIONS, "multiple": OPTIONS, "text": "accept: [one, two]",
    "numeric": "answer: x * 2, variables: {x: [1, 2, 3, 4]}", "ordering": "items: [a, b, c, d]",
    "matching": "pairs: [{left: a, right: b}, {left: c, right: d}], extra: [e]",
}  # fmt: skip


def course(root: Path, *, code: bool = False) -> Path:
    """Write the quiz of 30 questions, with one code exercise where asked for; give the keys."""
    for folder in ("quizzes/exercises", "datasets", "keys"):
        (root / folder).mkdir(parents=True)
    lines = ['id: "03"\ntitle: Thirty\nlesson: "03"\nversion: 1\nquestions:']
    for n, kind in enumerate(KINDS, 1):
        stem = "{x} times two?" if kind == "numeric" else f"{n}?"
        lines.append(f'  - {{id: 03.q{n}, type: {kind}, objective: "03.1", section: s, '
                     f'stem: "{stem}", explanation: e, {FIELDS[kind]}}}')  # fmt: skip
    (root / "quizzes" / "03_thirty.yaml").write_text("\n".join(lines) + "\n")
    if code:
        (root / "quizzes" / "exercises" / "03_thirty.yaml").write_text(EXERCISES)
    return root / "keys"


def value(kind: str, rng: random.Random) -> Any:
    """A student's answer to a question of a kind."""
    if kind == "multiple":
        return [f"o{n}" for n in range(1, 5) if rng.random() < 0.5] or ["o1"]
    if kind == "ordering":
        return rng.sample(["i1", "i2", "i3", "i4"], 4)
    if kind == "matching":
        return {"l1": f"r{rng.randint(1, 3)}", "l2": f"r{rng.randint(1, 3)}"}
    found = {"single": f"o{rng.randint(1, 4)}", "numeric": str(2 * rng.randint(1, 4))}
    return found.get(kind, rng.choice(["one", "two", "three"]))


def answers(student: str, rng: random.Random) -> list[dict[str, Any]]:
    """A student's 30 answers."""
    rows = [row(student, f"03.q{n}", value(k, rng), n) for n, k in enumerate(KINDS, 1)]
    for n, one in enumerate(rows):
        one["time"] = f"2026-11-01T{8 + n // 30:02}:{n % 60:02}:00.{rng.randrange(10**6):06}+00:00"
    return rows


def rate(students: int) -> None:
    """Mark parsed answers, a thousand students at a time."""
    with tempfile.TemporaryDirectory() as name:
        keys = load_keys(Path(name), course(Path(name)))
    marker, rng = Marker(keys, secret=b"s" * 32), random.Random(1)
    wall = cpu = marks = taken = 0.0
    for start in range(0, students, 1000):
        given = [(f"s{s}", {"03": tuple(Attempt(**r) for r in answers(f"s{s}", rng))})
                 for s in range(start, min(start + 1000, students))]  # fmt: skip
        began, worked, others = time.perf_counter(), time.process_time(), _taken_away()
        for student, attempts in given:
            marks += sum(1 for _ in marker.marks(student, attempts, None))
        wall += time.perf_counter() - began
        cpu += time.process_time() - worked
        taken += _taken_away() - others
    print("| students | marks | a second on the clock | a second of the processor | "
          "times the processor was taken away | load |\n|---|---|---|---|---|---|")  # fmt: skip
    print(f"| {students:,} | {marks:,.0f} | {students / wall:,.0f} | {students / cpu:,.0f} | "
          f"{taken:,.0f} | {os.getloadavg()[0]:.1f} |")  # fmt: skip


def _taken_away() -> int:
    """How often other work got the processor while this process wanted it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def zips(sizes: list[int]) -> None:
    """Grade zip files into a gradebook, each size in a process of its own."""
    print("| zip files | seconds | a second | processor seconds | peak memory, MB |\n"
          "|---|---|---|---|---|")  # fmt: skip
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            place, rng = Path(name), random.Random(2)
            course(place / "course")
            (place / "in").mkdir()
            for s in range(size):
                data = pack(f"s{s}", {"answers/03.s.jsonl": chained(answers(f"s{s}", rng))})
                (place / "in" / f"s{s}.zip").write_bytes(data)
            command = [sys.executable, __file__, "child", "--place", name]
            told = json.loads(subprocess.check_output(command))
            assert told["graded"] == size and told["marks"] == 30 * size
            print(f"| {size:,} | {told['wall']:.1f} | {size / told['wall']:,.0f} | "
                  f"{told['cpu']:.1f} | {told['peak'] / 1024:.0f} |", flush=True)  # fmt: skip


def child(place: Path) -> None:
    """Grade what lies below a folder; print what it took."""
    keys = load_keys(place / "course", place / "course" / "keys")
    began = time.perf_counter()
    with Gradebook(place / "g.sqlite") as book:
        found = marking.grade_all([place / "in"], Marker(keys, secret=b"s" * 32), book)
        (marks,) = book.db.execute("SELECT count(*) FROM marks").fetchone()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({
        "graded": found.graded, "marks": marks, "wall": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss,
    }))  # fmt: skip


@contextlib.contextmanager
def cluster() -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers over tcp on loopback, as 'dask' starts them."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    tool = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    work = [sys.executable, "-m", "distributed.cli.dask_worker"]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "scheduler.json"
        started = [subprocess.Popen([*tool, "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                                     "--scheduler-file", str(file)], **quiet)]  # fmt: skip
        try:
            while not file.exists() or not file.read_text().strip():
                time.sleep(0.2)
            address = json.loads(file.read_text())["address"]
            for _ in range(2):
                command = [*work, address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1",
                           "--local-directory", name]  # fmt: skip
                started.append(subprocess.Popen(command, **quiet))
            yield address, started
        finally:
            for process in started:
                process.kill()
                process.wait()


def dask(students: int) -> None:
    """Run code on two workers and kill one of them in mid-run."""
    import threading

    from distributed import Client

    with tempfile.TemporaryDirectory() as name, cluster() as (address, processes):
        place = Path(name)
        keys = load_keys(place / "course", course(place / "course", code=True))
        (place / "in").mkdir()
        for s in range(students):
            source = f"def f(x):\n    import time; time.sleep(0.05)\n    return sorted(x)  # {s}"
            rows = [row(f"s{s}", "03.e1", {"source": source}, outcome="correct")]
            data = pack(f"s{s}", {"answers/03.s.jsonl": chained(rows)})
            (place / "in" / f"s{s}.zip").write_bytes(data)
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        began, killed = time.perf_counter(), threading.Event()

        def progress(line: str) -> None:
            if line.startswith("code of") and not killed.is_set():
                killed.set()
                threading.Timer(0.5, processes[1].send_signal, (signal.SIGKILL,)).start()

        with Gradebook(place / "g.sqlite") as book:
            found = marking.grade_all([place / "in"], Marker(keys), book, jobs=2,
                                      scheduler=address, say=progress)  # fmt: skip
            rows = book.db.execute("SELECT outcome, count(*) FROM marks WHERE item='03.e1' "
                                   "GROUP BY outcome").fetchall()  # fmt: skip
            (lines,) = book.db.execute("SELECT count(*) FROM history WHERE item='03.e1' AND "
                                       "why='the code was run'").fetchone()  # fmt: skip
        assert processes[1].wait(10) == -signal.SIGKILL and processes[2].poll() is None
        assert rows == [("right", students)] and lines == students == found.ran
        print(f"{students} sources on 2 workers over tcp, one killed: {rows}, {lines} written "
              f"once each, {time.perf_counter() - began:.1f} s")  # fmt: skip


def nbgrader(folder: Path, students: int) -> None:
    """Mark the same 30 questions with nbgrader's autograde."""
    script = folder / "nbgrader"
    with tempfile.TemporaryDirectory() as name:
        place, rng = Path(name), random.Random(3)
        source = place / "source" / "ps1"
        source.mkdir(parents=True)
        config = "c = get_config()\nc.CourseDirectory.course_id = 'x'\n"
        (place / "nbgrader_config.py").write_text(config)
        (source / "p.ipynb").write_text(json.dumps(_assignment()))
        environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": name}
        run = {"cwd": place, "env": environment, "check": True, "stdout": subprocess.DEVNULL,
               "stderr": subprocess.PIPE}  # fmt: skip
        subprocess.run([script, "generate_assignment", "ps1"], **run)
        released = (place / "release" / "ps1" / "p.ipynb").read_text()
        for s in range(students):
            book = json.loads(released)
            for cell in book["cells"]:
                told = cell["metadata"].get("nbgrader", {})
                if told.get("solution"):
                    kind = KINDS[int(told["grade_id"][1:]) - 1]
                    cell["source"] = f"{told['grade_id']} = {value(kind, rng)!r}"
            target = place / "submitted" / f"s{s}" / "ps1"
            target.mkdir(parents=True)
            (target / "p.ipynb").write_text(json.dumps(book))
        began = time.perf_counter()
        subprocess.run([script, "autograde", "ps1"], **run)
        wall = time.perf_counter() - began
        done = len(list((place / "autograded").glob("*/ps1/p.ipynb")))
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"nbgrader autograde: {done} of {students} submissions in {wall:.1f} s, "
              f"{done / wall:.2f} a second; processor {used.ru_utime + used.ru_stime:.1f} s with "
              "generating the assignment")  # fmt: skip


def _assignment() -> dict[str, Any]:
    """A notebook of 30 answers, each with a test."""
    right = {"single": "'o1'", "multiple": "['o1']", "numeric": "'2'", "text": "'one'",
             "ordering": "['i1', 'i2', 'i3', 'i4']",
             "matching": "{'l1': 'r1', 'l2': 'r2'}"}  # fmt: skip
    cells = []
    for n, kind in enumerate(KINDS, 1):
        told = {"schema_version": 3, "locked": False, "task": False}
        answer = {"nbgrader": told | {"grade": False, "solution": True, "grade_id": f"q{n}"}}
        test = {"nbgrader": told | {"grade": True, "solution": False, "grade_id": f"t{n}",
                                    "points": 1, "locked": True}}  # fmt: skip
        text = f"### BEGIN SOLUTION\nq{n} = {right[kind]}\n### END SOLUTION"
        for metadata, body in ((answer, text), (test, f"assert q{n} == {right[kind]}")):
            cells.append({"cell_type": "code", "metadata": metadata, "source": body, "outputs": [],
                          "execution_count": None, "id": f"c{len(cells)}"})  # fmt: skip
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("rate", "zips", "dask", "nbgrader", "child"))
    parser.add_argument("--students", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 10_000])
    parser.add_argument("--place", type=Path)
    parser.add_argument("--bin", type=Path, default=Path("/usr/bin"))
    args = parser.parse_args()
    if args.part == "rate":
        rate(args.students or 10_000)
    elif args.part == "zips":
        zips(args.sizes)
    elif args.part == "dask":
        dask(args.students or 200)
    elif args.part == "nbgrader":
        nbgrader(args.bin.absolute(), args.students or 10)
    else:
        child(args.place)


if __name__ == "__main__":
    main()
