"""Cleaning a set of texts step by step, each step saying what it changed.

``clean(rows)`` runs the steps in order: HTML, mojibake, control characters, quoted mail, white
space, exact duplicates, near duplicates, personal data. Each repair is also a function of one text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import regex  # type: ignore[import-untyped, unused-ignore]

from course_lib.errors import DataError, UnknownNameError
from course_lib.finetune.text import duplicates, names, pii, repair


class Edit(NamedTuple):
    """``before[start:end]`` (characters) became ``new``."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, slots=True)
class Change:
    """What one step did to one row.

    Attributes:
        id: the row.
        step: the step's name.
        before, after: the text; ``after`` is empty where the row was left out.
        spans: the edits; none where the row was left out.
        of: duplicates: the id of the copy that stays.
    """

    id: str
    step: str
    before: str
    after: str
    spans: tuple[Edit, ...] = ()
    of: str = ""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Clean rows in their old order, and every change in the order it was made."""

    rows: tuple[Any, ...]
    changes: tuple[Change, ...]

    def counts(self) -> dict[str, int]:
        """Give the number of changed rows by step."""
        return dict(Counter(change.step for change in self.changes))


TEXT_STEPS: dict[str, Callable[[str], str]] = {
    "html": repair.repair_html,
    "mojibake": repair.repair_mojibake,
    "control": repair.strip_control,
    "quoted_mail": repair.strip_quoted,
    "whitespace": repair.normalise_space,
}
STEPS = (*TEXT_STEPS, "exact_duplicate", "near_duplicate", "pii")


def clean(
    rows: Sequence[Any],
    steps: Sequence[str] = STEPS,
    *,
    near: float = duplicates.NEAR,
    kinds: Collection[str] = pii.KINDS,
    house: Collection[str] = (),
) -> Cleaned:
    """Run ``steps`` over ``rows`` in the order given; nothing is changed in place.

    Args:
        rows: mappings or records with ``text`` and, if they have one, a unique ``id``.
        steps: some of ``STEPS``. Of duplicates the first copy stays.
        near: likeness from which two texts are near duplicates, 0 to 1.
        kinds: the personal data to replace, of ``pii.KINDS``.
        house: words that are no names, beside those that many rows hold.

    Raises:
        DataError: for no rows, a row without text, or an id that occurs twice.
        UnknownNameError: for an unknown step or kind.
    """
    for step in steps:
        if step not in STEPS:
            raise UnknownNameError("cleaning step", step, STEPS)
    texts = dict(_checked(rows))
    kept, changes = dict(zip(texts, rows, strict=True)), list[Change]()
    for step in steps:
        new: Iterable[Change | None]
        if step in TEXT_STEPS:
            new = [_repaired(key, step, text) for key, text in texts.items()]
        elif step == "pii":
            new = _without_pii(texts, kinds, house)
        else:
            new = _without_copies(texts, step, near)
        for change in new:
            if change is None:
                continue
            changes.append(change)
            texts[change.id] = change.after
            if change.of:
                del texts[change.id]
    return Cleaned(
        tuple(_with_text(kept[key], text) for key, text in texts.items()), tuple(changes)
    )


def _checked(rows: Sequence[Any]) -> Iterable[tuple[str, str]]:
    if not len(rows):
        raise DataError("no rows to clean", next_step="check that the file is not empty")
    seen: set[str] = set()
    for place, row in enumerate(rows):
        key = str(duplicates.value_of(row, "id") or place + 1)
        text = duplicates.value_of(row, "text", None)
        if not isinstance(text, str) or key in seen:
            raise DataError(
                "the row has no text" if key not in seen else f"the id {key!r} occurs twice",
                where=f"row {place + 1}",
                got=type(text).__name__ if key not in seen else repr(key),
                expected="a field 'text' with a string" if key not in seen else "unique ids",
                next_step="repair or leave out that row",
            )
        seen.add(key)
        yield key, text


def _with_text(row: Any, text: str) -> Any:
    if is_dataclass(row) and not isinstance(row, type):
        return replace(row, **{"text": text})
    return {**row, "text": text}


def edits(before: str, after: str) -> tuple[Edit, ...]:
    """Give the shortest edits (insertions and deletions) that make ``after`` of ``before``."""
    from rapidfuzz.distance import Indel

    found: list[Edit] = []
    for op in Indel.opcodes(before, after):
        if op.tag == "equal":
            continue
        new = after[op.dest_start : op.dest_end]
        if found and found[-1].end == op.src_start:
            last = found.pop()
            found.append(Edit(last.start, op.src_end, last.new + new))
        else:
            found.append(Edit(op.src_start, op.src_end, new))
    return tuple(found)


def _repaired(key: str, step: str, text: str) -> Change | None:
    after = TEXT_STEPS[step](text)
    return None if after == text else Change(key, step, text, after, edits(text, after))


def _without_pii(
    texts: Mapping[str, str], kinds: Collection[str], house: Collection[str]
) -> list[Change]:
    words = names.house_words(texts.values()) | set(house)
    found = []
    for key, text in texts.items():
        if items := pii.find_pii(text, kinds=kinds, house=words):
            spans = tuple(Edit(i.start, i.end, f"[{i.kind}]") for i in items)
            found.append(Change(key, "pii", text, pii.replace_pii(text, items), spans))
    return found


def _without_copies(texts: Mapping[str, str], step: str, near: float) -> list[Change]:
    ids, values = list(texts), list(texts.values())
    if step == "exact_duplicate":
        pairs = {o: g[0] for g in duplicates.exact_duplicates(values) for o in g[1:]}
    else:
        first = duplicates.duplicate_groups(values, threshold=near)
        pairs = {place: root for place, root in enumerate(first) if root != place}
    return [
        Change(ids[place], step, values[place], "", of=ids[pairs[place]]) for place in sorted(pairs)
    ]


# --- spelling --------------------------------------------------------------------------------
class Spelling(NamedTuple):
    """A word no dictionary knows, ``text[start:end]``, and up to three words it may stand for."""

    start: int
    end: int
    word: str
    suggestions: tuple[str, ...]


@cache
def _by_length() -> dict[int, list[str]]:
    """Give the dictionary's words by their number of letters, the commonest first."""
    counts = names.english()
    found: dict[int, list[str]] = {}
    for word in sorted(counts, key=lambda w: -counts[w]):
        found.setdefault(len(word), []).append(word)
    return found


@cache
def _near(word: str) -> tuple[str, ...]:
    """Give up to three dictionary words at the least distance from ``word``, common ones first.

    Distance counts letters put in, left out, changed or swapped with the next; at most two.
    """
    import numpy as np
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    words = [w for n in range(len(word) - 2, len(word) + 3) for w in _by_length().get(n, ())]
    apart = process.cdist([word], words, scorer=OSA.distance, score_cutoff=2, dtype=np.uint8)[0]
    least = min(int(apart.min(initial=3)), 3)
    near = [words[i] for i in np.flatnonzero(apart == least)] if least < 3 else []
    return tuple(sorted(near, key=lambda w: -names.english()[w])[:3])


def suggest_spelling(text: str, *, known: Collection[str] = ()) -> list[Spelling]:
    """Give the words in lower case that are in no English dictionary, with nearby words.

    Nothing is changed: a product name or dialect is no mistake, and a reader decides.

    Args:
        known: further words, in lower case, such as ``names.house_words`` finds.
    """
    found = []
    for match in regex.finditer(r"(?<![\w@.'\u2019\[/-])\p{Ll}{4,}(?![\w@'\u2019\]/-])", text):
        word = match.group()
        if word in known or not names.unknown(word):
            continue
        if near := _near(word):
            found.append(Spelling(match.start(), match.end(), word, near))
    return found
