"""The files of a version: what of a run is kept, copied, listed by hash, and compared."""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CheckpointError, ModelError

MANIFEST = "manifest.json"
LEFT_OUT = ("checkpoints", "tensorboard", ".*", MANIFEST)  # of a run folder's own level


def check_run(run: Path) -> dict[str, dict[str, Any]]:
    """Check that a folder is a finished run whose model verifies; list what a version holds.

    Raises:
        ModelError: when it is not a finished run.
        CheckpointError: when a file of the model was changed.
    """
    model = run / "model"
    if not (run / "run.json").is_file() or not (model / MANIFEST).is_file():
        raise ModelError(
            "not a finished run",
            where=str(run),
            expected="a folder with run.json and model/manifest.json",
            next_step="give the folder named by --out when it was fine-tuned",
        )
    compare_files(model, files.read_json(model / MANIFEST)["files"])
    return {n: facts for p in _kept(run) for n, facts in list_files(p, run).items()}


def build(run: Path, folder: Path, name: str, version: str) -> str:
    """Copy a run into a new version's folder and write its manifest; give the manifest's SHA-256.

    Raises:
        CheckpointError: when a file changed while it was copied.
    """
    listing = check_run(run)
    for path in _kept(run):
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)
    compare_files(folder, listing)
    facts = {"schema": 1, "name": name, "version": version, "added": now()}
    summary = _summary(files.read_json(folder / "run.json"))
    files.write_json(folder / MANIFEST, {**facts, "summary": summary, "files": listing})
    for inner in folder.rglob("*"):
        if inner.is_dir():
            files.fsync_folder(inner)
    return files.sha256_file(folder / MANIFEST)


def _kept(run: Path) -> list[Path]:
    names = sorted(run.iterdir())
    return [p for p in names if not any(fnmatch.fnmatch(p.name, out) for out in LEFT_OUT)]


def list_files(path: Path, root: Path) -> dict[str, dict[str, Any]]:
    """Give size and SHA-256 of a file, or of every file of a folder, by its path from ``root``."""
    inside = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        p.relative_to(root).as_posix(): {
            "bytes": p.stat().st_size,
            "sha256": files.sha256_file(p),
        }
        for p in inside
        if p.is_file()
    }


def compare_files(folder: Path, listing: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that a folder holds the listed files, the same, and no others.

    Raises:
        CheckpointError: naming the first file that differs, with both hashes.
    """
    found = list_files(folder, folder)
    found.pop(MANIFEST, None)
    for name in sorted({*found, *listing}):
        ours = found[name]["sha256"] if name in found else "no such file"
        theirs = listing[name]["sha256"] if name in listing else "no such file"
        if ours != theirs:
            raise changed(folder / name, ours, theirs)


def changed(path: Path, found: str, expected: str) -> CheckpointError:
    """Give the error for a file that is not the one that was saved."""
    return CheckpointError(
        "the file is not the one that was saved",
        where=str(path),
        got=f"SHA-256 {found}",
        expected=f"SHA-256 {expected}",
        next_step="versions are never edited: put the file back from a copy, or add the run "
        "as a new version; 'rollback' returns to the earlier champion",
    )


def now() -> str:
    """Give the time in UTC, to the microsecond, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _summary(run: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a list of versions shows of run.json."""
    plain = {k: run.get(k) for k in ("task", "head", "seed", "parents")}
    base, data = run.get("base") or {}, run.get("data") or {}
    named = {"base": base.get("name"), "data": data.get("name"), "data_sha256": data.get("sha256")}
    return {**plain, **named, "metrics": (run.get("metrics") or {}).get("after", {})}
