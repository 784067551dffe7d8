"""What arguments mean: ``--set`` pairs, texts to predict."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UsageError


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Turn ``["epochs=3", "schedule=cosine"]`` into ``{"epochs": 3, "schedule": "cosine"}``.

    A value that is JSON becomes that value; anything else stays text.

    Raises:
        UsageError: for an item without ``=`` or a key given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UsageError(
                "a setting needs a key and a value",
                where="--set",
                got=repr(pair),
                expected="key=value, such as epochs=3",
            )
        if key in settings:
            raise UsageError(f"the setting {key!r} is given twice", where="--set")
        try:
            settings[key] = files.parse_json(text, where="--set")
        except DataError:
            settings[key] = text
    return settings


def texts_to_predict(texts: Sequence[str], file: str | None) -> list[str]:
    """Give the texts from the arguments, a file or standard input (one a line, or JSONL).

    Raises:
        UsageError: when there is none, or both arguments and a file are given.
        DataError: when the file cannot be read or a JSONL row has no ``text``.
    """
    if texts and file:
        raise UsageError("give texts or --file, not both")
    if texts:
        return list(texts)
    if file and file.endswith(".jsonl") and Path(file).is_file():
        found = [_text_of(row, f"{file}:{n}") for n, row in files.read_jsonl(file)]
    elif file and file != "-":
        found = [t for t in files.read_text(file).splitlines() if t.strip()]
    elif file == "-" or not sys.stdin.isatty():
        data = sys.stdin.buffer.read()
        found = [t for t in files.decode_utf8(data, where="<stdin>").splitlines() if t.strip()]
    else:
        found = []
    if not found:
        raise UsageError(
            "there is no text to predict",
            where=file or "",
            next_step="give texts as arguments, --file FILE, or pipe one text a line in",
        )
    return found


def _text_of(row: Mapping[str, Any], where: str) -> str:
    if not isinstance(row.get("text"), str):
        raise DataError("no text in this row", where=f"{where}, field 'text'", expected="a string")
    return str(row["text"])
