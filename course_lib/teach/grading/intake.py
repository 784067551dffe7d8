"""Take in what was handed in: zip files, folders, notebooks; trust nothing, stop at nothing.

A file that cannot be read gives one fault; the next one is read. What can be read is given as
attempts by lesson, with the folder of runs that came along.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError, DataError, UsageError
from course_lib.quiz import handed_in, identity, notebook
from course_lib.quiz.answers import Attempt, Store
from course_lib.teach.grading.sound import Left, damage_of, sound

MOST_ANSWERS = 20_000  # lines of one student
LARGEST_NOTEBOOK = 25 * 10**6  # bytes
LARGEST_ANSWERS = 20 * 10**6  # bytes of one student's answers and receipts
LARGEST_RUN, LARGEST_PREDICTIONS = 5 * 10**6, 25 * 10**6  # bytes of a file
FEW = 200_000  # bytes that cannot hold too many answers
_UNREADABLE = (zipfile.BadZipFile, zlib.error, ValueError, RuntimeError, OSError, EOFError)
DEEPEST = 8  # folders inside each other
LESSONS = [f"{n:02}" for n in range(100)] + ["assessment"]


@dataclass(frozen=True, slots=True)
class Handed:
    """What one student handed in.

    Attributes:
        path: the file or folder. sha256: of its content.
        student, course: as it says; not proved. time: when, UTC, as it says.
        attempts: by lesson, in order of time. runs: folder of runs, or None.
        left: field, code and message of what was torn or left out.
    """

    path: Path
    sha256: str
    student: str
    course: str
    time: datetime
    attempts: Mapping[str, tuple[Attempt, ...]]
    runs: Path | None
    left: tuple[Left, ...] = ()


def find(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield every submission below the paths, and how to tell it.

    Submissions are zip files, notebooks named ``STUDENT__….ipynb`` and folders with
    ``answers/``, an enrolment or notebooks. Links are not followed; links, fifos, sockets and
    devices are given as they are, to be told.

    Raises:
        UsageError: when a path does not exist.
    """
    for path in paths:
        if not path.exists() and not path.is_symlink():
            raise UsageError("there is no such file or folder", where=str(path))
    for path in paths:
        yield from _below(path, path.name or str(path), 0)


def _below(path: Path, name: str, depth: int) -> Iterator[tuple[Path, str]]:
    if (depth and path.is_symlink()) or not path.is_dir() or depth > DEEPEST:
        yield path, name
        return
    try:
        inside = sorted(os.listdir(path))  # names alone: a class may have many
    except OSError:
        yield path, name  # opening it tells why
        return
    books = [n for n in inside if n.endswith(".ipynb") and n != ".ipynb"]
    own = any((path / n).is_dir() for n in ("answers", ".course") if n in inside)
    if own or (books and not any("__" in n for n in books)):
        yield path, name
        return
    for one in inside:
        if not one.startswith(".") and ".sqlite" not in one:  # a gradebook beside
            yield from _below(path / one, f"{name}/{one}" if depth else one, depth + 1)


@contextlib.contextmanager
def in_memory() -> Iterator[None]:
    """Unpack in memory meanwhile, where the system has room for it: folders on disk are slow."""
    before, room = tempfile.tempdir, Path("/dev/shm")
    with contextlib.suppress(OSError):
        if os.access(room, os.W_OK) and shutil.disk_usage(room).free > 2 * handed_in.LARGEST_TOTAL:
            tempfile.tempdir = str(room)
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Handed]:
    """Read one submission; what it unpacks is gone at the end.

    Raises:
        DataError: when it cannot be read; the message says why.
    """
    kind = os.lstat(path).st_mode
    if stat.S_ISDIR(kind):
        yield _folder(path)
    elif not stat.S_ISREG(kind):
        got = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe"}.get(stat.S_IFMT(kind), "a device")
        raise DataError("this is no ordinary file", where=str(path), got=got,
                        expected="a zip file, a notebook or a folder",
                        next_step="copy the file itself into the folder")  # fmt: skip
    elif path.suffix == ".ipynb":
        yield _notebook(path)
    else:
        _sizes(path)
        with handed_in.opened(path, predictions=True) as (found, folder, given):
            attempts, left = sound(given)
            left += damage_of(folder / "answers", found.damage)
            yield Handed(
                path, files.sha256_file(path), found.student, found.course[:200],
                _zoned(found.time), attempts, folder / "runs" if found.runs else None, tuple(left),
            )  # fmt: skip


def _zoned(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _sizes(path: Path) -> None:
    """Refuse a zip file whose answers would cost much memory or time, before any is read."""
    if path.stat().st_size > handed_in.LARGEST_TOTAL:
        return  # told by handed_in
    with contextlib.suppress(*_UNREADABLE), zipfile.ZipFile(path) as packed:
        listed = packed.infolist()
        if len(listed) > handed_in.MOST_ENTRIES:
            return
        sizes = [(e.filename, e.file_size) for e in listed]
        if any(size > handed_in.LARGEST_ENTRY for _, size in sizes):
            return
        _fit(path, sizes)
        for entry in listed:
            if entry.file_size > FEW and entry.filename.startswith("answers/"):
                with packed.open(entry) as source:
                    _lines(path, source.read(entry.file_size))


def _fit(path: Path, entries: Iterable[tuple[str, int]]) -> None:
    total = 0
    for name, size in entries:
        total += 0 if name.startswith("runs/") else size
        most = LARGEST_PREDICTIONS if name.endswith("/predictions.jsonl") else LARGEST_RUN
        if total > LARGEST_ANSWERS or (name.startswith("runs/") and size > most):
            raise DataError("the answers are too large", where=str(path), got=f"{name!a}",
                            expected=f"at most {LARGEST_ANSWERS:,} bytes of answers, {most:,} of "
                            "that file")  # fmt: skip


def _lines(path: Path, data: bytes) -> None:
    if data.count(b"\n") > MOST_ANSWERS:
        raise DataError("too many answers", where=str(path),
                        expected=f"at most {MOST_ANSWERS:,} lines")  # fmt: skip


def _folder(path: Path) -> Handed:
    """A working folder: its enrolment says who, else the folder's name."""
    _checked(path)
    enrolled = path / identity.ENROLMENT
    student, course = path.name, ""
    if enrolled.is_file():
        try:
            who = identity.read_enrolment(enrolled)
        except CourseError as error:
            raise DataError("the enrolment cannot be read", where=str(enrolled),
                            got=str(error)[:200]) from None  # fmt: skip
        student, course = who.student, who.course
    identity.check_student(student, str(path))
    receipts = [r for _, found in notebook.with_receipts(path) for r in found]
    damage: list[str] = []
    attempts: dict[str, tuple[Attempt, ...]] = {}
    for lesson in LESSONS:
        inside_book = [a for r in receipts if r["lesson"] == lesson for a in r["attempts"]]
        if inside_book or any((path / "answers").glob(f"{lesson}.*.jsonl")):
            loaded = Store(path / "answers", lesson).load(inside_book)
            attempts[lesson] = loaded.attempts
            damage += loaded.damage
    content = _content(attempts)
    attempts, left = sound(attempts)
    left += damage_of(path / "answers", damage)
    runs = path / "runs"
    found = [p for p in path.rglob("*") if p.is_file() and "runs" not in p.parts]
    last = max((p.stat().st_mtime for p in found), default=0.0)
    return Handed(
        path, content, student, course, datetime.fromtimestamp(last, UTC), attempts,
        runs if runs.is_dir() else None, tuple(left),
    )  # fmt: skip


def _checked(path: Path) -> None:
    """Refuse a folder with links or pipes, or files too large to be answers."""
    sizes = []
    for inside in path.rglob("*"):
        kind = inside.lstat().st_mode
        if stat.S_ISLNK(kind):
            raise DataError("the folder holds a link", where=str(inside),
                            next_step="ask for a zip file made with 'course submit'")  # fmt: skip
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise DataError("this is no ordinary file", where=str(inside),
                            got="a pipe" if stat.S_ISFIFO(kind) else "a device",
                            next_step="ask for a zip file made with 'course submit'")  # fmt: skip
        name = inside.relative_to(path).as_posix()
        if name.startswith(("answers/", "runs/")) and name.endswith((".json", ".jsonl")):
            size = inside.stat().st_size
            sizes.append((name, size))
            if name.startswith("answers/") and FEW < size <= LARGEST_ANSWERS:
                _lines(path, inside.read_bytes())
    _fit(path, sizes)


def _notebook(path: Path) -> Handed:
    """A single notebook: its receipts hold the answers, its name begins with the student's id."""
    if path.stat().st_size > LARGEST_NOTEBOOK:
        raise DataError("the notebook is too large", where=str(path),
                        expected=f"at most {LARGEST_NOTEBOOK:,} bytes")  # fmt: skip
    content = files.read_json(path, max_bytes=LARGEST_NOTEBOOK)
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise DataError("this is no notebook", where=str(path), expected="a map with cells")
    student = path.stem.split("__")[0]
    identity.check_student(student, str(path))
    attempts = {
        lesson: Store(path.parent / ".none", lesson).load(found).attempts
        for lesson, found in _receipts(content).items()
        if lesson in LESSONS
    }
    if not any(attempts.values()):
        raise DataError("the notebook holds no answers", where=str(path),
                        next_step="run the cell receipt(…) at its end and save it, "
                        "or hand in the file of 'course submit'")  # fmt: skip
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    kept, left = sound(attempts)
    return Handed(path, files.sha256_file(path), student, "", time, kept, None, tuple(left))


def _receipts(content: dict[str, Any]) -> dict[str, list[Any]]:
    """The attempts in a notebook's outputs, by lesson; what is of the wrong kind is passed over."""
    found: dict[str, list[Any]] = {}
    for cell in content["cells"]:
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for output in outputs if isinstance(outputs, list) else ():
            data = output.get("data") if isinstance(output, dict) else None
            receipt = data.get(notebook.RECEIPT) if isinstance(data, dict) else None
            if isinstance(receipt, dict) and isinstance(receipt.get("attempts"), list):
                kept = [a for a in receipt["attempts"] if isinstance(a, dict)]
                found.setdefault(str(receipt.get("lesson")), []).extend(kept)
    if sum(map(len, found.values())) > MOST_ANSWERS:
        raise DataError("too many answers", expected=f"at most {MOST_ANSWERS:,}")
    return found


def _content(attempts: Mapping[str, Sequence[Attempt]]) -> str:
    lines = [repr(a) for lesson in sorted(attempts) for a in attempts[lesson]]
    return files.sha256_bytes("\n".join(lines).encode("utf-8", "backslashreplace"))
