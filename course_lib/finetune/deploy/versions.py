"""Versions of a model, wherever they are kept: add, verify, promote by a paired test, roll back.

``registry.Registry`` keeps them in a folder, ``registry_mlflow.MlflowRegistry`` in MLflow; what
a version is, and what may become champion, is settled here for both.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CheckpointError, UnknownNameError, UsageError
from course_lib.finetune.deploy.promotion import Outcome, paired_test
from course_lib.finetune.deploy.version_files import (
    MANIFEST,
    changed,
    check_run,
    compare_files,
    now,
)


@dataclass(frozen=True)
class Version:
    """A version that was verified.

    Attributes:
        name: the model's name; version: such as ``v0001``.
        folder: where its files lie; it serves as a run folder. Not to be written to.
        sha256: of its manifest, and by it of every file.
        summary: task, head, base, data, seed and metrics of ``run.json``.
    """

    name: str
    version: str
    folder: Path
    sha256: str
    summary: Mapping[str, Any]


class Versions(ABC):
    """What every registry does, wherever it keeps the files."""

    def add(self, run: Path | str, name: str) -> Version:
        """Copy a finished run into a new version; the same files again give the old version.

        Raises:
            ModelError: when the folder is not a finished run.
            CheckpointError: when a file of its model was changed.
            StorageError: when the disk is full; no version is left behind.
        """
        _check_name(name)
        listing = check_run(Path(run))
        with self._lock(name):
            for version in self._numbers(name):
                known = files.read_json(self._folder(name, version) / MANIFEST)
                if known["files"] == listing:
                    return self.verify(name, version)
            return self.verify(name, self._store(Path(run), name))

    def versions(self, name: str) -> list[Version]:
        """Give every version of a name, oldest first, each verified.

        Raises:
            UnknownNameError: for a name nobody registered.
            CheckpointError: for a version that was changed by hand.
        """
        return [self.verify(name, v) for v in self._numbers(self._known(name))]

    def verify(self, name: str, version: str) -> Version:
        """Compare every file of a version with its manifest, and that with the history.

        Raises:
            UnknownNameError: when there is no such version.
            CheckpointError: naming the file that was changed, added or removed, with hashes.
        """
        numbers = self._numbers(self._known(name))
        entries = self.history(name)
        added = {e["version"]: e["manifest"] for e in entries if e["action"] == "add"}
        if version not in numbers:
            if any(e["version"] == version for e in entries if e["action"] != "add"):
                raise CheckpointError("the version was deleted", where=f"{name}/{version}")
            raise UnknownNameError(f"version of {name!r}", version, numbers)
        folder = self._folder(name, version)
        where = folder / MANIFEST
        found = files.sha256_file(where) if where.is_file() else "no manifest"
        if found != added.get(version):
            raise changed(where, found, added.get(version, "no version that was ever added"))
        manifest = files.read_json(where)
        compare_files(folder, manifest["files"])
        return Version(name, version, folder, found, manifest["summary"])

    def champion(self, name: str) -> Version | None:
        """Give the champion, verified; None before the first promotion.

        Raises:
            CheckpointError: when a file of it was changed; :meth:`rollback` still works.
        """
        version = reigns(self.history(self._known(name)))[-1:]
        return self.verify(name, version[0]) if version else None

    def history(self, name: str) -> list[dict[str, Any]]:
        """Give what happened to a name, oldest first: ``time``, ``action`` (``add``,
        ``promote``, ``rollback``), ``version``, and for a promotion ``test``, ``forced``,
        ``reason``."""
        return self._entries(self._known(name))

    def promote(
        self,
        name: str,
        version: str,
        *,
        test: str | None = None,
        margin: float = 0.02,
        force: bool = False,
        reason: str = "",
    ) -> dict[str, Any]:
        """Make a version the champion if it is not worse than the present one.

        Not worse (non-inferior): the lower end of the one-sided 95% interval of the paired
        difference in score, candidate less champion on the same rows, is at least ``-margin``.
        The first champion of a name has nothing to be compared with.

        Args:
            version: the candidate.
            test: a data set on which both are measured now; None takes the predictions kept
                with the two runs, which must be of the same rows.
            margin: loss in score that is no matter, from 0 to 1; 0.02 is two points.
            force: promote without the test; the files are verified all the same.
            reason: why; needed with ``force``, kept in the history.

        Returns:
            The history's new entry.

        Raises:
            UsageError: when the candidate may be worse (difference and interval named), is the
                champion already, or ``force`` has no reason.
            DataError: when the two were not measured on the same rows.
            CheckpointError: when a file of the candidate was changed.
        """
        if force and not reason.strip():
            raise UsageError("a forced promotion needs a reason", next_step="give reason='...'")
        with self._lock(self._known(name)):
            candidate = self.verify(name, version)
            reigning = reigns(self.history(name))[-1:]
            if reigning == [version]:
                raise UsageError(f"{name}/{version} is the champion already")
            outcome: Outcome | None = None
            if reigning and not force:
                champion = self.verify(name, reigning[0])
                outcome = paired_test(candidate.folder, champion.folder, test, margin)
                if not outcome.passed:
                    raise _refused(candidate, champion, outcome)
            facts = {"test": outcome.record() if outcome else None, "forced": force}
            return self._change(name, "promote", version, reigning, reason, **facts)

    def rollback(self, name: str, *, reason: str = "") -> dict[str, Any]:
        """Put the champion before this one back, verified; a second call goes one further back.

        The present champion is not looked at: it may be the thing that is broken.

        Returns:
            The history's new entry.

        Raises:
            UsageError: when there was no champion before.
            CheckpointError: when a file of the earlier version was changed.
        """
        with self._lock(self._known(name)):
            earlier = reigns(self.history(name))
            if len(earlier) < 2:
                raise UsageError(
                    f"{name!r} has no earlier champion to go back to",
                    got=f"champions: {', '.join(earlier) or 'none'}",
                    next_step="promote another version, with force and a reason if need be",
                )
            self.verify(name, earlier[-2])
            return self._change(name, "rollback", earlier[-2], earlier[-1:], reason)

    def names(self) -> list[str]:
        """Give the names that have versions, sorted."""
        return sorted(self._names())

    def _change(
        self, name: str, action: str, version: str, before: list[str], reason: str, **facts: Any
    ) -> dict[str, Any]:
        entry = {"time": now(), "action": action, "version": version, "before": before, **facts}
        return self._commit(name, {**entry, "reason": reason})

    def _known(self, name: str) -> str:
        if name not in self._names():
            raise UnknownNameError("model name", name, self._names())
        return name

    @abstractmethod
    def _names(self) -> list[str]:
        """Give the registered names."""

    @abstractmethod
    def _numbers(self, name: str) -> list[str]:
        """Give the complete versions of a name, oldest first."""

    @abstractmethod
    def _folder(self, name: str, version: str) -> Path:
        """Give a folder with a version's files."""

    @abstractmethod
    def _entries(self, name: str) -> list[dict[str, Any]]:
        """Give the history, oldest first."""

    @abstractmethod
    def _store(self, run: Path, name: str) -> str:
        """Keep a run as the next version, whole or not at all; give its number."""

    @abstractmethod
    def _commit(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Point at ``entry["version"]`` and remember it, in one step that cannot be torn."""

    @abstractmethod
    def _lock(self, name: str) -> AbstractContextManager[Any]:
        """Keep other writers out."""


def reigns(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the champions a rollback can go through, the present one last."""
    found: list[str] = []
    for entry in entries:
        if entry["action"] == "promote":
            found.append(entry["version"])
        elif entry["action"] == "rollback":
            found.pop()
    return found


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(
            "this cannot be a model's name",
            got=repr(name),
            expected="letters, digits, '.', '_' and '-', such as tickets-en",
        )


def _refused(candidate: Version, champion: Version, outcome: Outcome) -> UsageError:
    return UsageError(
        f"{candidate.version} may be worse than the champion {champion.version}",
        where=candidate.name,
        got=str(outcome),
        expected=f"the interval above {-outcome.margin:+.3f}",
        next_step="compare them on more rows (test=...), allow a wider margin, "
        "or force it with a reason",
    )
