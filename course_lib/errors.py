"""The exception tree. Every error a user can meet is one of these.

    CourseError                 something failed; exit code 1
    ├── UsageError              the call itself is wrong; exit code 2
    │   └── UnknownNameError    a name nobody knows; close matches are offered
    ├── DataError               a file or a row is not what it should be; exit code 2
    ├── ModelError              a base model cannot be used; exit code 2
    ├── CheckpointError         a checkpoint does not verify; exit code 1
    ├── EnvironmentProblem      the machine lacks something; exit code 3
    │   ├── OfflineError        the network was needed and is not there
    │   └── StorageError        a file could not be written (disk full, no permission)
    └── Stopped                 the user pressed Ctrl-C; exit code 130

A message says where (file, line, field), what was got, what was expected and
what to do next. Build it from these parts instead of one long string, so that
no part is forgotten.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CourseError(Exception):
    """Base of every error the course raises on purpose.

    Args:
        problem: what is wrong, as a short sentence without a full stop.
        where: file, ``file:line`` or ``file:line, field 'x'``.
        got: what was found there.
        expected: what should have been there.
        next_step: what the reader can do about it, as an instruction.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        where: str = "",
        got: str = "",
        expected: str = "",
        next_step: str = "",
    ) -> None:
        self.problem = problem
        self.where = where
        self.got = got
        self.expected = expected
        self.next_step = next_step
        super().__init__(self._message())

    def _message(self) -> str:
        text = f"{self.where}: {self.problem}" if self.where else self.problem
        if self.got:
            text += f"; got {self.got}"
        if self.expected:
            text += f"; expected {self.expected}"
        text += "."
        if self.next_step:
            text += f"\n  What to do: {self.next_step}."
        return text


class UsageError(CourseError):
    """A command or function was called in a way that cannot work."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in the list of known names.

    Args:
        kind: what sort of name it is, such as ``"task"``.
        name: the name that was given.
        known: the names that would have worked.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, next_step: str = "") -> None:
        known = sorted(known)
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
        listing = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        super().__init__(
            f"unknown {kind} {name!r}",
            next_step=next_step or f"{hint}known: {listing}",
        )
        self.close = close


class DataError(CourseError):
    """A data file, a row or a field is not what it should be."""

    exit_code = 2


class ModelError(CourseError):
    """A base model or tokenizer cannot be used for what was asked."""

    exit_code = 2


class CheckpointError(CourseError):
    """A checkpoint or model folder is incomplete or was changed."""


class EnvironmentProblem(CourseError):
    """The machine lacks something the work needs."""

    exit_code = 3


class OfflineError(EnvironmentProblem):
    """Something has to be downloaded and there is no network."""


class StorageError(EnvironmentProblem):
    """A file could not be written; what was there before is untouched."""


class Stopped(CourseError):
    """The user stopped a run; a checkpoint was kept.

    Args:
        problem: what was stopped.
        checkpoint: the folder to resume from, or "" when nothing was saved yet.
    """

    exit_code = 130

    def __init__(self, problem: str, *, checkpoint: str = "", next_step: str = "") -> None:
        self.checkpoint = checkpoint
        super().__init__(problem, where=checkpoint, next_step=next_step)
