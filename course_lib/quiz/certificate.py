"""The certificate: a record of what was completed, as a page, a PDF and, if wanted, signed."""

from __future__ import annotations

import base64
import binascii
import html
import io
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, EnvironmentProblem, UsageError
from course_lib.quiz.identity import course_version
from course_lib.quiz.progress import ASSESSMENT, Progress

COURSE = "Fine-Tuning GPT, Hands-On"
LONGEST_NAME = 100  # characters; a line of the page holds about that many
UNSIGNED = ("This record was made by the learner's own copy of the course. "
            "It is not certified by anyone.")  # fmt: skip
SIGNED = ("This record carries a signature. Check completion.json against the issuer's public "
          "key; this page alone proves nothing. Key: ")  # fmt: skip
_STYLE = """
@page { size: A4 landscape; margin: 12mm; }
body { font: 16px/1.5 Georgia, 'Times New Roman', serif; color: #1b1b1b; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 2rem 3rem; border: 3px double #2b5d4f; }
h1 { font-weight: 400; letter-spacing: .04em; text-align: center; color: #2b5d4f; }
.who { text-align: center; } .name { font-size: 2rem; margin: .2rem 0; }
table { border-collapse: collapse; margin: 1.5rem auto; min-width: 60%; }
th, td { text-align: left; padding: .15rem .8rem; border-bottom: 1px solid #ccc; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
.note { font-size: .85rem; color: #444; text-align: center; overflow-wrap: anywhere; }
@media print { body { border: 0; margin: 0; } }
"""


def record(
    progress: Progress, name: str, when: date, *, student: str = "", course: str = ""
) -> dict[str, Any]:
    """Make the record of a completed course. It holds no answer and nothing else personal.

    Args:
        progress: of :func:`course_lib.quiz.progress.learner_progress`.
        name: as it shall stand on the page. when: the day of completion.
        student: the id, "" outside a class. course: the class; the course's title when "".

    Raises:
        UsageError: when the course is not complete, with all that is missing, or the name
            cannot be printed.
    """
    if not progress.complete:
        raise UsageError(
            "the course is not complete:\n" + "\n".join(f"  {m}" for m in progress.missing),
            next_step=progress.next_step.rstrip("."),
        )
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(
            "this name cannot stand on a certificate", got=repr(name[:120]),
            expected=f"1 to {LONGEST_NAME} printable characters",
            next_step="give your name with --name",
        )  # fmt: skip
    lessons = [
        {"lesson": one.lesson, "title": one.title, "earned": round(one.earned, 2),
         "points": round(one.points, 2), "exercises": one.exercises_done,
         "minutes": one.minutes}
        for one in progress.lessons if one.ready
    ]  # fmt: skip
    return {
        "schema": 1, "name": name.strip(), "student": student, "course": course or COURSE,
        "date": when.isoformat()[:10], "lessons": lessons, "minutes": progress.minutes,
        "course_version": course_version(),
    }  # fmt: skip


def canonical(record: Mapping[str, Any]) -> bytes:
    """Give the bytes a signature is over: sorted JSON of all but signature and key."""
    content = {k: v for k, v in record.items() if k not in ("signature", "key")}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise EnvironmentProblem(
            "signing needs the package cryptography",
            next_step="run 'pip install cryptography', or leave the record unsigned",
        ) from None
    return ed25519


def new_key() -> tuple[bytes, bytes]:
    """Make an Ed25519 key pair; give the private and the public key as PEM.

    Raises:
        EnvironmentProblem: when the package cryptography is missing.
    """
    ed25519 = _ed25519()
    from cryptography.hazmat.primitives import serialization as form

    private = ed25519.Ed25519PrivateKey.generate()
    secret: bytes = private.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    public: bytes = private.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    return secret, public


def _key(pem: bytes, *, private: bool) -> Any:
    """Read a key; UsageError where it is none of the kind."""
    ed25519 = _ed25519()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    kind = "private" if private else "public"
    wanted = ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey
    try:
        found: Any = (form.load_pem_private_key(pem, None) if private
                      else form.load_pem_public_key(pem))  # fmt: skip
    except (ValueError, TypeError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, wanted):
        raise UsageError(
            f"this is no Ed25519 {kind} key", expected=f"the {kind} key as PEM, without password",
            next_step="give the file that was made with the key pair",
        )  # fmt: skip
    return found


def fingerprint(public: Any) -> str:
    """Give the SHA-256 of an Ed25519 public key's 32 bytes, in hexadecimal digits."""
    return files.sha256_bytes(public.public_bytes_raw())


def sign(record: Mapping[str, Any], private_key_pem: bytes) -> dict[str, Any]:
    """Sign a record with Ed25519 (RFC 8032); give it with ``signature`` and ``key``.

    Raises:
        UsageError: for another kind of key. EnvironmentProblem: without cryptography.
    """
    private = _key(private_key_pem, private=True)
    signature = base64.b64encode(private.sign(canonical(record))).decode()
    return {**record, "signature": signature, "key": fingerprint(private.public_key())}


def verify(record: Mapping[str, Any], public_key_pem: bytes) -> bool:
    """Give True when the record is what was signed with the private half of this key.

    Raises:
        DataError: naming what does not fit. UsageError: for another kind of key.
    """
    public = _key(public_key_pem, private=False)
    from cryptography.exceptions import InvalidSignature

    step = "ask the learner for the record as it was issued, or the issuer for the right key"
    text, key = record.get("signature"), record.get("key")
    if not isinstance(text, str) or not isinstance(key, str):
        raise DataError("the record is not signed", where="signature", next_step=step)
    if key != fingerprint(public):
        raise DataError("the record names another key", where="key", got=key[:64],
                        expected=fingerprint(public), next_step=step)  # fmt: skip
    try:
        signature = base64.b64decode(text, validate=True)
        if base64.b64encode(signature).decode() != text:
            raise InvalidSignature
        public.verify(signature, canonical(record))
    except (InvalidSignature, binascii.Error, ValueError, TypeError):
        raise DataError("the signature does not fit the record: one of them was changed",
                        where="signature", got=text[:100], next_step=step) from None  # fmt: skip
    return True


def write(record: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write ``completion.json``, ``completion.html`` and ``completion.pdf``; give the last two.

    Raises:
        StorageError: when the folder cannot be written.
        EnvironmentProblem: when no font of this machine has the name's letters; the other
            two files are written then.
    """
    page, sheet = folder / "completion.html", folder / "completion.pdf"
    files.write_json(folder / "completion.json", dict(record))
    files.write_text(page, _html(record))
    files.write_bytes(sheet, _pdf(record))
    return page, sheet


def _note(record: Mapping[str, Any]) -> str:
    return SIGNED + str(record.get("key", "")) if record.get("signature") else UNSIGNED


def _facts(record: Mapping[str, Any]) -> tuple[str, str]:
    who = f"{record['student']} · " if record["student"] else ""
    return (f"completed the course {record['course']}",
            f"{who}{record['date']} · about {record['minutes']:g} minutes of answering · "
            f"course version {record['course_version']}")  # fmt: skip


def _rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for one in record["lessons"]:
        number = "" if one["lesson"] == ASSESSMENT else f"{one['lesson']} "
        rows.append((number + one["title"], f"{one['earned']:g} of {one['points']:g} points"))
    return rows


def _html(record: Mapping[str, Any]) -> str:
    name, note = html.escape(record["name"]), html.escape(_note(record))
    course, facts = map(html.escape, _facts(record))
    rows = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>"
                   for a, b in _rows(record))  # fmt: skip
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Record of completion: {name}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>Record of completion</h1><div class='who'><p class='name'>{name}</p>"
        f"<p>{course}</p><p>{facts}</p></div><table><thead><tr><th scope='col'>lesson</th>"
        f"<th scope='col'>result</th></tr></thead><tbody>{rows}</tbody></table>"
        f"<p class='note'>{note}</p></main></body></html>\n"
    )


def _fonts(text: str) -> list[str]:
    """Give the fonts that together have every letter of a text."""
    from matplotlib import font_manager

    missing, chosen = set(text) - {" ", "\n"}, ["DejaVu Sans"]  # it comes with matplotlib
    known = {f.name: f.fname for f in font_manager.fontManager.ttflist if f.style == "normal"}
    for name in (*chosen, *sorted(known)):
        if missing and name in known and not name.startswith("Last Resort"):  # only boxes
            font = font_manager.get_font(known[name])
            has = {c for c in missing if font.get_char_index(ord(c))}
            chosen, missing = [*chosen, *([name] if has else [])], missing - has
    if missing:
        raise EnvironmentProblem(
            "no font of this machine has these letters for the PDF",
            got=" ".join(sorted(missing)),
            next_step="print completion.html from a browser, or install a font that has them",
        )
    return list(dict.fromkeys(chosen))


def _pdf(record: Mapping[str, Any]) -> bytes:
    """Give one A4 landscape page whose text is text; equal records give equal bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    course, facts = _facts(record)
    rows, note = _rows(record), _note(record)
    family = _fonts("".join([record["name"], course, facts, note, *(a + b for a, b in rows)]))
    step = min(0.04, 0.42 / max(1, len(rows)))
    data = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42, "font.family": family}):
        figure = Figure(figsize=(11.69, 8.27), edgecolor="#2b5d4f", linewidth=6)

        def put(x: float, y: float, text: str, size: float, **style: Any) -> None:
            figure.text(x, y, text, size=size, parse_math=False, **{"ha": "center", **style})

        put(0.5, 0.87, "Record of completion", 26, color="#2b5d4f")
        put(0.5, 0.77, record["name"], 24 if len(record["name"]) < 45 else 13)
        put(0.5, 0.71, course, 14 if len(course) < 80 else 9)
        put(0.5, 0.67, facts, 10)
        for place, (title, result) in enumerate(rows):
            y, size = 0.59 - place * step, min(12.0, step * 340)
            put(0.2, y, title if len(title) < 70 else title[:68] + "…", size, ha="left")
            put(0.8, y, result, size, ha="right")
        put(0.5, 0.07, note.replace(" Key: ", "\nKey: "), 8.5, color="#444444")
        made = {"Title": "Record of completion", "Creator": COURSE, "Producer": None}
        made["CreationDate"] = None
        figure.savefig(data, format="pdf", edgecolor="auto", metadata=made)
    return data.getvalue()
