"""What a learner hands in: one zip file with a manifest, and the reading of a stranger's."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from course_lib import files
from course_lib.errors import CourseError, DataError, StorageError, UsageError
from course_lib.quiz.answers import Store, now
from course_lib.quiz.identity import Identity, check_student, course_version
from course_lib.quiz.notebook import with_receipts

MANIFEST = "manifest.json"
LARGEST_RUN_FILE, ROOM_IN_TOTAL = 20 * 2**20, 10**6  # bytes; room for the manifest
MOST_ENTRIES, LARGEST_ENTRY, LARGEST_TOTAL = 2000, 50 * 10**6, 400 * 10**6  # bytes unpacked
_NAME = r"[^/\\:\x00-\x1f\x7f\ud800-\udfff]{1,80}"  # at most 255 bytes with its ending
_ALLOWED = re.compile(
    rf"manifest\.json|answers/{_NAME}\.jsonl|receipts/{_NAME}\.json"
    rf"|runs/(?!\.{{1,2}}/){_NAME}/(?:run\.json|predictions\.jsonl)"
)
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)
_LESSON = re.compile(r"[0-9]{2}|assessment")


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


def submit(work: Path, out: Path | None = None, *, identity: Identity) -> Submission:
    """Pack answers, receipts and run records into ``submission-STUDENT-NNN.zip``, verified.

    Args:
        work: of the learner's notebooks. out: where the file goes; None for ``work``.
        identity: of :func:`course_lib.quiz.identity.current`.

    Raises:
        UsageError: when nobody is enrolled, or there is nothing to hand in.
        StorageError: when the file cannot be written.
    """
    if not identity.student:
        step = "run 'course enroll TOKEN' with your instructor's token"
        raise UsageError("nobody is enrolled here", where=str(work), next_step=step)
    left_out: list[str] = []
    content = list(_content(work, left_out))
    if not content:
        step = "answer a quiz or run a lesson first, or name the folder of your notebooks"
        raise UsageError("there is nothing to hand in", where=str(work), next_step=step,
                         expected="answers/, receipts in notebooks, or runs/")  # fmt: skip
    folder = out or work
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".submission-", suffix=".part")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as target:
            _pack(target, content, identity, left_out)
            target.flush()
            os.fsync(target.fileno())
        checked = verify(temporary)
        os.chmod(temporary, 0o644)
        return replace(checked, path=_publish(temporary, folder, identity.student))
    except OSError as error:
        step = "free some space or choose another folder; your answers are untouched"
        raise StorageError("the submission could not be written", where=str(folder),
                           got=error.strerror or str(error), next_step=step) from error  # fmt: skip
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def _publish(temporary: Path, folder: Path, student: str) -> Path:
    """Give the file the next free number; an existing one is never replaced."""
    numbered = (folder / f"submission-{student}-{n:03}.zip" for n in itertools.count(1))
    for path in (p for p in numbered if not p.exists()):
        try:
            os.link(temporary, path)
        except FileExistsError:
            continue  # another submit was quicker
        except OSError:  # a file system without links, such as exFAT
            os.replace(temporary, path)
        files.fsync_folder(folder)
        return path
    raise AssertionError("numbers do not end")


def _content(work: Path, left_out: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of what is handed in; note what is not, and why."""
    total, count = 0, 1  # the manifest is an entry too
    for name, source in itertools.chain(_answers(work), _runs(work, left_out)):
        try:
            data = source.read_bytes() if isinstance(source, Path) else source
        except OSError as error:
            left_out.append(f"{name}: cannot be read ({error.strerror})")
            continue
        if count == MOST_ENTRIES:
            left_out.append(f"{name}: over {MOST_ENTRIES:,} files")
        elif len(data) > min(LARGEST_ENTRY, LARGEST_TOTAL - ROOM_IN_TOTAL - total):
            left_out.append(f"{name}: {len(data):,} bytes are too large for the file")
        elif not _ALLOWED.fullmatch(name):
            left_out.append(f"{name!a}: the name is too long or has odd characters")
        else:
            total, count = total + len(data), count + 1
            yield name, data


def _answers(work: Path) -> Iterator[tuple[str, Path | bytes]]:
    for path in sorted((work / "answers").glob("*.jsonl")):
        yield f"answers/{path.name}", path
    for path, receipts in with_receipts(work):
        kept = {"schema": 1, "notebook": path.name, "receipts": receipts}
        yield f"receipts/{path.stem}.json", _json(kept)


def _runs(work: Path, left_out: list[str]) -> Iterator[tuple[str, Path]]:
    for folder in sorted(p.parent for p in (work / "runs").glob("*/run.json")):
        found = [p for p in (folder / "run.json", folder / "predictions.jsonl") if p.is_file()]
        if large := [p.name for p in found if p.stat().st_size > LARGEST_RUN_FILE]:
            left_out.append(f"runs/{folder.name}: {large[0]} is over 20 MB")
        elif not _is_object(folder / "run.json"):
            left_out.append(f"runs/{folder.name}: run.json cannot be read")
        else:
            yield from ((f"runs/{folder.name}/{path.name}", path) for path in found)


def _is_object(path: Path) -> bool:
    try:
        return isinstance(files.read_json(path), dict)
    except (CourseError, OSError):
        return False


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _pack(target: BinaryIO, content: Iterable[tuple[str, bytes]], who: Identity,
          left_out: list[str]) -> None:  # fmt: skip
    """Write the zip file; equal content gives equal bytes but for the manifest's time."""
    listed = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content:
            packed.writestr(_entry(name), data)
            listed[name] = {"bytes": len(data), "sha256": files.sha256_bytes(data)}
        manifest = {
            "schema": 1, "student": who.student, "course": who.course, "time": now(),
            "course_version": course_version(), "left_out": left_out, "files": listed,
        }  # fmt: skip
        packed.writestr(_entry(MANIFEST), _json(manifest))


def _entry(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)  # its time stamp is 1980-01-01, whatever the clock
    made.compress_type, made.create_system = zipfile.ZIP_DEFLATED, 3
    made.external_attr = (stat.S_IFREG | 0o644) << 16
    return made


def _bad(path: Path, problem: str, got: str = "", expected: str = "") -> DataError:
    return DataError(problem, where=str(path), got=got, expected=expected,
                     next_step="get the file again; 'course submit' makes a new one")  # fmt: skip


def verify(path: Path) -> Submission:
    """Open a submission, trusting nothing in it, and say what it holds.

    Raises:
        DataError: naming what is wrong: no zip file, too large, an odd entry, another hash.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if path.stat().st_size > LARGEST_TOTAL:
                raise _bad(path, "the file is too large", expected=f"{LARGEST_TOTAL:,} bytes")
            with zipfile.ZipFile(path) as packed:
                entries = _entries(path, packed)
                found = {e.filename: _unpack(path, packed, e, folder) for e in entries}
        except _UNREADABLE as error:
            raise _bad(path, "the file cannot be read as a zip file", str(error)) from error
        manifest = _manifest(path, folder)
        found.pop(MANIFEST)
        for entry in sorted({*found, *manifest["files"]}):
            if found.get(entry) != manifest["files"].get(entry):
                got, said = (str(x.get(entry, "nothing"))[:200] for x in (found, manifest["files"]))
                raise _bad(path, f"{entry!a} is not what the manifest says", got, said)
        return _counted(path, folder, manifest, found)


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
        placed = _ALLOWED.fullmatch(entry.filename) and entry.filename == entry.orig_filename
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
            folder: Path) -> dict[str, Any]:  # fmt: skip
    """Unpack an entry, never more than it says; give its size and hash."""
    with packed.open(entry) as source:
        data = source.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise _bad(path, f"the entry {entry.filename!a} has not the size it says")
    if not entry.filename.endswith("/predictions.jsonl"):  # those are only hashed
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


def _counted(path: Path, folder: Path, manifest: Mapping[str, Any],
             found: Iterable[str]) -> Submission:  # fmt: skip
    """Read answers, receipts and runs, and count them."""
    receipts: dict[str, list[Any]] = {}
    runs = []
    for name in found:
        if name.startswith("receipts/"):
            _take_receipts(path, folder / name, receipts)
        elif name.endswith("/run.json"):
            runs.append(name.split("/")[1])
            if not _is_object(folder / name):
                raise _bad(path, f"{name!a} is no run record")
    lessons = {n.split("/")[1].split(".")[0] for n in found if n.startswith("answers/")}
    lessons |= set(receipts)
    read = sorted(filter(_LESSON.fullmatch, lessons))
    loaded = [Store(folder / "answers", n).load(receipts.get(n, ())) for n in read]
    damage = [d for one in loaded for d in one.damage]
    damage += [f"answers of {n!a}, which is no lesson" for n in sorted(lessons - set(read))]
    attempts = sum(len(one.attempts) for one in loaded)
    student, course, time = (manifest[k] for k in ("student", "course", "time"))
    left_out = tuple(map(str, manifest["left_out"]))
    return Submission(path, student, course, time, tuple(read), attempts, tuple(sorted(runs)),
                      left_out, tuple(damage))  # fmt: skip


def _take_receipts(path: Path, source: Path, receipts: dict[str, list[Any]]) -> None:
    try:
        for one in files.read_json(source)["receipts"]:
            receipts.setdefault(str(one["lesson"]), []).extend(one["attempts"])
    except (DataError, KeyError, TypeError) as error:
        raise _bad(path, f"receipts/{source.name!a} holds no receipts") from error
