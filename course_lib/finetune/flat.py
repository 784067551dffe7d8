"""Rows of ids and labels collected into flat arrays, on disk once they are many."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from course_lib.errors import DataError
from course_lib.finetune.records import Prepared

SPILL = 16_000_000  # numbers held in memory before they go to a file


class Flat:
    """int32 numbers collected in memory, or in a temporary file once they are many."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.held = self.written = 0
        self.file: Any = None

    def add(self, values: Sequence[int]) -> None:
        """Append numbers."""
        self.parts.append(np.asarray(values, dtype=np.int32))
        self.held += len(values)
        if self.held > SPILL:
            self.spill()

    def spill(self) -> None:
        """Move what is in memory to the file."""
        self.file = self.file or tempfile.TemporaryFile()  # noqa: SIM115  (closed in done)
        np.concatenate(self.parts).tofile(self.file)
        self.written += self.held
        self.parts, self.held = [], 0

    def done(self) -> np.ndarray:
        """Give everything as one array, memory-mapped where it went to a file."""
        if self.file is None:
            return np.concatenate(self.parts)
        if self.held:
            self.spill()
        with self.file:  # the mapping keeps the content, which goes with it
            self.file.flush()
            return np.memmap(self.file, dtype=np.int32, mode="r", shape=(self.written,))


class Rows:
    """Collects rows of ids and labels into the flat arrays of ``Prepared``."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.ids, self.labels = Flat(), Flat()
        self.lengths: list[int] = []
        self.facts: list[Any] = []
        self.cut = self.dropped = 0

    def add(self, ids: Sequence[int], labels: Sequence[int], fact: Any = None) -> None:
        """Append a row."""
        self.ids.add(ids)
        self.labels.add(labels)
        self.lengths.append(len(ids))
        self.facts.append(fact)

    def done(self) -> Prepared:
        """Give the rows.

        Raises:
            DataError: when there is none.
        """
        if not self.lengths:
            raise DataError(
                "no row is left to learn from",
                got=f"{self.dropped} rows dropped because nothing of them fits the context",
                next_step="shorten the texts or use a base with a longer context",
            )
        offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        ids, labels = self.ids.done(), self.labels.done()
        facts = tuple(self.facts)
        return Prepared(self.task, ids, labels, offsets, self.cut, self.dropped, facts)
