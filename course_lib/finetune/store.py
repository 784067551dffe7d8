"""Examples kept on disk when they are many, so that a large file costs little memory.

Small sets stay a list. What holds more than ``LARGE`` characters goes into an Arrow file
(through ``datasets``), memory-mapped and read row by row when asked for.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, overload

import numpy as np

from course_lib.errors import CourseError
from course_lib.finetune.records import Example

LARGE = 32_000_000  # characters of text kept in memory
_DEFAULTS = {f.name: f.default for f in fields(Example) if f.name != "id"}


class Stored(Sequence[Example]):
    """Examples in an Arrow file; slicing and picking share the file.

    Args:
        table: a ``datasets.Dataset`` with one column ``row`` of JSON.
        rows: which of its rows, int64; None for all.
    """

    def __init__(self, table: Any, rows: np.ndarray | None = None) -> None:
        self.table = table
        self.rows = np.arange(len(table), dtype=np.int64) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Stored: ...
    def __getitem__(self, place: int | slice) -> Example | Stored:
        """Give one example, or a view of several."""
        if isinstance(place, slice):
            return Stored(self.table, self.rows[place])
        return _example(self.table[int(self.rows[place])]["row"])

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self.rows), 1000):
            for text in self.table[self.rows[start : start + 1000]]["row"]:
                yield _example(text)


def pick(rows: Sequence[Example], places: np.ndarray) -> Sequence[Example]:
    """Give the rows at ``places``, int64: a list, or a view of stored rows."""
    if isinstance(rows, Stored):
        return Stored(rows.table, rows.rows[places])
    return [rows[int(i)] for i in places]


def keep(rows: Iterable[Example], large: int = LARGE) -> Sequence[Example]:
    """Give ``rows`` as a list, or on disk once they hold more than ``large`` characters."""
    rows = iter(rows)
    held: list[Example] = []
    size = 0
    for row in rows:
        held.append(row)
        size += len(row.text) + sum(map(len, row.tokens)) + sum(len(c) for _, c in row.turns)
        if size > large:
            return _to_disk(chain(held, rows))
    return held


def _to_disk(rows: Iterable[Example]) -> Stored:
    """Write rows to an Arrow file that is deleted with the last view of it."""
    from datasets import Dataset, Features, Value, disable_progress_bars, enable_progress_bars

    folder = tempfile.mkdtemp(prefix="course-data-")
    # The generator goes in as a one-shot iterator: with gen_kwargs its content would be
    # hashed, which reads the whole source once more.
    source = iter(rows)
    disable_progress_bars()
    try:
        table = Dataset.from_generator(
            lambda: ({"row": _json(r)} for r in source),
            features=Features({"row": Value("large_string")}),
            cache_dir=folder,
            fingerprint=folder.rsplit("-", 1)[-1],
            writer_batch_size=1000,
        )
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error.__cause__, CourseError):
            raise error.__cause__ from None  # what was wrong with a row, not the wrapping of it
        raise
    finally:
        enable_progress_bars()
    weakref.finalize(table, shutil.rmtree, folder, ignore_errors=True)
    return Stored(table)


def _json(row: Example) -> str:
    kept = {n: v for n, d in _DEFAULTS.items() if (v := getattr(row, n)) != d}
    return json.dumps({"id": row.id, **kept}, ensure_ascii=False)


def _example(text: str) -> Example:
    found = json.loads(text)
    for name in ("answers", "answer_starts", "tokens", "tags"):
        if name in found:
            found[name] = tuple(found[name])
    if "turns" in found:
        found["turns"] = tuple((r, c) for r, c in found["turns"])
    return Example(**found)
