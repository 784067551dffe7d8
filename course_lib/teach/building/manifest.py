"""The run manifest: what was built from what. It lets a later build do only what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError

NAME = "build.json"
SCHEMA = 1


@dataclass
class Manifest:
    """The entries of one output folder, by notebook name such as ``03_text_classification``.

    Each is written the moment its notebook lies in place, so an interrupted build goes on
    where it stopped.
    """

    path: Path
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a folder's manifest; none there gives an empty one.

        Raises:
            DataError: for a manifest that is damaged or of another schema.
        """
        path = folder / NAME
        if not path.is_file():
            return cls(path)
        content = files.read_json(path)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise DataError(
                "the build manifest cannot be read", where=str(path),
                expected=f"a map with schema {SCHEMA}",
                next_step="delete it; the next build makes every lesson again",
            )  # fmt: skip
        entries = content.get("lessons")
        return cls(path, dict(entries) if isinstance(entries, dict) else {})

    def state(self, name: str, inputs: Mapping[str, Any], notebook: Path) -> str:
        """Say how a notebook stands: ``done``, ``new``, ``changed`` (its inputs) or ``edited``."""
        entry = self.entries.get(name)
        if not isinstance(entry, dict) or not notebook.is_file():
            return "new"
        if entry.get("inputs") != inputs:
            return "changed"
        return "done" if entry.get("output") == files.sha256_file(notebook) else "edited"

    def why(self, name: str, inputs: Mapping[str, Any]) -> list[str]:
        """Name the inputs that differ from those of the last build."""
        entry = self.entries.get(name) or {}
        before = entry.get("inputs") or {}
        return [key for key in inputs if before.get(key) != inputs[key]]

    def keep(self, name: str, inputs: Mapping[str, Any], notebook: Path, seconds: float) -> None:
        """Record a notebook that lies in place."""
        self.entries[name] = {
            "inputs": dict(inputs),
            "output": files.sha256_file(notebook),
            "seconds": round(seconds),
        }
        lessons = {k: self.entries[k] for k in sorted(self.entries)}
        files.write_json(self.path, {"schema": SCHEMA, "lessons": lessons})
