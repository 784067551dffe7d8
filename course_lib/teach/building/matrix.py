"""Build lessons x profiles x seeds: only what changed, side by side, never over a good output.

Each notebook is run under a temporary name and put in its place by one rename. With more than
one job the runs go to a Dask cluster: a local one, or the scheduler at an address.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.teach import glossary, regenerate
from course_lib.teach.building import drift, graft, runner, workers
from course_lib.teach.building.inputs import inputs_of
from course_lib.teach.building.manifest import Manifest

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """What became of one notebook.

    Attributes:
        lesson: such as ``03_text_classification``.
        path: where it lies or would lie.
        seconds: the run's time; 0 where nothing ran.
        state: ``built``, ``unchanged``, ``words`` (prose renewed, outputs kept), ``failed``,
            ``same`` or ``drifted`` (when checking).
        error: what ended a failed run.
        drift: the differences found when checking.
    """

    lesson: str
    path: Path
    seconds: float = 0.0
    state: str = "built"
    error: str = ""
    drift: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Task:
    source: Path
    book: Any = field(repr=False)
    path: Path
    profile: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Any] = field(repr=False)

    def job(self, cell_seconds: int) -> runner.Job:
        import nbformat

        text = nbformat.writes(self.book)
        return runner.Job(str(self.path), text, self.profile, self.parameters, cell_seconds)


def build(
    names: Sequence[str] = (),
    *,
    profiles: Sequence[str] = ("cpu",),
    seeds: Sequence[int] = (),
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    scheduler: str = "",
    out: Path | None = None,
    force: bool = False,
    check: bool = False,
    words: bool = False,
    cell_seconds: int = 900,
    root: Path | None = None,
    say: Say = lambda line: None,
) -> list[Built]:
    """Build lessons.

    Args:
        names: numbers or names; all when empty.
        profiles: ``quick``, ``cpu``, ``gpu``. The profile ``cpu`` alone, without seeds, parameters
            and ``out``, makes the committed notebooks; anything else goes to
            ``out/PROFILE[/seed-N]`` (``build/`` when None).
        seeds: values of the parameter ``seed``; none means the lesson's own.
        parameters: further papermill parameters; a name the lesson does not have is refused.
        jobs: runs side by side.
        scheduler: address of a Dask scheduler, such as ``tcp://127.0.0.1:8786``.
        out: folder for the notebooks and their ``build.json``.
        force: run also what has not changed.
        check: build into a temporary place and report drift; nothing is replaced.
        words: renew words and questions only, and keep the outputs whatever else changed.
        cell_seconds: the longest a cell may take.
        root: the course's folder.
        say: told what happens.

    Returns:
        One record a notebook, in the order of lessons, profiles and seeds.

    Raises:
        UsageError: for an unknown profile, parameter, or less than one job.
        UnknownNameError: for an unknown lesson.
    """
    if wrong := [p for p in profiles if p not in regenerate.PROFILES]:
        raise UsageError(f"unknown profile {wrong[0]!r}", expected=", ".join(regenerate.PROFILES))
    if jobs < 1:
        raise UsageError("there must be at least one job", got=f"--jobs {jobs}")
    root = root or files.course_root()
    tasks = list(_tasks(names, profiles, seeds, parameters or {}, out, root))
    if not check:
        _glossary(root)
    ready, todo = _sort(tasks, force or check, words and not check, say)
    if words and not check:
        return [ready.get(t.path) or _left(t) for t in tasks]
    started = time.monotonic()
    work = {str(t.path): t for t in todo}
    queue = [t.job(cell_seconds) for t in todo]
    for done, ran in enumerate(workers.run_all(queue, jobs, scheduler), 1):
        task = work[ran.name]
        built = _judge(task, ran, root) if check else _place(task, ran, root)
        ready[task.path] = built
        left = (time.monotonic() - started) / done * (len(todo) - done)
        more = f"; {len(todo) - done} to go, about {left / 60:.0f} min" if left else ""
        told = built.error or built.state
        say(f"{built.lesson} ({task.profile}): {told} in {built.seconds:.0f} s{more}")
    return [ready[task.path] for task in tasks]


def _left(task: _Task) -> Built:
    return Built(task.source.stem, task.path, state="failed",
                 error="its code changed; build it without --words")  # fmt: skip


def _glossary(root: Path) -> None:
    terms = glossary.read_terms(root / "notebooks" / "source" / "glossary")
    if terms:
        files.write_text(root / "notebooks" / glossary.PAGE, glossary.page(terms))


def _tasks(
    names: Sequence[str],
    profiles: Sequence[str],
    seeds: Sequence[int],
    parameters: Mapping[str, Any],
    out: Path | None,
    root: Path,
) -> Iterator[_Task]:
    committed = out is None and list(profiles) == ["cpu"] and not seeds and not parameters
    for source in regenerate.lesson_sources(list(names), root):
        book = regenerate.read_source(source)
        known = regenerate.parameters_of(book)
        for profile in profiles:
            for seed in seeds or (None,):
                given = dict(parameters) | ({} if seed is None else {"seed": seed})
                if unknown := sorted(set(given) - known):
                    raise UsageError(
                        f"{source.stem} has no parameter {unknown[0]!r}",
                        expected=", ".join(sorted(known)),
                    )
                folder = root / "notebooks" if committed else (out or root / "build") / profile
                if seed is not None:
                    folder = folder / f"seed-{seed}"
                yield _Task(source, book, folder / f"{source.stem}.ipynb", profile, given,
                            inputs_of(source, book, given, profile))  # fmt: skip


def _sort(
    tasks: Sequence[_Task], force: bool, words: bool, say: Say
) -> tuple[dict[Path, Built], list[_Task]]:
    """Part the notebooks that are as they should be from those to be run."""
    ready: dict[Path, Built] = {}
    todo = []
    for task in tasks:
        name = task.source.stem
        kept = Manifest.read(task.path.parent)
        state = "new" if force else kept.state(name, task.inputs, task.path)
        changed = kept.why(name, task.inputs) if state == "changed" else []
        if state == "done" and graft.same_words(task.book, task.path):
            ready[task.path] = Built(name, task.path, state="unchanged")
            continue
        keeps = state == "done" or changed == ["questions"] or words
        if keeps and not force and graft.same_code(task.book, task.path):
            asked = "questions" in changed or words
            error = graft.renewed(task.book, task.path, task.profile, questions=asked)
            if not error:
                _renewed(kept, task, words)
                ready[task.path] = Built(name, task.path, state="words")
                say(f"{name} ({task.profile}): words renewed, outputs kept")
                continue
        todo.append(task)
        why = ", ".join(changed) or state
        say(f"{name} ({task.profile}): to be built" + ("" if force else f" ({why})"))
    return ready, todo


def _renewed(kept: Manifest, task: _Task, words: bool) -> None:
    """Record renewed words; what the outputs came from stays as it was."""
    entry = kept.entries.get(task.source.stem) or {}
    before = entry.get("inputs") or {}
    inputs = {**before, "questions": task.inputs["questions"]} if words else task.inputs
    kept.keep(task.source.stem, inputs, task.path, float(entry.get("seconds", 0)))


def _finished(ran: runner.Ran, root: Path) -> Any:
    """Clean what papermill gave; a path of this machine in it is an error."""
    import nbformat

    book = regenerate.clean(nbformat.reads(ran.notebook, as_version=4))
    if leaked := regenerate.find_paths(book, root):
        raise DataError("outputs hold paths of this machine", got=str(leaked[:3]))
    return book


def _told(ran: runner.Ran) -> str:
    place = f", cell {ran.cell}" if ran.cell >= 0 else ""
    return f"{ran.kind}{place}: {ran.error}"


def _place(task: _Task, ran: runner.Ran, root: Path) -> Built:
    import nbformat

    name = task.source.stem
    if ran.kind:
        return Built(name, task.path, ran.seconds, "failed", _told(ran))
    try:
        book = _finished(ran, root)
    except DataError as error:
        return Built(name, task.path, ran.seconds, "failed", str(error))
    files.write_text(task.path, nbformat.writes(book) + "\n")
    Manifest.read(task.path.parent).keep(name, task.inputs, task.path, ran.seconds)
    return Built(name, task.path, ran.seconds)


def _judge(task: _Task, ran: runner.Ran, root: Path) -> Built:
    import nbformat

    name = task.source.stem
    if ran.kind:
        return Built(name, task.path, ran.seconds, "failed", _told(ran))
    if not task.path.is_file():
        return Built(name, task.path, ran.seconds, "drifted", drift=("there is no notebook",))
    new = json.loads(nbformat.writes(_finished(ran, root)))
    found = drift.compare(json.loads(files.read_text(task.path)), new)
    state = "drifted" if found else "same"
    return Built(name, task.path, ran.seconds, state, drift=tuple(map(str, found)))
