"""Short names for what can be wrong with a file, and texts that are safe to print.

A code is stable: scripts may look for it. The message beside it is for people.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from course_lib import files
from course_lib.errors import CourseError, DataError
from course_lib.quiz import handed_in
from course_lib.teach.grading.gradebook import Fault

LONGEST = 300  # characters of a message
AGAIN = "ask for the file again, made with 'course submit'"
_BY_PROBLEM = {
    "no ordinary file": "not-a-file",
    "the folder holds a link": "symlink",
    "the folder is too deep": "deep-folder",
    "the file is too large": "too-large",
    "the notebook is too large": "too-large",
    "the answers are too large": "too-large",
    "too many answers": "too-large",
    "too many entries": "zip-bomb",
    "is too large: over": "zip-bomb",
    "is there twice": "duplicate-entry",
    "is a link or a device": "symlink",
    "is encrypted or": "encrypted",
    "has not the size it says": "forged-size",
    "the manifest is missing": "no-manifest",
    "is not what the manifest says": "hash-mismatch",
    "is no run record": "bad-run",
    "holds no receipts": "bad-receipt",
    "this is no notebook": "not-a-notebook",
    "holds no answers": "no-answers",
    "the enrolment cannot be read": "bad-enrolment",
    "no student id": "bad-student",
    "not UTF-8": "not-utf8",
}
_ODD_JSON = {
    "appears twice": "duplicate-key",
    "is not JSON": "not-finite",
    "recursion": "deep-nesting",
    "surrogates": "lone-surrogate",
    "integer string conversion": "huge-number",
}


def plain(text: str, most: int = LONGEST) -> str:
    """Give a text as one line without control, bidirectional or other unprintable characters."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return "".join(shown)


def fault(
    file: str, code: str, message: str, *, student: str = "", field: str = "", step: str = AGAIN
) -> Fault:
    """Make a fault whose texts are safe to print, one line each."""
    return Fault(plain(file), plain(student, 64), plain(field, 200), code, plain(message),
                 plain(step))  # fmt: skip


def fault_of(path: Path, name: str, error: CourseError) -> Fault:
    """Turn an error met while reading ``path`` into a fault.

    Args:
        path: of the file. name: how it is told.
        error: what reading it raised.
    """
    code, message = code_of(error), error.problem
    if "the manifest is damaged" in message:
        code, message = _manifest(path)
    got = f"; got {error.got}" if error.got and error.got not in message else ""
    place = error.where.removeprefix(str(path)).lstrip(", /") if error.where else ""
    return fault(name, code, message + got, field=place, step=error.next_step or AGAIN)


def code_of(error: CourseError) -> str:
    """Give the code of an error met while reading a file; ``unreadable`` where none fits."""
    said, got = error.problem, error.got
    if "no ordinary file" in said:
        return "symlink" if "link" in got else "fifo" if "pipe" in got else "not-a-file"
    if "has no place in a submission" in said:
        climbs = ".." in said or "'/" in said or "\\" in said or ":" in said
        return "path-traversal" if climbs else "odd-entry"
    if "cannot be read as a zip file" in said:
        return "not-a-zip" if "not a zip" in got else "damaged-zip"
    for part, code in _BY_PROBLEM.items():
        if part in said:
            return code
    if "not valid JSON" in said:
        return _json_code(said)
    return "unreadable"


def _json_code(said: str) -> str:
    return next((code for part, code in _ODD_JSON.items() if part in said), "not-json")


def why_not_json(data: bytes) -> tuple[str, str]:
    """Say why bytes are no strict JSON: a code and a sentence; empty where they are."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "not-utf8", "it is UTF-16, not UTF-8"
    try:
        files.parse_json(files.decode_utf8(data, where=""), where="")
    except DataError as error:
        return code_of(error), error.problem
    return "", ""


def _manifest(path: Path) -> tuple[str, str]:
    """Say what is wrong with the manifest of a zip file whose entries are sound."""
    try:
        with zipfile.ZipFile(path) as packed:
            data = packed.read(handed_in.MANIFEST)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError):
        return "bad-manifest", "the manifest is damaged"
    code, why = why_not_json(data)
    if code:
        return code, f"the manifest cannot be read: {why}"
    found = files.parse_json(files.decode_utf8(data, where=""), where="")
    if not isinstance(found, dict):
        return "bad-manifest", "the manifest is no object"
    if type(found.get("schema")) is not int or found["schema"] != 1:
        return "wrong-version", f"a manifest of schema {found.get('schema')!r}, not 1"
    return "bad-manifest", "the manifest lacks a sound student, course, time, files or left_out"
