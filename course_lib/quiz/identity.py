"""Who learns here: roster token, enrolment, environment.

The seed decides a learner's questions; it is the instructor's to give. Who the learner is
was never proved here: the instructor computes the seed again when marking.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import importlib.metadata
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.quiz import variants

PREFIX = "larkspur1"
ENROLMENT = Path(".course") / "student.json"
STUDENT = "1 to 64 characters: letters a-z, digits and . _ @ -"
PARENTS = 3  # a notebook may lie that many folders below the enrolment
LONGEST_TOKEN, LONGEST_TEXT = 4096, 200  # characters; far above any real name
_STUDENT = re.compile(r"[A-Za-z0-9._@-]{1,64}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A learner.

    Attributes:
        student: the id; "" for nobody. name: for the certificate; may be "".
        course: which class; may be "".
        seed: 32 bytes that decide the learner's questions.
        source: the variable or file this comes from, ``"token"`` or ``"none"``.
    """

    student: str
    name: str
    course: str
    seed: bytes = field(repr=False)
    source: str


def course_version() -> str:
    """Give the installed version of the course; "unknown" where it runs uninstalled."""
    try:
        return importlib.metadata.version("course-lib")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def check_student(student: str, where: str) -> str:
    """Give a student id back when it is one.

    Raises:
        UsageError: naming ``where``, the variable or file it comes from.
    """
    if not _STUDENT.fullmatch(student):
        raise UsageError(
            "this is no student id", where=where, got=repr(student[:80]), expected=STUDENT,
            next_step="use the id of the course's roster",
        )  # fmt: skip
    return student


def token_for(secret: bytes, student: str, name: str, course: str) -> str:
    """Make the token a student enrols with.

    It is not signed: its checksum catches typing errors, and the instructor computes the
    seed again.

    Args:
        secret: of the course; the token holds the seed made from it, never the secret.

    Raises:
        UsageError: for a student id or text that cannot be one.
    """
    content = {
        "course": course, "name": name, "seed": variants.student_seed(secret, student).hex(),
        "student": student,
    }  # fmt: skip
    _identity(content, "token")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    body = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return f"{PREFIX}.{body}.{_checksum(body)}"


def _checksum(body: str) -> str:
    return files.sha256_bytes(body.encode())[:16]


def read_token(text: str) -> Identity:
    """Read a roster token; spaces and line breaks, as mail adds them, do not matter.

    Raises:
        UsageError: when it is no token, or damaged.
    """
    plain = re.sub(r"\s+", "", text)
    parts = plain.split(".")
    if parts[0] != PREFIX or len(plain) > LONGEST_TOKEN or not plain.isascii():
        raise UsageError(
            "this is not a course token", got=repr(plain[:30]),
            expected=f"a text that begins with {PREFIX}.",
            next_step="copy the whole token from your instructor's message",
        )  # fmt: skip
    if len(parts) != 3 or _checksum(parts[1]) != parts[2]:
        raise _damaged("its checksum does not fit")
    try:
        data = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), b"-_", validate=True)
        content = files.parse_json(files.decode_utf8(data, where="token"), where="token")
    except (binascii.Error, DataError) as error:
        raise _damaged("it cannot be decoded") from error
    return _identity(content, "token")


def _damaged(why: str) -> UsageError:
    return UsageError(
        "the token is damaged", got=why, expected="a token as your instructor sent it",
        next_step="copy it whole, from the first letter to the last, and try again",
    )  # fmt: skip


def _identity(content: Any, source: str) -> Identity:
    """Give the identity a token or an enrolment holds; UsageError where it holds none."""
    wanted = ("student", "name", "course", "seed")
    values = [content.get(k) for k in wanted] if isinstance(content, dict) else []
    texts = [v for v in values if isinstance(v, str) and len(v) <= LONGEST_TEXT]
    if len(texts) != len(wanted) or not re.fullmatch(r"[0-9a-f]{64}", texts[3]):
        raise UsageError(
            "this holds no enrolment", where=source,
            expected=f"texts of at most {LONGEST_TEXT} characters named {', '.join(wanted)}",
            next_step="ask your instructor for a new token",
        )  # fmt: skip
    check_student(texts[0], source)
    return Identity(texts[0], texts[1], texts[2], bytes.fromhex(texts[3]), source)


def enroll(work: Path, token: str, *, replace: bool = False) -> Identity:
    """Enrol a learner: write ``.course/student.json``. Answers are never touched.

    Args:
        work: the folder of the learner's notebooks.
        token: as :func:`token_for` made it.
        replace: also where another student is enrolled.

    Raises:
        UsageError: for a bad token, or when another student is enrolled here.
        StorageError: when the file cannot be written.
    """
    found, path = read_token(token), work / ENROLMENT
    try:
        before = read_enrolment(path) if path.is_file() else None
    except DataError:
        before = None  # damaged: this is how it is mended
    if before and before.student != found.student and not replace:
        raise UsageError(
            "another student is enrolled here", where=str(path), got=repr(found.student),
            expected=repr(before.student),
            next_step="use a working copy of your own, or say that the enrolment is to be "
            "replaced (--replace); the answers saved here stay",
        )  # fmt: skip
    content = {"schema": 1, "student": found.student, "name": found.name,
               "course": found.course, "seed": found.seed.hex()}  # fmt: skip
    files.write_json(path, content)
    return dataclasses.replace(found, source=str(path))


def read_enrolment(path: Path) -> Identity:
    """Read an enrolment; DataError where it is damaged. Nothing in it is proved."""
    try:
        return _identity(files.read_json(path), str(path))
    except (DataError, UsageError, OSError) as error:
        raise DataError(
            "the enrolment is damaged", where=str(path),
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            expected="the file that 'course enroll' writes",
            next_step="enroll again with your token: 'course enroll TOKEN'; your answers stay",
        ) from error  # fmt: skip


def _enrolled(folder: Path) -> Identity | None:
    """Give the enrolment of a folder or of the nearest of its parents."""
    place = folder.resolve()
    for candidate in (place, *list(place.parents)[:PARENTS]):
        if (candidate / ENROLMENT).is_file():
            return read_enrolment(candidate / ENROLMENT)
    return None


def _named(student: str, variable: str, folder: Path) -> Identity:
    """Give the learner a variable names, with the seed of a token or enrolment of theirs."""
    check_student(student, variable)
    token = os.environ.get("COURSE_STUDENT_TOKEN", "").strip()
    for found in (read_token(token) if token else None, _enrolled(folder)):
        if found and found.student == student:
            return dataclasses.replace(found, source=variable)
    return Identity(student, "", "", variants.PRACTICE, variable)


def current(folder: Path) -> Identity:
    """Give who learns in a folder.

    The variable COURSE_STUDENT_ID comes first, then JUPYTERHUB_USER; either takes its seed
    from COURSE_STUDENT_TOKEN or from an enrolment, where that is of the same student. Then
    the enrolment in the folder or up to three parents counts. Nobody has the practice seed.

    Raises:
        UsageError: for a variable that holds no student id or a bad token.
        DataError: when the enrolment is damaged.
    """
    for variable in ("COURSE_STUDENT_ID", "JUPYTERHUB_USER"):
        if student := os.environ.get(variable, "").strip():
            return _named(student, variable, folder)
    return _enrolled(folder) or Identity("", "", "", variants.PRACTICE, "none")
