"""Certificates: refused with reasons, given when all is done, and signed so that edits show."""

from __future__ import annotations

import json
import re
import zlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from course_lib.errors import DataError, EnvironmentProblem, StorageError, UsageError
from course_lib.quiz import certificate
from course_lib.quiz.progress import LessonProgress, Progress

DONE = LessonProgress("03", "Text <i>classification", 12, 12, 9.25, 12, 3, 3, {"03.1": True},
                      41.5, ())  # fmt: skip
FINAL = LessonProgress("assessment", "Final", 8, 8, 6, 8, 0, 0, {}, 12, ())
DRAFT = LessonProgress("04", "Later", 0, 12, 0, 12, 0, 0, {}, 0, ("04.q1",), ready=False)
COMPLETE = Progress((DONE, DRAFT, FINAL), 53.5, (), "All done.", True, ())
LACKING = Progress((DONE,), 41.5, (), "Lesson 03: 03.q1.", False,
                   ("lesson 03: 2 of 12 points", "lesson 03: exercises"))  # fmt: skip
DAY = date(2026, 5, 1)


def made(name: str = "Zoë & <b>$x$", **more: str) -> dict[str, Any]:
    return certificate.record(COMPLETE, name, DAY, **more)


def test_an_incomplete_course_is_refused_with_every_reason() -> None:
    message = r"not complete:\n  lesson 03: 2 of 12 points\n  lesson 03: exercises(.|\n)*03\.q1"
    with pytest.raises(UsageError, match=message):
        certificate.record(LACKING, "Zoë", DAY)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "two\nlines", "\u202eback"])
def test_names_that_cannot_be_printed_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="this name cannot stand on a certificate"):
        made(name)


def test_the_record_holds_what_was_done_and_nothing_else() -> None:
    found = made(student="zoe", course="Spring")
    assert set(found) == {"schema", "name", "student", "course", "date", "lessons", "minutes",
                          "course_version"}  # fmt: skip
    assert found["date"] == "2026-05-01" and found["course"] == "Spring"
    assert [one["lesson"] for one in found["lessons"]] == ["03", "assessment"], "no drafts"
    assert found["lessons"][0]["earned"] == 9.25 and found["minutes"] == 53.5


def pdf_text(data: bytes) -> list[str]:
    """Give each line of text on the page: the letters of its glyph strings, kerning left out."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.S):
        try:
            plain = zlib.decompress(stream).decode("latin-1")
        except zlib.error:
            continue
        for line in re.findall(r"BT\n(.*?)\nET", plain, re.S):
            parts = re.findall(r"\(((?:\\.|[^()\\])*)\)", line, re.S)
            found.append("".join(parts).replace("\0", ""))
    return found


def test_the_page_and_the_sheet_say_it_is_self_made(tmp_path: Path) -> None:
    page, sheet = certificate.write(made(), tmp_path / "out")
    text = page.read_text()
    assert "Zoë &amp; &lt;b&gt;$x$" in text and "Text &lt;i&gt;classification" in text
    assert "<b>" not in text and "not certified by anyone" in text.replace("&#x27;", "'")
    assert "9.25 of 12 points" in text and ">Final<" in text and "assessment" not in text
    assert not re.search(r"(src|href)=|https?:|@import|<script", text), "self-contained"
    data = sheet.read_bytes()
    assert data.startswith(b"%PDF") and data.count(b"/Type /Page\n") + data.count(
        b"/Type /Page ") == 1  # fmt: skip
    assert b"/Subtype /Type3" not in data and b"/FontFile2" in data, "text, not paths"
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", data)
    assert box and (round(float(box[1])), round(float(box[2]))) == (842, 595)
    assert pdf_text(data)[:2] == ["Record of completion", "Zoë & <b>$x$"], "no math, no markup"
    assert "9.25 of 12 points" in pdf_text(data)
    assert b"CreationDate" not in data
    kept = json.loads((tmp_path / "out" / "completion.json").read_text())
    assert kept == made()
    again = certificate.write(made(), tmp_path / "again")
    assert [p.read_bytes() for p in again] == [text.encode(), data], "equal records, equal bytes"


def test_names_in_other_scripts_are_set_or_refused_clearly(tmp_path: Path) -> None:
    certificate.write(made("Ольга Ψαρού"), tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"no font (.|\n)*print completion\.html"):
        certificate.write(made("A \U0001f9ff\U00013000"), tmp_path / "odd")
    assert "\U00013000" in (tmp_path / "odd" / "completion.html").read_text()


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StorageError, match="could not write"):
        certificate.write(made(), tmp_path / "out")


def test_a_signature_holds_until_a_byte_changes(tmp_path: Path) -> None:
    private, public = certificate.new_key()
    signed = certificate.sign(made(student="zoe"), private)
    assert certificate.verify(signed, public) is True
    certificate.write(signed, tmp_path)
    text = (tmp_path / "completion.json").read_text()
    assert certificate.verify(json.loads(text), public), "also after a trip through the file"
    assert signed["key"] in (tmp_path / "completion.html").read_text()
    broken = 0
    for place in range(0, len(text), 7):
        changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        try:
            other = json.loads(changed)
        except ValueError:
            continue
        if other == signed:
            continue  # white space
        broken += 1
        with pytest.raises(DataError, match=r"does not fit|another key|is not signed"):
            certificate.verify(other, public)
    assert broken > 30


@pytest.mark.parametrize("change, message", [
    ({"name": "Other"}, "signature does not fit"),
    ({"extra": 1}, "signature does not fit"),
    ({"minutes": float("nan")}, "signature does not fit"),
    ({"signature": "AAAA"}, "signature does not fit"),
    ({"signature": "no base64!"}, "signature does not fit"),
    ({"signature": 3}, "the record is not signed"),
    ({"key": "0" * 64}, "names another key"),
])  # fmt: skip
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    private, public = certificate.new_key()
    with pytest.raises(DataError, match=message):
        certificate.verify(certificate.sign(made(), private) | change, public)


def test_keys_are_checked() -> None:
    private, public = certificate.new_key()
    other = certificate.new_key()[1]
    with pytest.raises(DataError, match="names another key"):
        certificate.verify(certificate.sign(made(), private), other)
    with pytest.raises(DataError, match="the record is not signed"):
        certificate.verify(made(), public)
    for pem in (b"", b"no key", public):
        with pytest.raises(UsageError, match="this is no Ed25519 private key"):
            certificate.sign(made(), pem)
    with pytest.raises(UsageError, match="this is no Ed25519 public key"):
        certificate.verify(made(), private)
