"""Duplicates: exact and near, leaks between splits, and splits that cut no group.

Two texts are near duplicates when rapidfuzz finds them alike, letter by letter or with their
words sorted. Up to ``ALL_PAIRS`` texts every pair is compared; of more, the pairs that MinHash
over character 4-grams proposes (datasketch).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.errors import DataError, UnknownNameError

# Between the most alike different messages (0.64) and the least alike copies (0.80) of the even
# rows of support_tickets_raw; tests/benchmarks/cleaning.py measures the odd rows.
NEAR = 0.72
ALL_PAIRS = 6000
METHODS = ("auto", "rapidfuzz", "minhash")


@dataclass(frozen=True, slots=True)
class Leak:
    """A row of one split that another split holds too.

    Attributes:
        kind: ``exact``, ``near`` or ``group``.
        left, right: ``(split, row id)``.
        score: likeness from 0 to 1; 1 for ``exact`` and ``group``.
    """

    kind: str
    left: tuple[str, str]
    right: tuple[str, str]
    score: float


def normal(text: str) -> str:
    """Give ``text`` as it is compared: NFKC, lower case, words and numbers alone."""
    plain = unicodedata.normalize("NFKC", text).lower().replace("'", "").replace("\u2019", "")
    return " ".join("".join(c if c.isalnum() else " " for c in plain).split())


def value_of(row: Any, field: str, default: Any = "") -> Any:
    """Give a field of a row that is a mapping or a record such as ``Example``."""
    found = row.get(field, default) if isinstance(row, Mapping) else getattr(row, field, default)
    return default if found is None else found


def exact_duplicates(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Give groups of places whose texts are equal but for white space at the ends."""
    return _grouped([text.strip() for text in texts])


def _grouped(keys: Sequence[Hashable]) -> list[tuple[int, ...]]:
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    return [tuple(group) for group in places.values() if len(group) > 1]


def near_pairs(
    texts: Sequence[str], *, threshold: float = NEAR, method: str = "auto"
) -> list[tuple[int, int, float]]:
    """Give pairs of places ``(i, j, likeness)``, i < j, that are alike by ``threshold`` or more.

    The likeness is the larger of rapidfuzz's ``ratio`` and ``token_sort_ratio`` over the texts in
    lower case without punctuation: 1 - insertions and deletions / length, from 0 to 1.
    Texts without a letter or digit are like nothing.

    Raises:
        DataError: for a threshold outside 0 to 1.
        UnknownNameError: for a method that is not one of ``METHODS``.
    """
    if not 0 < threshold <= 1:
        raise DataError("not a likeness", got=str(threshold), expected="more than 0, at most 1")
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    plain = [normal(text) for text in texts]
    if method == "rapidfuzz" or (method == "auto" and len(plain) <= ALL_PAIRS):
        return _all_pairs(plain, threshold)
    return _minhash_pairs(plain, threshold)


def _all_pairs(plain: list[str], threshold: float) -> list[tuple[int, int, float]]:
    from rapidfuzz import fuzz, process

    found: list[tuple[int, int, float]] = []
    ordered = [" ".join(sorted(text.split())) for text in plain]
    for start in range(0, len(plain), 256):  # blocks of 256 rows keep the memory small
        best = np.zeros((min(256, len(plain) - start), len(plain) - start), dtype=np.float32)
        for form in (plain, ordered):
            score = process.cdist(
                form[start : start + 256], form[start:], scorer=fuzz.ratio,
                score_cutoff=100 * threshold, dtype=np.float32,
            )  # fmt: skip
            best = np.maximum(best, score)
        for row, column in np.argwhere(np.triu(best, k=1) > 0):
            if plain[start + row] and plain[start + column]:
                pair = (int(start + row), int(start + column), float(best[row, column]) / 100)
                found.append(pair)
    return found


def _minhash_pairs(plain: list[str], threshold: float) -> list[tuple[int, int, float]]:
    from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped, unused-ignore]
    from rapidfuzz import fuzz

    index = MinHashLSH(threshold=0.4, num_perm=128, weights=(0.2, 0.8))
    grams = [
        {t[k : k + 4].encode() for k in range(max(1, len(t) - 3))} if t else set() for t in plain
    ]
    found: list[tuple[int, int, float]] = []
    for place, sketch in enumerate(MinHash.generator(grams, num_perm=128)):
        if not plain[place]:
            continue
        for other in sorted(index.query(sketch)):
            pair = (plain[other], plain[place])
            score = max(fuzz.ratio(*pair), fuzz.token_sort_ratio(*pair)) / 100
            if score >= threshold:
                found.append((other, place, score))
        index.insert(place, sketch)
    return sorted(found)


def duplicate_groups(
    texts: Sequence[str], *, threshold: float = NEAR, method: str = "auto"
) -> list[int]:
    """Give each text the place of the first text of its group of exact and near duplicates.

    A text alike to one of a group belongs to the group; a text of its own gets its own place.
    """
    first = list(range(len(texts)))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = place = first[first[place]]
        return place

    pairs = [(i, j) for i, j, _ in near_pairs(texts, threshold=threshold, method=method)]
    pairs += [(group[0], other) for group in exact_duplicates(texts) for other in group[1:]]
    for left, right in pairs:
        low, high = sorted((root(left), root(right)))
        first[high] = low
    return [root(place) for place in range(len(texts))]


def find_leaks(
    splits: Mapping[str, Sequence[Any]], *, threshold: float = NEAR, group: str = "group"
) -> list[Leak]:
    """Give the rows that lie in two splits: the same text, nearly the same, or the same group.

    Args:
        splits: rows (mappings or ``Example``) by the name of the split.
        group: the field that holds a row's group; rows without it have none.

    Raises:
        DataError: for fewer than two splits, or an empty one.
    """
    if len(splits) < 2 or not all(len(rows) for rows in splits.values()):
        got = ", ".join(f"{name}: {len(rows)} rows" for name, rows in splits.items()) or "none"
        raise DataError("no two splits to compare", got=got, expected="two or more, none empty")
    rows = [(name, place, row) for name, part in splits.items() for place, row in enumerate(part)]
    names = [(name, str(value_of(row, "id") or f"{name}:{place}")) for name, place, row in rows]
    texts = [str(value_of(row, "text")) for _, _, row in rows]
    found: dict[tuple[int, int], tuple[str, float]] = {}
    for left, right, score in near_pairs(texts, threshold=threshold):
        same = texts[left].strip() == texts[right].strip()
        found[left, right] = ("exact", 1.0) if same else ("near", score)
    keys = [value_of(row, group) or ("", place) for place, (_, _, row) in enumerate(rows)]
    for places in _grouped(keys):
        for other in places[1:]:
            found.setdefault((places[0], other), ("group", 1.0))
    return [
        Leak(kind, names[left], names[right], score)
        for (left, right), (kind, score) in sorted(found.items())
        if names[left][0] != names[right][0]
    ]


def split_by_group(
    rows: Sequence[Any],
    *,
    groups: Sequence[Hashable] | None = None,
    shares: Mapping[str, float] | None = None,
    label: str = "label",
    seed: int = 0,
) -> dict[str, list[Any]]:
    """Cut rows into splits so that no group lies in two, each split with its share of each label.

    Groups go, largest first and else by a digest with ``seed``, where their label is missed most.

    Args:
        groups: the group of each row; default the near duplicates by text.
        shares: share of rows by split; default 80% train, 10% validation, 10% test.
        label: the field by which splits are balanced; rows may lack it.

    Raises:
        DataError: for no rows, shares that do not add up to 1, as many groups as rows missing,
            or a split that would stay empty (such as a file of copies of one row).
    """
    shares = dict(shares or {"train": 0.8, "validation": 0.1, "test": 0.1})
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) <= 0:
        raise DataError("not shares", got=str(shares), expected="positive numbers that add up to 1")
    if groups is None:
        groups = duplicate_groups([str(value_of(row, "text")) for row in rows])
    if len(groups) != len(rows):
        raise DataError("not one group a row", got=f"{len(groups)}", expected=f"{len(rows)}")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in enumerate(groups):
        members[key].append(place)
    labels = [str(value_of(row, label)) for row in rows]
    placed = _deal(list(members.values()), labels, shares, seed)
    if short := [name for name in shares if not placed[name]]:
        raise DataError(
            f"no rows for {' and '.join(short)}",
            got=f"{len(rows)} rows in {len(members)} groups",
            expected="at least one group a split",
            next_step="give more rows that are not copies of each other, or fewer splits",
        )
    return {name: [rows[place] for place in sorted(placed[name])] for name in shares}


def _deal(
    groups: list[list[int]], labels: list[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Deal groups of places to splits: each to the split that misses its labels most."""
    total = Counter(labels)
    missing = {(name, key): share * n for name, share in shares.items() for key, n in total.items()}
    placed: dict[str, list[int]] = {name: [] for name in shares}

    def order(group: list[int]) -> tuple[int, bytes]:
        return -len(group), hashlib.blake2b(f"{seed}\0{group[0]}".encode()).digest()

    for group in sorted(groups, key=order):
        mine = Counter(labels[place] for place in group)
        gain = {n: sum(missing[n, key] / total[key] * c for key, c in mine.items()) for n in shares}
        best = max(shares, key=lambda name: gain[name])
        placed[best] += group
        for key, count in mine.items():
            missing[best, key] -= count
    return placed
