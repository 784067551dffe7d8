"""Answers that are never lost: append-only JSON Lines, one file a kernel session.

Each line names the hash of the line before it, so that damage shows. A session writes only
its own file, so two kernels never get into each other's way; reading joins all files.
A line counts once it is complete: a torn last line, as a killed process leaves it, is told
and left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError, DataError, StorageError

FIRST = "0" * 64
LONGEST_LINE = 64 * 1024  # bytes
_TEXT, _NUMBER = frozenset([str]), frozenset([int, float])


@dataclass(frozen=True, slots=True)
class Attempt:
    """One submitted answer.

    Attributes:
        quiz, question: ids; version: of the quiz file.
        attempt: 1 for the first submission of this question in this session's view.
        value: the answer, as JSON.
        time: UTC, ISO 8601, to the microsecond.
        hints: how many hints were open.
        outcome, share: the verdict told at that time; grading never trusts it.
        session: the file's name part.
        number: its place in the session's file, from 1.
    """

    quiz: str
    question: str
    version: int
    attempt: int
    value: Any
    time: str
    hints: int = 0
    outcome: str = ""
    share: float = 0.0
    session: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read: attempts in order of time, and one sentence for each damage."""

    attempts: tuple[Attempt, ...]
    damage: tuple[str, ...]


class Store:
    """The answers beside one notebook.

    Args:
        folder: where the files lie; made at the first answer.
        lesson: part of the file name.
        session: this kernel's name; drawn at random when None.
    """

    def __init__(self, folder: Path | str, lesson: str, session: str | None = None) -> None:
        self.folder = Path(folder)
        self.lesson = lesson
        self.session = session or secrets.token_hex(6)
        self._last, self._number = FIRST, 0
        self._latest = ""  # time of the newest answer known: a clock set back changes no order

    @property
    def path(self) -> Path:
        """The file this session appends to."""
        return self.folder / f"{self.lesson}.{self.session}.jsonl"

    def add(self, attempt: Attempt) -> Attempt:
        """Append an answer; when this returns it is on disk.

        Raises:
            StorageError: when the folder cannot be written or the disk is full; what was
                saved before is untouched.
        """
        found = {
            **asdict(attempt),
            "time": _after(attempt.time or now(), self._latest),
            "session": self.session,
            "number": self._number + 1,
        }
        line = (json.dumps({**found, "previous": self._last}, ensure_ascii=False) + "\n").encode()
        if len(line) > LONGEST_LINE:
            raise DataError("the answer is too long to keep", got=f"{len(line)} bytes",
                            expected=f"at most {LONGEST_LINE}")  # fmt: skip
        try:
            self._append(line)
        except OSError as error:
            raise StorageError(
                "the answer could not be saved",
                where=str(self.path),
                got=error.strerror or str(error),
                next_step="free some space or make the folder writable, then submit again; "
                "answers saved before are untouched",
            ) from error
        self._last, self._number = files.sha256_bytes(line), self._number + 1
        self._latest = found["time"]
        return Attempt(**found)

    def _append(self, line: bytes) -> None:
        """Write one whole line and force it to disk; take back a part that did not fit."""
        fresh = not self.path.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            try:
                written = os.write(descriptor, line)
                if written < len(line):
                    raise OSError(28, "no space left on the device")
                os.fsync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
        if fresh:
            files.fsync_folder(self.folder)

    def load(self, receipts: Iterable[Mapping[str, Any]] = ()) -> Loaded:
        """Read every session's answers of this lesson, and join those of receipts.

        Args:
            receipts: attempts kept in the notebook itself, as :func:`receipt` gave them.
        """
        attempts: dict[tuple[str, int], Attempt] = {}
        damage: list[str] = []
        for item in receipts:
            with contextlib.suppress(TypeError, ValueError):
                one = _checked(Attempt(**item))
                attempts[one.session, one.number] = one
        for path in sorted(self.folder.glob(f"{self.lesson}.*.jsonl")):
            for one in _read(path, damage):
                attempts[one.session, one.number] = one
        ordered = sorted(attempts.values(), key=lambda a: (a.time, a.session, a.number))
        if ordered:
            self._latest = max(self._latest, ordered[-1].time)
        return Loaded(tuple(ordered), tuple(damage))


def now() -> str:
    """Give the time now, UTC, ISO 8601 to the microsecond."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _after(time: str, latest: str) -> str:
    """Give ``time``, or a microsecond after ``latest`` where the clock was set back."""
    if time > latest:
        return time
    return (datetime.fromisoformat(latest) + timedelta(microseconds=1)).isoformat(
        timespec="microseconds"
    )


def receipt(attempts: Iterable[Attempt]) -> list[dict[str, Any]]:
    """Give attempts as plain JSON, to be kept in the notebook."""
    return [asdict(a) for a in attempts]


def _checked(one: Attempt) -> Attempt:
    """Give an attempt back when its fields are of the right kinds; TypeError or ValueError else."""
    texts = (one.quiz, one.question, one.time, one.outcome, one.session)
    numbers = (one.attempt, one.version, one.hints, one.number, one.share)
    if not _TEXT.issuperset(map(type, texts)):  # as JSON gives them: exact types will do
        raise TypeError("text expected")
    if not _NUMBER.issuperset(map(type, numbers)):
        raise TypeError("number expected")
    datetime.fromisoformat(one.time)
    return one


def _read(path: Path, damage: list[str]) -> Iterator[Attempt]:
    """Yield the attempts of one file; note where its chain does not hold."""
    previous, number = FIRST, 0
    session = re.sub(r"^[^.]*\.|\.jsonl$", "", path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        damage.append(f"{path.name} cannot be read: {error.strerror}")
        return
    lines = content.split(b"\n")
    if lines[-1]:
        damage.append(f"{path.name}: the last line is not complete and was left out")
    for place, line in enumerate(lines[:-1], 1):
        try:
            found = files.parse_json(files.decode_utf8(line, where=path.name), where=path.name)
            claimed = found.pop("previous")
            one = _checked(Attempt(**{**found, "session": session}))
        except (CourseError, AttributeError, KeyError, TypeError, ValueError):
            damage.append(f"{path.name}:{place} is not an answer and was left out")
            previous = files.sha256_bytes(line + b"\n")
            continue
        if claimed != previous or one.number != number + 1:
            damage.append(f"{path.name}:{place} does not follow the line before it: edited?")
        previous, number = files.sha256_bytes(line + b"\n"), one.number
        yield one
