"""Data in: a name, a file, a folder or a Hub id becomes three checked splits of examples."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, OfflineError, UnknownNameError
from course_lib.finetune import formats, splits, store
from course_lib.finetune.records import TASKS, Example, Splits

TEXT = ("text", "sentence", "body", "content", "message", "review", "utterance", "document")
LABEL = ("label", "intent", "class", "category", "sentiment", "target", "tag")
PROMPT = ("prompt", "instruction", "input", "source", "document", "question", "mr")
TARGET = ("completion", "output", "target", "response", "summary", "answer", "reply", "text")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}


def load(
    task: str,
    data: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    revision: str | None = None,
) -> Splits:
    """Load a data set for a task.

    Args:
        task: one of ``records.TASKS``.
        data: the name of a course data set, a file, a folder with
            ``train``/``validation``/``test`` files, or a Hub id (``ID@REVISION`` pins it).
        text_column: the column of the text (for completion: of the prompt).
        label_column: the column of the label (for completion: of the target).
        seed: of the cut, where splits are missing.
        revision: commit or tag of a Hub data set.

    Raises:
        UnknownNameError: for an unknown task or data set, with close matches.
        DataError: for anything wrong in a file: which, where, what to do.
        OfflineError: for a Hub id that is not cached when the Hub cannot be reached.
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    text, label, sha, parts = _source(task, data, revision)
    builder = _Builder(task, text_column or text, label_column or label)
    built: dict[str, Sequence[Example]] = {
        name: store.keep(builder.examples(rows)) for name, rows in parts.items()
    }
    notes = builder.notes
    if "train" not in built:
        raise DataError(
            "there are no training rows",
            where=data,
            got=", ".join(built) or "nothing",
            expected="a file whose name starts with train",
        )
    if task == "classification":
        splits.check_classes(built["train"], data)
    built = splits.cut(task, built, seed, notes)
    labels = splits.labels(task, built, data)
    name = Path(data).name if Path(data).expanduser().exists() else data
    return Splits(
        task, name, sha, built["train"], built["validation"], built["test"], labels, tuple(notes)
    )


def _source(
    task: str, data: str, revision: str | None
) -> tuple[str | None, str | None, str, Mapping[str, Iterable[formats.Row]]]:
    """Find the data; give default columns, the digest of its bytes and rows by split."""
    known = course_sets()
    path = Path(data).expanduser()
    if data in known:
        entry, folder = known[data], files.course_root() / "datasets" / data
        parts: dict[str, Iterable[formats.Row]] = {}
        for name, facts in entry["files"].items():
            found = files.sha256_file(folder / name) if (folder / name).is_file() else "no file"
            if found != facts["sha256"]:
                raise DataError(
                    "the file is not the frozen one",
                    where=str(folder / name),
                    got=found,
                    expected=facts["sha256"],
                    next_step="restore it with 'git checkout', or copy the folder "
                    "elsewhere and give its path to use your own version",
                )
            parts[SPLIT_NAMES[Path(name).stem]] = formats.read_rows(folder / name)
        both = "".join(f["sha256"] for _, f in sorted(entry["files"].items()))
        sha = files.sha256_bytes(both.encode())
        return entry.get("text"), entry.get("label"), sha, parts
    if path.is_dir():
        found_files = {
            SPLIT_NAMES[p.stem]: p
            for p in sorted(path.iterdir())
            if p.stem in SPLIT_NAMES and p.suffix.lower() in formats.KINDS
        }
        sha = files.sha256_bytes(
            "".join(files.sha256_file(p) for p in found_files.values()).encode()
        )
        return None, None, sha, {s: formats.read_rows(p) for s, p in found_files.items()}
    if path.is_file():
        return None, None, files.sha256_file(path), {"train": formats.read_rows(path)}
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


def _hub(
    data: str, revision: str | None
) -> tuple[None, None, str, dict[str, Iterable[formats.Row]]]:
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
    return None, None, files.sha256_bytes("".join(digests).encode()), parts


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


class _Builder:
    """Turns rows into examples of one task, guessing columns once and noting each guess."""

    def __init__(self, task: str, text: str | None, label: str | None) -> None:
        self.task, self.notes = task, []  # type: tuple[str, list[str]]
        self.columns: dict[str, str | None] = {"text": text, "label": label}

    def column(self, role: str, guesses: Sequence[str], row: dict[str, Any], where: str) -> str:
        named = self.columns.get(role)
        if named is None:
            lower = {str(k).lower(): k for k in row}
            taken = set(self.columns.values())
            named = next((lower[g] for g in guesses if g in lower and lower[g] not in taken), None)
            if named is None:
                raise DataError(
                    f"no column for the {role} was recognised",
                    where=where,
                    got=", ".join(map(str, row)),
                    expected="one of " + ", ".join(guesses),
                    next_step=f"name it with --{role}-column",
                )
            self.notes.append(f"column {named!r} taken as the {role}")
            self.columns[role] = named
        if named not in row:
            raise UnknownNameError("column", f"{named} ({where})", map(str, row))
        return named

    def value(self, role: str, guesses: Sequence[str], row: dict[str, Any], where: str) -> str:
        column = self.column(role, guesses, row, where)
        found = row[column]
        if found is None or not str(found).strip():
            raise DataError(
                f"the {role} is empty",
                where=f"{where}, column {column!r}",
                got=repr(found),
                next_step="fill it in or delete the row",
            )
        return str(found).strip() if role == "label" else str(found)

    def examples(self, rows: Iterable[formats.Row]) -> Iterator[Example]:
        make = getattr(self, "_" + self.task.replace("-", "_"))
        return (make(where, row) for where, row in rows)

    def _classification(self, where: str, row: dict[str, Any]) -> Example:
        return Example(
            id=str(row.get("id", where)),
            text=self.value("text", TEXT, row, where),
            label=self.value("label", LABEL, row, where),
        )

    def _language_modeling(self, where: str, row: dict[str, Any]) -> Example:
        return Example(id=where, text=self.value("text", TEXT, row, where))

    def _completion(self, where: str, row: dict[str, Any]) -> Example:
        turns = row.get("messages")
        if isinstance(turns, list):
            return Example(id=where, turns=tuple((t["role"], t["content"]) for t in turns))
        return Example(
            id=where,
            text=self.value("text", PROMPT, row, where),
            target=self.value("label", TARGET, row, where),
        )

    def _token_classification(self, where: str, row: dict[str, Any]) -> Example:
        tokens, tags = row.get("tokens"), row.get("tags", row.get("ner_tags"))
        if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
            raise DataError(
                "words and tags do not pair up",
                where=where,
                got=f"{tokens!r:.40}, {tags!r:.40}",
                expected="lists 'tokens' and 'tags' of one length",
            )
        before = "O"
        for tag in map(str, tags):
            opened = before[:1] in "BI" and before[2:] == tag[2:]
            if not re.fullmatch(r"O|[BI]-\S+", tag) or (tag[:1] == "I" and not opened):
                raise DataError(
                    "not an IOB2 tag sequence",
                    where=where,
                    got=f"{tag!r} after {before!r}",
                    expected="O, B-TYPE, or I-TYPE after B-TYPE or I-TYPE",
                )
            before = tag
        return Example(id=where, tokens=tuple(map(str, tokens)), tags=tuple(map(str, tags)))

    def _question_answering(self, where: str, row: dict[str, Any]) -> Example:
        passage, question = row.get("context") or row.get("passage"), row.get("question")
        if not passage or not question:
            raise DataError(
                "a question needs a context and a question",
                where=where,
                got=", ".join(map(str, row)),
            )
        answers, starts = tuple(row.get("answers") or ()), tuple(row.get("answer_starts") or ())
        for answer, start in zip(answers, starts, strict=False):
            if passage[start : start + len(answer)] != answer:
                raise DataError(
                    "the answer is not at its place in the passage",
                    where=where,
                    got=repr(passage[start : start + len(answer)]),
                    expected=repr(answer),
                )
        starts = starts or tuple(max(0, passage.find(a)) for a in answers)
        group = str(row.get("group") or hashlib.sha256(passage.encode()).hexdigest()[:16])
        return Example(
            id=str(row.get("id", where)),
            text=passage,
            question=question,
            answers=answers,
            answer_starts=starts,
            group=group,
        )
