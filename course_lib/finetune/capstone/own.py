"""A table of your own: put in a folder, read to its end, its columns described."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.finetune import data, formats
from course_lib.finetune.records import Splits

ENDINGS = (".csv", ".tsv", ".jsonl")
LARGEST = 50_000_000  # bytes that a browser sends in one piece without trouble
FEW_VALUES = 30  # a label column repeats its values


@dataclass(frozen=True, slots=True)
class Column:
    """A column: rows in which it is filled, different values, mean words, and one value."""

    name: str
    filled: int
    distinct: int
    words: float
    example: str


@dataclass(frozen=True, slots=True)
class Table:
    """A file that was read from first to last line.

    Attributes:
        path: where it lies. rows: how many there are.
        columns: in the order of the file.
        text, label: columns that look like the text and its label; "" where none does.
    """

    path: Path
    rows: int
    columns: tuple[Column, ...]
    text: str = ""
    label: str = ""


def receive(name: str, content: bytes | str, folder: Path | str) -> Table:
    """Keep a file that was uploaded or pasted, and read it.

    Args:
        name: the file's name; of a path only the last part is used.
        content: its bytes, or pasted text.
        folder: where it is put.

    Raises:
        DataError: when it cannot be read, naming the line; nothing is kept then.
    """
    raw = content.encode() if isinstance(content, str) else bytes(content)
    plain = re.sub(r"[^\w.-]+", "_", re.split(r"[\\/]", name)[-1]).lstrip(".") or "pasted"
    path = Path(folder) / plain
    if path.suffix.lower() not in ENDINGS:
        raise DataError(
            "this kind of file is not taken here", where=name, got=path.suffix or "no ending",
            expected=", ".join(ENDINGS), next_step="save it as CSV or JSON Lines",
        )  # fmt: skip
    if len(raw) > LARGEST:
        raise DataError(
            "too large to send through a browser", where=name, got=f"{len(raw):,} bytes",
            expected=f"at most {LARGEST:,}",
            next_step="copy it beside the notebook and give its path to look()",
        )  # fmt: skip
    trial = path.with_name(f".{path.stem}.part{path.suffix.lower()}")
    files.write_bytes(trial, raw)
    try:
        found = look(trial)
    except DataError as error:
        raise DataError(
            error.problem, where=error.where.replace(str(trial), plain), got=error.got,
            expected=error.expected, next_step=error.next_step,
        ) from None  # fmt: skip
    finally:
        trial.unlink(missing_ok=True)
    files.write_bytes(path, raw)
    return Table(path, found.rows, found.columns, found.text, found.label)


def look(path: Path | str) -> Table:
    """Read a file to its end and describe its columns.

    Raises:
        DataError: for whatever is not as it should be, with file and line.
    """
    rows = [row for _, row in formats.read_rows(Path(path))]
    if not rows:
        raise DataError("there are no rows below the header", where=str(path))
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = tuple(_column(name, [row.get(name) for row in rows]) for name in names)
    text = max(columns, key=lambda c: c.words)
    labels = [c for c in columns if _may_be_label(c, len(rows)) and c is not text]
    named = [c for c in labels if c.name.lower() in data.LABEL]
    label = (named or sorted(labels, key=lambda c: c.distinct))[:1]
    return Table(
        Path(path), len(rows), columns,
        text.name if text.words >= 2 else "", label[0].name if label else "",
    )  # fmt: skip


def _column(name: str, values: Sequence[Any]) -> Column:
    filled = [str(v).strip() for v in values if v is not None and str(v).strip()]
    words = sum(len(v.split()) for v in filled) / max(1, len(filled))
    example = textwrap.shorten(filled[0], 80, placeholder=" …") if filled else ""
    return Column(name, len(filled), len(set(filled)), words, example)


def _may_be_label(column: Column, rows: int) -> bool:
    return 2 <= column.distinct <= min(FEW_VALUES, rows // 2) and column.filled == rows


def write_csv(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as CSV, the columns those of the first row.

    Raises:
        UsageError: for no rows.
    """
    kept = list(rows)
    if not kept:
        raise UsageError("there is nothing to write", where=str(path))
    target = io.StringIO()
    writer = csv.DictWriter(target, fieldnames=list(kept[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    files.write_text(path, target.getvalue())
    return Path(path)


def write_splits(folder: Path | str, splits: Mapping[str, Sequence[Any]]) -> Path:
    """Write classification examples as a folder that :func:`data.load` reads.

    Args:
        folder: gets ``train.jsonl`` and so on, overwritten.
        splits: examples by the name of their split.
    """
    for name, part in splits.items():
        lines = (
            json.dumps({"id": r.id, "text": r.text, "label": r.label}, ensure_ascii=False) + "\n"
            for r in part
        )
        files.write_text(Path(folder) / f"{name}.jsonl", "".join(lines))
    return Path(folder)


def everything(splits: Splits) -> list[Any]:
    """Give the rows of all three splits, to be cut anew."""
    return [*splits.train, *splits.validation, *splits.test]
