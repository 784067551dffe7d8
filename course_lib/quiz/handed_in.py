"""Open what a learner handed in: a stranger's zip file, of which nothing is trusted."""

from __future__ import annotations

import contextlib
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError, DataError, UsageError
from course_lib.quiz.answers import Attempt, Store
from course_lib.quiz.identity import check_student

MANIFEST = "manifest.json"
MOST_ENTRIES, LARGEST_ENTRY, LARGEST_TOTAL = 2000, 50 * 10**6, 400 * 10**6  # bytes unpacked
_NAME = r"[^/\\:\x00-\x1f\x7f\ud800-\udfff]{1,80}"  # at most 255 bytes with its ending
ALLOWED = re.compile(
    rf"manifest\.json|answers/{_NAME}\.jsonl|receipts/{_NAME}\.json"
    rf"|runs/(?!\.{{1,2}}/){_NAME}/(?:run\.json|predictions\.jsonl)"
)
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)
_LESSON = re.compile(r"[0-9]{2}|assessment")
Attempts = dict[str, tuple[Attempt, ...]]  # by lesson


@dataclass(frozen=True, slots=True)
class Submission:
    """What a verified submission holds.

    Attributes:
        path: the zip file. student, course, time: from the manifest; time is UTC.
        lessons: with saved answers. attempts: all of them, receipts included.
        runs: their names. left_out: what was not taken along, and why. damage: each fault.
    """

    path: Path
    student: str
    course: str
    time: str
    lessons: tuple[str, ...]
    attempts: int
    runs: tuple[str, ...]
    left_out: tuple[str, ...]
    damage: tuple[str, ...]


def _bad(path: Path, problem: str, got: str = "", expected: str = "") -> DataError:
    return DataError(problem, where=str(path), got=got, expected=expected,
                     next_step="get the file again; 'course submit' makes a new one")  # fmt: skip


def verify(path: Path) -> Submission:
    """Open a submission, trusting nothing in it, and say what it holds.

    Raises:
        DataError: naming what is wrong: no zip file, too large, an odd entry, another hash.
    """
    with opened(path) as (found, _, _):
        return found


@contextlib.contextmanager
def opened(path: Path, *, predictions: bool = False) -> Iterator[tuple[Submission, Path, Attempts]]:
    """Verify a submission and keep what it holds unpacked, in a folder of its own, for a while.

    Args:
        path: the zip file.
        predictions: unpack predictions too; else they are only hashed.

    Yields:
        What it holds, the folder with ``answers/``, ``receipts/`` and ``runs/``, and the attempts
        by lesson, receipts joined, in order of time.

    Raises:
        DataError: as :func:`verify`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if path.stat().st_size > LARGEST_TOTAL:
                raise _bad(path, "the file is too large", expected=f"{LARGEST_TOTAL:,} bytes")
            with zipfile.ZipFile(path) as packed:
                entries = _entries(path, packed)
                found = {e.filename: _unpack(path, packed, e, folder, predictions) for e in entries}
        except _UNREADABLE as error:
            raise _bad(path, "the file cannot be read as a zip file", str(error)) from error
        manifest = _manifest(path, folder)
        found.pop(MANIFEST)
        for entry in sorted({*found, *manifest["files"]}):
            if found.get(entry) != manifest["files"].get(entry):
                got, said = (str(x.get(entry, "nothing"))[:200] for x in (found, manifest["files"]))
                raise _bad(path, f"{entry!a} is not what the manifest says", got, said)
        attempts, damage = _read(path, folder, found)
        student, course, time = (manifest[k] for k in ("student", "course", "time"))
        count, runs = sum(map(len, attempts.values())), sorted(_runs(path, folder, found))
        left_out = tuple(map(str, manifest["left_out"]))
        yield Submission(path, student, course, time, tuple(attempts), count, tuple(runs),
                         left_out, tuple(damage)), folder, attempts  # fmt: skip


def _entries(path: Path, packed: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Give the entries after checking all that can be told without unpacking."""
    entries = packed.infolist()
    if len(entries) > MOST_ENTRIES or sum(e.file_size for e in entries) > LARGEST_TOTAL:
        most = f"at most {MOST_ENTRIES:,} entries and {LARGEST_TOTAL:,} bytes unpacked"
        raise _bad(path, "too many entries or too large", f"{len(entries):,} entries", most)
    names: set[str] = set()
    for entry in entries:
        kind, shown = stat.S_IFMT(entry.external_attr >> 16), ascii(entry.filename)
        packing = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        placed = ALLOWED.fullmatch(entry.filename) and entry.filename == entry.orig_filename
        for fault, what in (
            (not placed, "has no place in a submission"),
            (entry.filename in names, "is there twice"),
            (kind not in (0, stat.S_IFREG), "is a link or a device"),
            (entry.flag_bits & 1 or not packing, "is encrypted or not packed with deflate"),
            (entry.file_size > LARGEST_ENTRY, f"is too large: over {LARGEST_ENTRY:,} bytes"),
        ):
            if fault:
                raise _bad(path, f"the entry {shown} {what}")
        names.add(entry.filename)
    if MANIFEST in names:
        return entries
    raise _bad(path, "the manifest is missing", expected=MANIFEST)


def _unpack(path: Path, packed: zipfile.ZipFile, entry: zipfile.ZipInfo,
            folder: Path, predictions: bool) -> dict[str, Any]:  # fmt: skip
    """Unpack an entry, never more than it says; give its size and hash."""
    with packed.open(entry) as source:
        data = source.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise _bad(path, f"the entry {entry.filename!a} has not the size it says")
    if predictions or not entry.filename.endswith("/predictions.jsonl"):
        (folder / entry.filename).parent.mkdir(parents=True, exist_ok=True)
        (folder / entry.filename).write_bytes(data)
    return {"bytes": len(data), "sha256": files.sha256_bytes(data)}


def _manifest(path: Path, folder: Path) -> dict[str, Any]:
    try:
        found = files.read_json(folder / MANIFEST)
        check_student(found["student"], MANIFEST)
        datetime.fromisoformat(found["time"])
        sound = found["schema"] == 1 and isinstance(found["course"], str)
        if sound and isinstance(found["files"], dict) and isinstance(found["left_out"], list):
            return dict(found)
    except (DataError, KeyError, TypeError, ValueError, UsageError):
        pass
    raise _bad(path, "the manifest is damaged", expected="schema 1, with student and files")


def _read(path: Path, folder: Path, found: Iterable[str]) -> tuple[Attempts, list[str]]:
    """Read answers and receipts, each once; give the attempts by lesson, and the damage."""
    receipts: dict[str, list[Any]] = {}
    for name in sorted(found):
        if name.startswith("receipts/"):
            _take_receipts(path, folder / name, receipts)
    lessons = {n.split("/")[1].split(".")[0] for n in found if n.startswith("answers/")}
    attempts: Attempts = {}
    damage: list[str] = []
    odd: list[str] = []
    for name in sorted(lessons | set(receipts)):
        if not _LESSON.fullmatch(name):
            odd.append(f"answers of {name!a}, which is no lesson")
            continue
        loaded = Store(folder / "answers", name).load(receipts.get(name, ()))
        attempts[name] = loaded.attempts
        damage += loaded.damage
    return attempts, damage + odd


def _runs(path: Path, folder: Path, found: Iterable[str]) -> Iterator[str]:
    """Yield the names of the runs; each must have a record."""
    for name in found:
        if name.endswith("/run.json"):
            if not is_object(folder / name):
                raise _bad(path, f"{name!a} is no run record")
            yield name.split("/")[1]


def _take_receipts(path: Path, source: Path, receipts: dict[str, list[Any]]) -> None:
    try:
        for one in files.read_json(source)["receipts"]:
            receipts.setdefault(str(one["lesson"]), []).extend(one["attempts"])
    except (DataError, KeyError, TypeError) as error:
        raise _bad(path, f"receipts/{source.name!a} holds no receipts") from error


def is_object(path: Path) -> bool:
    """Tell whether a file holds one JSON object."""
    try:
        return isinstance(files.read_json(path), dict)
    except (CourseError, OSError):
        return False
