"""Cutting missing splits without leakage, and checking the labels of what was cut."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections.abc import Iterable, Sequence

from course_lib.errors import DataError
from course_lib.finetune.records import Example

MOST_CLASSES = 1000


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def _key(row: Example) -> str:
    whole = row.group or _normal(row.text or " ".join(row.tokens) or repr(row.turns))
    return whole


def cut(
    task: str, built: dict[str, list[Example]], seed: int, notes: list[str]
) -> dict[str, list[Example]]:
    """Cut the missing splits off the training rows: by label, whole groups, 10% each."""
    missing = [s for s in ("validation", "test") if s not in built]
    if missing:
        cells: dict[str, dict[str, list[Example]]] = {}
        for row in built["train"]:
            cells.setdefault(row.label or "", {}).setdefault(_key(row), []).append(row)
        kept: dict[str, list[Example]] = {s: [] for s in ("train", *missing)}
        placed: dict[str, str] = {}
        for groups in cells.values():
            order = sorted(groups, key=lambda k: hashlib.sha256(f"{seed}\0{k}".encode()).digest())
            for place, key in enumerate(order):
                slot = place % 10
                split = missing[slot] if slot < len(missing) and len(order) >= 3 else "train"
                kept[placed.setdefault(key, split)] += groups[key]
        position = {id(row): i for i, row in enumerate(built["train"])}
        built = {**built, **{s: sorted(r, key=lambda x: position[id(x)]) for s, r in kept.items()}}
        counts = ", ".join(f"{len(built[s])} {s}" for s in ("train", "validation", "test"))
        notes.append(
            f"no {' and no '.join(missing)} rows were given: cut from train by label and "
            f"text, seed {seed} ({counts})"
        )
    seen = {_key(r) for s in ("validation", "test") for r in built[s]}
    if task != "language-modeling" and (shared := [r for r in built["train"] if _key(r) in seen]):
        gone = {id(r) for r in shared}
        built = {**built, "train": [r for r in built["train"] if id(r) not in gone]}
        notes.append(f"{len(shared)} training rows whose text is in validation or test left out")
    for split, rows in built.items():
        if not rows:
            raise DataError(
                f"no {split} rows are left",
                got=f"{sum(map(len, built.values()))} rows",
                next_step="give more rows, or a folder with a file for each split",
            )
    return built


def check_classes(rows: Iterable[Example], where: str) -> None:
    """Refuse training rows of one class only, or of more classes than anybody means.

    Raises:
        DataError: in either case, with what to check.
    """
    labels = {str(r.label) for r in rows}
    if len(labels) < 2:
        raise DataError(
            "only one class in the training rows",
            where=where,
            got=repr(*labels),
            expected="at least two",
            next_step="check --label-column",
        )
    if len(labels) > MOST_CLASSES:
        raise DataError(
            "too many classes",
            where=where,
            got=f"{len(labels):,}",
            expected=f"at most {MOST_CLASSES:,}",
            next_step="the column looks like an id or free text: check --label-column",
        )


def labels(task: str, built: dict[str, list[Example]], where: str) -> tuple[str, ...]:
    """Collect and check the classes or tags."""
    if task == "token-classification":
        return tuple(sorted({t for rows in built.values() for r in rows for t in r.tags}))
    if task != "classification":
        return ()
    known = {str(r.label) for r in built["train"]}
    for split in ("validation", "test"):
        for row in built[split]:
            if row.label not in known:
                raise DataError(
                    f"the label {row.label!r} occurs in {split} but never in train",
                    where=f"{where}, row {row.id}",
                    next_step="add training rows with it, or take the row out",
                )
    return tuple(sorted(known))


def sample(part: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Give ``count`` rows drawn with ``seed``, by label in turn so that small samples balance."""
    rng = random.Random(seed)
    cells: dict[str, list[int]] = {}
    for place, row in enumerate(part):
        cells.setdefault(row.label or "", []).append(place)
    for cell in cells.values():
        rng.shuffle(cell)
    turns = [(i, rng.random(), place) for cell in cells.values() for i, place in enumerate(cell)]
    return [part[place] for place in sorted(p for _, _, p in sorted(turns)[:count])]
