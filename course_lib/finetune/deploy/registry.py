"""A registry of models in a folder: immutable versions, an atomic champion pointer, a history.

    registry = Registry("models")
    registry.add("runs/tickets", "tickets")          # models/tickets/v0001
    registry.promote("tickets", "v0001")

``models/tickets`` holds

    v0001/         run.json, predictions.jsonl, model/ ... and manifest.json (size and SHA-256 of
                   each file); built under another name and renamed, never written again
    champion.json  the newest promotion or rollback: the pointer, replaced atomically
    history.jsonl  every add, promotion and rollback, appended and fsynced; a line holds the
                   SHA-256 of the line before, and that of an add the version's manifest's

Replacing ``champion.json`` is the moment a promotion happens. Where a process is killed before
the same record reaches ``history.jsonl``, readers see it all the same and the next writer adds it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CheckpointError, StorageError
from course_lib.finetune.deploy.version_files import build, now
from course_lib.finetune.deploy.versions import Version, Versions

__all__ = ["Registry", "Version"]

POINTER, HISTORY = "champion.json", "history.jsonl"
LOCK_SECONDS = 60.0


class Registry(Versions):
    """Versions of models in a folder; see :class:`versions.Versions` for what it does.

    Args:
        folder: holds a folder for each name; made by the first ``add``.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()

    def _names(self) -> list[str]:
        return [p.parent.name for p in self.folder.glob(f"*/{HISTORY}")]

    def _numbers(self, name: str) -> list[str]:
        found = (self.folder / name).glob("v*")
        return sorted(p.name for p in found if re.fullmatch(r"v\d{4,}", p.name))

    def _folder(self, name: str, version: str) -> Path:
        return self.folder / name / version

    def _store(self, run: Path, name: str) -> str:
        place = self.folder / name
        entries = self._settled(name)
        for old in place.glob(".v*"):  # of an add that was killed
            shutil.rmtree(old, ignore_errors=True)
        taken = {e["version"] for e in entries} | set(self._numbers(name))
        version = f"v{max((int(v[1:]) for v in taken), default=0) + 1:04d}"
        with files.new_folder(place / version) as folder:
            manifest = build(run, folder, name, version)
            # before the rename: a version that can be seen is always in the history
            entry = {"time": now(), "action": "add", "version": version, "manifest": manifest}
            self._append(name, {**entry, "previous": self._last_hash(name)})
        for path in (place / version).rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        return version

    def _commit(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        self._settled(name)
        entry = {**entry, "previous": self._last_hash(name)}
        files.write_json(self.folder / name / POINTER, entry)
        self._append(name, entry)
        return entry

    def _entries(self, name: str) -> list[dict[str, Any]]:
        pointer = self._pointer(name)  # read first: a newer history holds it, an older one precedes
        lines = self._lines(name)
        entries = self._checked(name, lines)
        if pointer and pointer not in entries:
            if pointer.get("previous") != (_hash(lines[-1]) if lines else ""):
                raise CheckpointError(
                    "the champion pointer is not one this registry wrote",
                    where=str(self.folder / name / POINTER),
                    got=str(pointer.get("version")),
                    expected=f"the newest promotion or rollback in {HISTORY}",
                    next_step="delete the pointer; the history still knows the champion",
                )
            entries.append(pointer)
        return entries

    def _settled(self, name: str) -> list[dict[str, Any]]:
        """Give the history after adding to it what a killed process left in the pointer."""
        entries = self._entries(name)
        if len(entries) > len(self._lines(name)):
            self._append(name, entries[-1])
        return entries

    def _pointer(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name / POINTER
        found: dict[str, Any] | None = files.read_json(path) if path.is_file() else None
        return found

    def _lines(self, name: str) -> list[bytes]:
        """Give the history's lines; one without its line end was never finished."""
        path = self.folder / name / HISTORY
        return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []

    def _last_hash(self, name: str) -> str:
        lines = self._lines(name)
        return _hash(lines[-1]) if lines else ""

    def _checked(self, name: str, lines: list[bytes]) -> list[dict[str, Any]]:
        """Parse the history's lines and check that each follows the one before."""
        entries, before = [], ""
        for number, line in enumerate(lines, 1):
            where = f"{self.folder / name / HISTORY}:{number}"
            entry = files.parse_json(files.decode_utf8(line, where=where), where=where)
            if entry.get("previous") != before:
                raise CheckpointError(
                    "the history was changed by hand: a line does not follow the one before",
                    where=where,
                    got=f"previous {entry.get('previous')!r}",
                    expected=f"previous {before!r}",
                    next_step="put the file back from a copy",
                )
            entries.append(entry)
            before = _hash(line)
        return entries

    def _append(self, name: str, entry: dict[str, Any]) -> None:
        """Append a line and wait until it is on the disk; an unfinished line is cut off first."""
        path = self.folder / name / HISTORY
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            with open(path, "ab") as handle:
                handle.truncate(sum(len(old) + 1 for old in self._lines(name)))
                handle.write(line)
                handle.flush()
                os.fsync(handle.fileno())
            files.fsync_folder(path.parent)
        except OSError as error:
            raise StorageError(
                f"could not write: {error.strerror}",
                where=str(path),
                next_step="free some space; what was recorded before is untouched",
            ) from error

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        path = self.folder / name / ".lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=LOCK_SECONDS)
            lock.acquire()
        except Timeout:
            raise StorageError(
                "another process is writing to this registry",
                where=str(path),
                got=f"no turn in {LOCK_SECONDS:.0f} s",
                next_step="wait for it to end, then try again",
            ) from None
        except OSError as error:
            raise StorageError(f"could not write: {error.strerror}", where=str(path)) from error
        try:
            yield
        finally:
            lock.release()


def _hash(line: bytes) -> str:
    return files.sha256_bytes(line)
