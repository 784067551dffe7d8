"""`course new lesson`: a lesson to be filled in, with its quiz, exercises and glossary."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from course_lib import files
from course_lib.errors import StorageError, UsageError

MOST_LETTERS = 70
TODO = "TODO"


@dataclass(frozen=True, slots=True)
class Made:
    """The files of a new lesson, and how many places wait to be filled in."""

    paths: tuple[Path, ...]
    todo: int


def new_lesson(number: str, title: str, *, root: Path | None = None) -> Made:
    """Write the four files of a lesson from the templates; nothing is overwritten.

    Args:
        number: two digits, such as ``11``.
        title: of the lesson; the files' names are made from it.
        root: the course's folder.

    Raises:
        UsageError: for a number or title that cannot be one, or that is taken.
        StorageError: when a file could not be written; then none is left behind.
    """
    root = root or files.course_root()
    title = " ".join(title.split())
    if not re.fullmatch(r"[0-9]{2}", number):
        raise UsageError("a lesson's number has two digits", got=number, expected="such as 11")
    stem = f"{number}_{_slug(title)}"
    places = {
        "lesson.md": root / "notebooks" / "source" / f"{stem}.md",
        "quiz.yaml": root / "quizzes" / f"{stem}.yaml",
        "exercises.yaml": root / "quizzes" / "exercises" / f"{stem}.yaml",
        "glossary.yaml": root / "notebooks" / "source" / "glossary" / f"{number}.yaml",
    }
    taken = sorted({p for place in places.values() for p in place.parent.glob(f"{number}[_.]*")})
    if taken:
        raise UsageError(
            f"lesson {number} is there already; nothing was written",
            got=", ".join(str(p.relative_to(root)) for p in taken),
            next_step="choose a number that is free, or edit these files",
        )
    texts = {path: _filled(name, number, title, root) for name, path in places.items()}
    _write(texts)
    return Made(tuple(texts), sum(text.count(TODO) for text in texts.values()))


def _slug(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not slug or len(title) > MOST_LETTERS or re.search(r"[`*_\[\]<>$\\#|]", title):
        raise UsageError(
            "this title cannot name a lesson",
            got=repr(title[:100]),
            expected=f"up to {MOST_LETTERS} letters in plain words, without Markdown",
        )
    return slug


def _filled(name: str, number: str, title: str, root: Path) -> str:
    text = files.read_text(files.assets_dir() / "new_lesson" / name)
    topics = root / "notebooks" / "source" / "topics.yaml"
    known = (files.read_yaml(topics) or {}).get(number) if topics.is_file() else None
    tags = [f"objective-{number}.1", *(f"topic-{topic}" for topic in known or {})]
    for mark, value in {
        "@NN@": number,
        "@TAGS@": json.dumps(tags),
        "@TITLE_YAML@": json.dumps(title, ensure_ascii=False),
        "@TITLE@": title,
    }.items():
        text = text.replace(mark, value)
    return text


def _write(texts: dict[Path, str]) -> None:
    """Write all or none; an existing file is never opened for writing."""
    written: list[Path] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "x", encoding="utf-8") as out:
                written.append(path)
                out.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise StorageError(
            f"could not write: {error.strerror}", where=str(error.filename or ""),
            next_step="nothing was left behind; free the place and try again",
        ) from error  # fmt: skip
