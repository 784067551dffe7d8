"""The instructor's side of the exchange folder: make it, and take out what was handed in.

Files in the exchange belong to the students who put them there: they can still change or
delete them. Collecting copies each one out of their reach, once, after checking that its owner is
the student it names. Nothing in a file proves who wrote it or when; the file system's
owner and change time do, for users who cannot act as each other.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from course_lib.errors import CourseError, DataError, StorageError, UsageError
from course_lib.quiz import handed_in

MODE = 0o3773  # owner and group all; others write and search, no read; sticky; group handed on
APART = timedelta(minutes=10)  # between the time a file states and its arrival


@dataclass(frozen=True, slots=True)
class Collected:
    """What was taken out of an exchange folder.

    Attributes:
        new: the copies made. known: how many had been collected before.
        left: name, student and reason of each file that was left where it is.
        told: name, student and remark of collected files to look at.
    """

    new: tuple[Path, ...]
    known: int
    left: tuple[tuple[str, str, str], ...]
    told: tuple[tuple[str, str, str], ...]


def make(exchange: Path, group: str | None = None) -> Path:
    """Make an exchange folder, or set the modes of one that is there.

    Args:
        exchange: the folder; it belongs to whoever calls.
        group: whose members may read the files; the folder's own group when None.

    Raises:
        UsageError: for a group that is not known.
        StorageError: when it cannot be made or changed.
    """
    import shutil

    try:
        exchange.mkdir(parents=True, exist_ok=True)
        if group:
            shutil.chown(exchange, group=group)
        exchange.chmod(MODE)
    except LookupError:
        step = "make it with 'groupadd', or leave --group out"
        raise UsageError("there is no such group", got=repr(group), next_step=step) from None
    except OSError as error:
        raise StorageError("the exchange folder could not be made", where=str(exchange),
                           got=error.strerror or str(error),
                           next_step="run this as its owner, a member of the group, or as root"
                           ) from error  # fmt: skip
    return exchange


def owner(about: os.stat_result) -> str:
    """Give the name of the user a file belongs to; the number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(about.st_uid).pw_name
    except KeyError:
        return str(about.st_uid)


def collect(
    exchange: Path, out: Path, *, owner_of: Callable[[os.stat_result], str] | None = owner
) -> Collected:
    """Copy what was handed in to ``out/STUDENT/``, each file once, readable by the caller alone.

    Args:
        exchange: the folder students put their files into.
        out: outside the students' reach; made when it is not there.
        owner_of: tells the user who handed a file in, compared with the student it names in
            lower case; None where all files have one owner, as with containers.

    Raises:
        UsageError: when there is no exchange folder.
        StorageError: when a copy cannot be written.
    """
    if not exchange.is_dir():
        raise UsageError("there is no exchange folder", where=str(exchange))
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    new: list[Path] = []
    left: list[tuple[str, str, str]] = []
    told: list[tuple[str, str, str]] = []
    known = 0
    for name in _names(exchange):
        whose = ""
        try:
            with _copied(exchange / name, out) as (copy, about):
                whose = owner_of(about) if owner_of else ""
                if not name.endswith(".zip"):
                    raise DataError("'course submit' gives no such name")
                found = handed_in.verify(copy)
                if owner_of and found.student.lower() != whose:
                    raise DataError("another student's name is in it", got=repr(found.student))
                target = out / found.student / name
                if target.exists():
                    known += 1
                    continue
                target.parent.mkdir(exist_ok=True, mode=0o700)
                os.link(copy, target)
                new.append(target)
                told += [(name, found.student, remark) for remark in _arrival(found, about)]
        except StorageError:
            raise
        except CourseError as error:
            got = f" ({error.got})" if error.got else ""
            left.append((name, whose, f"{error.problem}{got}"))
    return Collected(tuple(new), known, tuple(left), tuple(told))


def _names(exchange: Path) -> Sequence[str]:
    with os.scandir(exchange) as entries:
        return sorted(e.name for e in entries if not e.name.startswith("."))


@contextlib.contextmanager
def _copied(path: Path, out: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Copy a file whose owner may change it meanwhile: opened once, looked at and read there.

    The copy is removed at the end; it stays only under another name.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataError("it cannot be opened", got=error.strerror or str(error)) from None
    with os.fdopen(descriptor, "rb") as source:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise DataError("it is no ordinary file")
        data = source.read(handed_in.LARGEST_TOTAL + 1)
    if len(data) > handed_in.LARGEST_TOTAL:
        raise DataError("it is too large", got=f"over {handed_in.LARGEST_TOTAL:,} bytes")
    try:
        handle, name = tempfile.mkstemp(dir=out, prefix=".collect-")
        with os.fdopen(handle, "wb") as target:
            target.write(data)
            target.flush()
            os.fsync(handle)
        os.utime(name, ns=(about.st_ctime_ns, about.st_ctime_ns))
        try:
            yield Path(name), about
        finally:
            os.unlink(name)
    except OSError as error:
        raise StorageError("a copy could not be written", where=str(out),
                           got=error.strerror or str(error)) from error  # fmt: skip


def _arrival(found: handed_in.Submission, about: os.stat_result) -> Iterator[str]:
    """Tell of a file that states another time than the one it came at.

    A user cannot set the change time. It moves when the file is changed, so it is never too
    early.
    """
    came = datetime.fromtimestamp(about.st_ctime, UTC)
    says = datetime.fromisoformat(found.time)
    says = says if says.tzinfo else says.replace(tzinfo=UTC)
    if abs(came - says) > APART:
        yield f"says it was made {says:%Y-%m-%d %H:%M}, last changed {came:%Y-%m-%d %H:%M} UTC"
