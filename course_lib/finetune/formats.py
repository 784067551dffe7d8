"""Data files: CSV, TSV, JSONL, SQuAD JSON, CoNLL and plain text to rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError

Row = tuple[str, dict[str, Any]]  # ("file:line", fields)
KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "squad",
    ".txt": "text",
    ".md": "text",
    ".conll": "conll",
    ".iob": "conll",
    ".iob2": "conll",
}


def kind_of(path: Path) -> str:
    """Give the format of a file by its ending.

    Raises:
        DataError: for an ending nobody knows.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            "unknown kind of file",
            where=str(path),
            got=path.suffix or "no ending",
            expected=", ".join(sorted(KINDS)),
            next_step="save it as CSV or JSON Lines",
        )
    return kind


def read_rows(path: Path) -> Iterator[Row]:
    """Yield ``("file:line", fields)`` of any known format.

    Raises:
        DataError: naming file and line for whatever is not as it should be.
    """
    if path.stat().st_size == 0:
        raise DataError(
            "the file is empty", where=str(path), next_step="give a file with at least one row"
        )
    kind = kind_of(path)
    readers = {"jsonl": _jsonl, "squad": _squad, "text": _text, "conll": _conll}
    yield from (
        _table(path, "\t" if kind == "tsv" else ",")
        if kind in ("csv", "tsv")
        else (readers[kind](path))
    )


def _jsonl(path: Path) -> Iterator[Row]:
    for number, row in files.read_jsonl(path):
        yield f"{path}:{number}", row


def _lines(path: Path) -> Iterator[str]:
    with open(path, "rb") as handle:
        for number, line in enumerate(handle, start=1):
            yield files.decode_utf8(line, where=f"{path}:{number}")


def _table(path: Path, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        if delimiter == "," and len(header) == 1 and ";" in header[0]:
            yield from _table(path, ";")  # as spreadsheets write it where the comma is decimal
            return
        for cells in reader:
            if not cells:
                continue
            where = f"{path}:{reader.line_num}"
            if len(cells) != len(header):
                raise DataError(
                    "a row with another number of columns than the header",
                    where=where,
                    got=str(len(cells)),
                    expected=str(len(header)),
                    next_step="put quotes around texts that hold the separator",
                )
            yield where, dict(zip(header, cells, strict=True))
    except (csv.Error, StopIteration) as error:
        raise DataError(f"not valid CSV ({error})", where=f"{path}:{reader.line_num}") from None


def _text(path: Path) -> Iterator[Row]:
    """Yield paragraphs: a blank line or, in files without any, a line end closes one."""
    paragraph: list[str] = []
    first = 1
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            if not paragraph:
                first = number
            paragraph.append(line.strip())
        elif paragraph:
            yield f"{path}:{first}", {"text": "\n".join(paragraph)}
            paragraph = []
    if paragraph:
        yield f"{path}:{first}", {"text": "\n".join(paragraph)}


def _conll(path: Path) -> Iterator[Row]:
    tokens: list[str] = []
    tags: list[str] = []
    first = number = 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if tokens:
                yield f"{path}:{first}", {"tokens": tokens, "tags": tags}
            tokens, tags = [], []
            continue
        parts = line.split()
        if len(parts) < 2:
            raise DataError(
                "a word without a tag",
                where=f"{path}:{number}",
                got=line.strip(),
                expected="'word tag', a blank line between sentences",
            )
        if not tokens:
            first = number
        tokens.append(parts[0])
        tags.append(parts[-1])
    if tokens:
        yield f"{path}:{first}", {"tokens": tokens, "tags": tags}


def _squad(path: Path) -> Iterator[Row]:
    content = files.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise DataError(
            "not SQuAD JSON",
            where=str(path),
            expected='{"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}',
            next_step="save other data as JSON Lines (.jsonl)",
        )
    for article in content["data"]:
        for paragraph in article.get("paragraphs", []):
            for qa in paragraph.get("qas", []):
                where = f"{path}, question {qa.get('id', '?')!r}"
                found = [] if qa.get("is_impossible") else qa.get("answers", [])
                yield (
                    where,
                    {
                        "id": str(qa.get("id", where)),
                        "context": paragraph.get("context"),
                        "question": qa.get("question"),
                        "answers": [x["text"] for x in found],
                        "answer_starts": [x["answer_start"] for x in found],
                    },
                )
