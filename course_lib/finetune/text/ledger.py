"""Damaged rows beside the ledger of their damage: how good a cleaning is, and what it is worth.

The ledger of ``datasets/support_tickets_raw`` says of each row what was done to it, so finding and
repairing can be counted; :func:`arms` cuts training rows raw, cleaned and as the ledger has them,
with the same clean rows to be measured on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError
from course_lib.finetune.records import Example, Splits
from course_lib.finetune.text import annotate, clean, duplicates, names, pii

Row = Mapping[str, Any]
Ledger = Mapping[str, Row]
KINDS = tuple(kind for kind in pii.KINDS if kind != "ORDER")  # the ledger keeps order numbers
SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}
_QUOTES = str.maketrans(dict.fromkeys('"\u2018\u2019\u201c\u201d\u00b4`', "'"))


@dataclass(frozen=True, slots=True)
class Score:
    """One cleaning step against the ledger, in rows (personal data: in items).

    Attributes:
        step: its name.
        there: how many the ledger has.
        found: how many the step changed, left out or marked.
        right: how many of these the ledger has too.
        exact: repairs: damaged rows whose whole text came out as in the ledger; else None.
    """

    step: str
    there: int
    found: int
    right: int
    exact: int | None = None

    @property
    def precision(self) -> float:
        """The share of what was found that the ledger has."""
        return self.right / max(1, self.found)

    @property
    def recall(self) -> float:
        """The share of what the ledger has that was found."""
        return self.right / max(1, self.there)


def read(folder: Path | str | None = None) -> tuple[list[dict[str, Any]], dict[str, Row]]:
    """Give the damaged rows in order of arrival, and the ledger by row id.

    Args:
        folder: with ``raw.jsonl`` and ``ledger.jsonl``; None for the course's own set.

    Raises:
        DataError: when a file cannot be read, or a row is not in the ledger.
    """
    where = Path(folder or files.course_root() / "datasets" / "support_tickets_raw")
    rows = [row for _, row in files.read_jsonl(where / "raw.jsonl")]
    keys: dict[str, Row] = {row["id"]: row for _, row in files.read_jsonl(where / "ledger.jsonl")}
    if strays := [row["id"] for row in rows if row["id"] not in keys]:
        raise DataError("a row is not in the ledger", where=str(where), got=repr(strays[0]))
    return rows, keys


def damage(key: Row) -> set[str]:
    """Give the kinds of damage the ledger lists for a row."""
    return {item["kind"] for item in key["damage"]}


def fold(text: str) -> str:
    """Give ``text`` with straight single quotation marks and single spaces, for comparing."""
    return " ".join(text.translate(_QUOTES).split())


def score(rows: Sequence[Row], keys: Ledger) -> list[Score]:
    """Clean ``rows`` with every step and hold each against the ledger.

    Repairs and copies count rows; personal data is looked for in the raw text and counts items
    (same kind, places overlapping by half of their union). For ``exact`` the ledger's own places
    of personal data are replaced first, so that a missed name does not spoil a repair.
    """
    repairs = list(clean.TEXT_STEPS)
    masked = [{**row, "text": _masked(row["text"], keys[row["id"]])} for row in rows]
    repaired = clean.clean(masked, repairs)
    good = {r["id"] for r in repaired.rows if fold(r["text"]) == fold(keys[r["id"]]["clean_text"])}
    done = clean.clean(rows, [*repairs, "exact_duplicate", "near_duplicate"])
    found = []
    for step in [*repairs, "exact_duplicate", "near_duplicate"]:
        marked = {row["id"] for row in rows if step in damage(keys[row["id"]])}
        touched = {c.id for c in done.changes if c.step == step}
        exact = len(marked & good) if step in repairs else None
        found.append(Score(step, len(marked), len(touched), len(marked & touched), exact))
    return [*found, *personal(rows, keys)]


def _masked(text: str, key: Row) -> str:
    own = [d for d in key["damage"] if d["kind"] == "pii"]
    return pii.replace_pii(text, [pii.Pii(d["start"], d["end"], d["type"], "") for d in own])


def personal(rows: Sequence[Row], keys: Ledger) -> list[Score]:
    """Score the search for personal data, all kinds together first (``pii``), then each."""
    house = names.house_words(row["text"] for row in rows)
    tally = {kind: [0, 0, 0] for kind in KINDS}
    for row in rows:
        free = [d for d in keys[row["id"]]["damage"] if d["kind"] == "pii"]
        for item in free:
            tally[item["type"]][0] += 1
        for item in pii.find_pii(row["text"], kinds=KINDS, house=house):
            same = (d for d in free if d["type"] == item.kind and _overlap(d, item) >= 0.5)
            hit = next(same, None)
            if hit is not None:
                free.remove(hit)
            tally[item.kind][1] += 1
            tally[item.kind][2] += hit is not None
    whole = [sum(column) for column in zip(*tally.values(), strict=True)]
    each = [Score(kind, *counts) for kind, counts in tally.items()]
    return [Score("pii", *whole), *each]


def _overlap(gold: Row, item: pii.Pii) -> float:
    """Give the intersection over union of two places."""
    both = min(gold["end"], item.end) - max(gold["start"], item.start)
    union = max(gold["end"], item.end) - min(gold["start"], item.start)
    return float(max(0, both) / union)


# --- what cleaning is worth -------------------------------------------------------------------
def read_suspects(
    suspects: Sequence[annotate.Suspect], rows: Sequence[Example], keys: Ledger, count: int
) -> dict[str, str]:
    """Give the labels to change after a reader went through the ``count`` most suspect rows.

    The reader is the ledger: it knows the true label, as a careful person would. It is asked
    about these rows alone.

    Args:
        suspects: of ``annotate.label_errors`` on ``rows``, the most suspect first.
        rows: the rows they point to.
        keys: the ledger.
        count: how many are read.

    Returns:
        The true label by row id, of the rows read whose label was wrong.
    """
    seen = [rows[s.place] for s in suspects[:count]]
    return {r.id: keys[r.id]["intent"] for r in seen if keys[r.id]["intent"] != r.label}


def relabel(data: Splits, right: Mapping[str, str]) -> Splits:
    """Give ``data`` with the labels of ``right`` (by row id) in its training rows."""
    train = [dataclasses.replace(r, label=right.get(r.id, r.label)) for r in data.train]
    return dataclasses.replace(data, train=train)


def true_groups(keys: Ledger) -> dict[str, str]:
    """Give each row the first copy of its message, following the ledger's ``of``."""
    of = {i: d["of"] for i, key in keys.items() for d in key["damage"] if "of" in d}

    def first(row: str) -> str:
        while row in of:
            row = of[row]
        return row

    return {row: first(row) for row in keys}


def arms(rows: Sequence[Row], keys: Ledger, *, seed: int = 0) -> dict[str, Splits]:
    """Cut the damaged set once by group; give its training rows in several states.

    Validation and test rows are the same for all: one row a message, text and label as the ledger
    has them. Training rows are those of the remaining messages: ``raw`` as they arrived,
    ``cleaned`` by every step, ``perfect``, one a message, as the ledger has them; and perfect but
    for one fault: ``broken text``, ``copies`` or ``wrong labels``.

    Args:
        rows, keys: as :func:`read` gives them, or a part of the rows.
        seed: of the cut.
    """
    groups = true_groups(keys)
    cut = duplicates.split_by_group(
        rows, groups=[groups[row["id"]] for row in rows], shares=SHARES, label="intent", seed=seed
    )
    held = {name: _as_written(cut[name], keys) for name in ("validation", "test")}
    perfect = _as_written(cut["train"], keys)
    given = {row["id"]: row for row in rows}
    states: dict[str, Sequence[Example]] = {
        "raw": examples(cut["train"]),
        "cleaned": examples(clean.clean(cut["train"], kinds=KINDS).rows),
        "perfect": perfect,
        "broken text": [dataclasses.replace(r, text=given[r.id]["text"]) for r in perfect],
        "copies": [_true(row["id"], keys) for row in cut["train"]],
        "wrong labels": [dataclasses.replace(r, label=given[r.id]["intent"]) for r in perfect],
    }
    labels = tuple(sorted({str(row["intent"]) for row in rows}))
    return {
        name: Splits("classification", name, "", train, held["validation"], held["test"], labels)
        for name, train in states.items()
    }


def _true(row: str, keys: Ledger) -> Example:
    return Example(row, keys[row]["clean_text"], keys[row]["intent"])


def examples(rows: Sequence[Row]) -> list[Example]:
    """Give rows as examples, with the intent they arrived with."""
    return [Example(row["id"], row["text"], row["intent"]) for row in rows]


def _as_written(rows: Sequence[Row], keys: Ledger) -> list[Example]:
    groups = true_groups(keys)
    firsts = dict.fromkeys(groups[row["id"]] for row in rows)
    return [_true(row, keys) for row in firsts]


def write(data: Splits, folder: Path | str, *, splits: Collection[str] = SHARES) -> Path:
    """Write splits as ``train.jsonl`` ... with ``id``, ``text`` and ``intent``, for ``data.load``.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in splits:
        lines = (
            json.dumps({"id": r.id, "text": r.text, "intent": r.label}, ensure_ascii=False) + "\n"
            for r in getattr(data, name)
        )
        files.write_text(folder / f"{name}.jsonl", "".join(lines))
    return folder
