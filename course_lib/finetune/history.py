"""A run's history: one JSON object a line, and the same numbers for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from course_lib import files

SHOWN_EVERY = 10  # steps; a row with a validation figure is always shown


class History:
    """``history.jsonl`` and, where TensorBoard is installed, ``tensorboard/`` in a run folder.

    Args:
        out: the folder; it exists.
        active: False writes nothing (any process but the main one).
    """

    def __init__(self, out: Path, active: bool = True) -> None:
        self.out, self.active = out, active
        self.board: Any = None

    def __enter__(self) -> History:
        if self.active:
            self.handle = open(self.out / "history.jsonl", "a", encoding="utf-8")
            with contextlib.suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(str(self.out / "tensorboard"))
        return self

    def write(self, row: Mapping[str, float]) -> None:
        """Append one row; it needs a ``step``."""
        if not self.active:
            return
        self.handle.write(json.dumps(row) + "\n")
        self.handle.flush()
        measured = any(key.startswith("val") for key in row)
        if self.board and (row["step"] % SHOWN_EVERY == 0 or measured):
            for key in row.keys() - {"step"}:
                self.board.add_scalar(key, row[key], int(row["step"]))

    def restart(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Put ``rows`` in the place of everything written so far."""
        self.handle.truncate(0)
        self.handle.writelines(json.dumps(row) + "\n" for row in rows)
        self.handle.flush()

    def __exit__(self, *exc: object) -> None:
        if self.active:
            os.fsync(self.handle.fileno())
            self.handle.close()
            if self.board:
                self.board.close()


def cut_history(path: Path, step: int) -> None:
    """Drop the rows after ``step`` (they are run again) and a torn last line."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            if json.loads(line)["step"] <= step:
                kept.append(line)
    files.write_text(path, "".join(line + "\n" for line in kept))
