"""What a learner hands in: one zip file with a manifest."""

from __future__ import annotations

import itertools
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from course_lib import files
from course_lib.errors import StorageError, UsageError
from course_lib.quiz.answers import now
from course_lib.quiz.handed_in import (
    ALLOWED,
    LARGEST_ENTRY,
    LARGEST_TOTAL,
    MANIFEST,
    MOST_ENTRIES,
    Submission,
    is_object,
    verify,
)
from course_lib.quiz.identity import Identity, course_version
from course_lib.quiz.notebook import with_receipts

LARGEST_RUN_FILE, ROOM_IN_TOTAL = 20 * 2**20, 10**6  # bytes; room for the manifest


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
        elif not ALLOWED.fullmatch(name):
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
        elif not is_object(folder / "run.json"):
            left_out.append(f"runs/{folder.name}: run.json cannot be read")
        else:
            yield from ((f"runs/{folder.name}/{path.name}", path) for path in found)


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
