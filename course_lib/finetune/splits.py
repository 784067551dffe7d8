"""Cutting missing splits without leakage, and checking the labels of what was cut."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from course_lib.errors import DataError
from course_lib.finetune import store
from course_lib.finetune.records import Example

MOST_CLASSES = 1000
MOST_CUT = 2000  # groups of rows cut into a split that was not given


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def _key(row: Example) -> int:
    """Give a 64-bit digest of what must not lie in two splits: the group, or the text."""
    whole = row.group or _normal(row.text or " ".join(row.tokens) or repr(row.turns))
    return _digest(whole)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _keys(rows: Sequence[Example]) -> np.ndarray:
    return np.fromiter((_key(r) for r in rows), dtype=np.uint64, count=len(rows))


def cut(
    task: str, given: Mapping[str, Sequence[Example]], seed: int, notes: list[str]
) -> dict[str, Sequence[Example]]:
    """Cut the missing splits off the training rows: by label, whole groups, 10% each.

    Of a large set no more than about ``MOST_CUT`` groups go into a split.
    """
    built = dict(given)
    missing = [s for s in ("validation", "test") if s not in built]
    keys = {split: _keys(rows) for split, rows in built.items()}
    if missing:
        placed = _place(built["train"], keys["train"], missing, seed)
        where = np.fromiter((placed.get(k, 0) for k in keys["train"].tolist()), dtype=np.int8)
        rows, own = built["train"], keys["train"]
        for number, split in enumerate(("train", *missing)):
            chosen = np.flatnonzero(where == number)
            built[split], keys[split] = store.pick(rows, chosen), own[chosen]
        counts = " + ".join(str(len(built[s])) for s in ("train", "validation", "test"))
        notes.append(
            f"no {' and no '.join(missing)} rows given: cut from train by label and text, "
            f"seed {seed} ({counts})"
        )
    held_out = np.concatenate([keys["validation"], keys["test"]])
    shared = np.isin(keys["train"], held_out)
    if task != "language-modeling" and shared.any():
        built["train"] = store.pick(built["train"], np.flatnonzero(~shared))
        notes.append(
            f"{int(shared.sum())} training rows whose text is in validation or test left out"
        )
    for split, part in built.items():
        if not part:
            raise _empty(split, built, task)
    return built


def _empty(split: str, built: Mapping[str, Sequence[Example]], task: str) -> DataError:
    """Say why a split is empty: a label with fewer than three texts cannot be in each."""
    rows = sum(map(len, built.values()))
    got, next_step = f"{rows} rows", "give more rows, or a folder with a file for each split"
    if task == "classification":
        labels = len({r.label for part in built.values() for r in part})
        got += f" with {labels} different labels"
        if 3 * labels > rows:
            next_step = "the column looks like an id or free text: check --label-column"
    return DataError(f"no {split} rows are left", got=got, next_step=next_step)


def _place(
    rows: Sequence[Example], keys: np.ndarray, missing: Sequence[str], seed: int
) -> dict[int, int]:
    """Choose the groups that leave the training rows: key to 1, 2 (places in ``missing``)."""
    cells: dict[str, dict[int, None]] = {}
    for row, key in zip(rows, keys.tolist(), strict=True):
        cells.setdefault(row.label or "", {})[key] = None
    placed: dict[int, int] = {}
    for groups in cells.values():
        if len(groups) < 3:
            continue
        order = sorted(groups, key=lambda k: _digest(f"{seed}\0{k}"))
        every = max(10, len(order) * len(cells) // MOST_CUT)
        for place in range(0, len(order), every):
            for number, key in enumerate(order[place : place + len(missing)], start=1):
                placed.setdefault(key, number)
    return placed


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


def labels(task: str, built: Mapping[str, Sequence[Example]], where: str) -> tuple[str, ...]:
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
