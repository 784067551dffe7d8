"""Hand a submission over into a folder that a whole class shares and none of it can list.

The folder belongs to the instructor. Students may put files into it (write and search, no read)
and, as it is sticky, touch only their own. A file appears whole, under a name nobody can guess,
and never takes the place of another.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.errors import EnvironmentProblem, StorageError

CHUNK = 2**20  # bytes
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Where a submission lies in the exchange folder, and the SHA-256 read back from there."""

    path: Path
    sha256: str


def hand_over(submission: Path, exchange: Path) -> HandedOver:
    """Copy a submission into the exchange folder and read it back.

    Args:
        submission: the zip file of :func:`course_lib.quiz.submission.submit`.
        exchange: the folder; it has to be writable, it need not be readable.

    Raises:
        EnvironmentProblem: when there is no such folder.
        StorageError: when the copy cannot be written or is not what was written. The
            submission itself stays where it is.
    """
    if not exchange.is_dir():
        raise EnvironmentProblem(
            "there is no exchange folder", where=str(exchange),
            next_step=f"tell your instructor; your file is kept: {submission}",
        )  # fmt: skip
    final = exchange / f"{submission.stem}-{secrets.token_hex(16)}.zip"
    part = exchange / f".{secrets.token_hex(16)}.part"
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as target:
            with open(submission, "rb") as source:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
            target.flush()
            os.fchmod(descriptor, _mode(exchange))
            os.fsync(descriptor)
            _publish(part, final)
            os.fsync(descriptor)  # again: the folder cannot be opened to make its entry last
        digest = files.sha256_file(final)
    except OSError as error:
        raise _failed(submission, exchange, error.strerror or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    if digest != files.sha256_file(submission):
        raise _failed(submission, exchange, "other bytes than were written")
    return HandedOver(final, digest)


def _mode(exchange: Path) -> int:
    """Who may read the copy: the folder's group where it hands its group on.

    Else everybody, where the folder cannot be listed and the name is the secret; else the
    owner alone (and the superuser).
    """
    folder = exchange.stat().st_mode
    if folder & stat.S_ISGID:
        return 0o640
    return 0o600 if folder & stat.S_IROTH else 0o644


def _publish(part: Path, final: Path) -> None:
    """Give the whole file its name; an existing one is never replaced."""
    try:
        os.link(part, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(part, final)  # a file system without links; the name is 128 random bits


def _failed(submission: Path, exchange: Path, why: str) -> StorageError:
    return StorageError(
        "the submission could not be put into the exchange folder", where=str(exchange), got=why,
        next_step=f"try again or tell your instructor; your file is kept: {submission}",
    )  # fmt: skip
