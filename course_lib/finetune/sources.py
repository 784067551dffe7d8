"""Where data comes from: a course data set's name, a file, a folder, a Hub id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, OfflineError, UnknownNameError
from course_lib.finetune import formats

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Source:
    """Rows as they were found.

    Attributes:
        text, label: columns the data set's manifest names; None where they are guessed.
        sha256: digest of all its bytes.
        parts: rows by split name, read as they are asked for.
    """

    text: str | None
    label: str | None
    sha256: str
    parts: Mapping[str, Iterable[formats.Row]]


def find(data: str, revision: str | None = None) -> Source:
    """Find a data set by name, path or Hub id.

    Raises:
        UnknownNameError: when it is none of them, with close matches.
        DataError: when a course data set is not the frozen one, naming file and digests.
        OfflineError: for a Hub id that is not cached when the Hub cannot be reached.
    """
    known = course_sets()
    path = Path(data).expanduser()
    if data in known:
        return _course_set(data, known[data])
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return Source(None, None, files.sha256_file(path), {"train": formats.read_rows(path)})
    if "/" not in data or data.startswith((".", "/", "~")) or path.suffix in formats.KINDS:
        raise UnknownNameError("data set or file", data, known)
    name, _, pinned = data.partition("@")
    return _hub(name, revision or pinned or None)


def course_sets() -> dict[str, Any]:
    """Give the course's own data sets: their entries in ``datasets/manifest.json``, by name."""
    sets: dict[str, Any] = files.read_json(files.course_root() / "datasets" / "manifest.json")[
        "sets"
    ]
    return sets


def course_file(name: str, file: str) -> Path:
    """Give the path of a file of a course data set, after checking that it is the frozen one.

    Raises:
        UnknownNameError: for an unknown set or file, with close matches.
        DataError: when the file differs from the manifest, naming it and both digests.
    """
    known = course_sets()
    if name not in known:
        raise UnknownNameError("data set", name, known)
    entry = known[name]["files"]
    if file not in entry:
        raise UnknownNameError(f"file of {name}", file, entry)
    path = files.course_root() / "datasets" / name / file
    found = files.sha256_file(path) if path.is_file() else "no file"
    if found != entry[file]["sha256"]:
        raise DataError(
            "the file is not the frozen one",
            where=str(path),
            got=found,
            expected=entry[file]["sha256"],
            next_step="restore it with 'git checkout', or copy the folder "
            "elsewhere and give its path to use your own version",
        )
    return path


def _course_set(name: str, entry: Mapping[str, Any]) -> Source:
    """Take the split files; a set's other files are verified too, and left out."""
    paths = [course_file(name, file) for file in entry["files"]]
    parts = {SPLIT_NAMES[p.stem]: formats.read_rows(p) for p in paths if p.stem in SPLIT_NAMES}
    both = "".join(f["sha256"] for _, f in sorted(entry["files"].items()))
    return Source(entry.get("text"), entry.get("label"), files.sha256_bytes(both.encode()), parts)


def _folder(path: Path) -> Source:
    """Take ``train.csv``; failing that ``my_train.csv``; failing that the one file there is."""
    readable = [p for p in sorted(path.iterdir()) if p.suffix.lower() in formats.KINDS]
    found: dict[str, Path] = {}
    for file in readable:  # the plain name wins over a longer one
        ending = re.split(r"[_\-. ]", file.stem)[-1].lower()
        if ending in SPLIT_NAMES and SPLIT_NAMES[ending] not in found:
            found[SPLIT_NAMES[ending]] = file
    found |= {SPLIT_NAMES[p.stem]: p for p in readable if p.stem in SPLIT_NAMES}
    named = [p for p in readable if p.stem.upper() not in ("README", "SOURCE", "LICENSE")]
    if not found and len(named) == 1:
        found = {"train": named[0]}
    digests = "".join(files.sha256_file(p) for p in found.values())
    parts = {split: formats.read_rows(p) for split, p in found.items()}
    return Source(None, None, files.sha256_bytes(digests.encode()), parts)


def _hub(data: str, revision: str | None) -> Source:
    from datasets import load_dataset

    try:
        found = load_dataset(data, revision=revision)
    except (OSError, ConnectionError, ValueError) as error:
        raise OfflineError(
            f"the data set {data!r} could not be fetched from the Hub",
            got=str(error).splitlines()[0],
            next_step="check the id and the network, or give a file, or the name "
            f"of a course data set: {', '.join(course_sets())}",
        ) from error
    parts, digests = {}, []
    for name, split in found.items():
        feature = split.features.get("label")
        names = getattr(feature, "names", None)
        digests.append(str(split._fingerprint))
        if name in SPLIT_NAMES:
            parts[SPLIT_NAMES[name]] = _hub_rows(data, name, split, names)
    return Source(None, None, files.sha256_bytes("".join(digests).encode()), parts)


def _hub_rows(data: str, split: str, rows: Any, names: Any) -> Iterable[formats.Row]:
    for number, row in enumerate(rows):
        if names:
            row = {**row, "label": names[row["label"]]}
        if isinstance(row.get("answers"), dict):
            row = {
                **row,
                "answer_starts": row["answers"]["answer_start"],
                "answers": row["answers"]["text"],
            }
        yield f"{data} {split}:{number}", row
