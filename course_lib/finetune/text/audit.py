"""Before training on a table: size, balance, copies, leaks, personal data, words that give away."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.finetune.records import Splits
from course_lib.finetune.text import duplicates, names, pii

FEW = 20  # training rows of a class below which a classifier hardly learns it
SMALL_TEST = 100  # test rows below which an interval is wide
UNEVEN = 5.0  # the commonest class has so many times the rows of the rarest
SURE = 0.97  # share of one label among the rows with a word that gives the label away
SEEN = 15  # rows that must hold such a word: fewer may be luck
CALLED = {
    "EMAIL": "e-mail addresses", "IBAN": "account numbers", "CARD": "card numbers",
    "PHONE": "phone numbers", "ORDER": "order numbers", "ADDRESS": "addresses", "NAME": "names",
}  # fmt: skip
SHARE = 0.2  # of a label's rows that must hold it


@dataclass(frozen=True, slots=True)
class Giveaway:
    """A word that nearly always comes with one label: rows that hold it, and the share."""

    word: str
    label: str
    rows: int
    share: float


@dataclass(frozen=True)
class Audit:
    """What was found in a data set for classification.

    Attributes:
        rows: by split. labels: training rows by label, the commonest first.
        words: words a text, smallest, median and largest.
        copies: groups of equal or nearly equal texts; spare: rows beyond the first of each.
        contradictions: of these groups, those that carry two labels.
        leaks: training texts that validation or test holds too, or nearly.
        personal: items of personal data by kind.
        giveaways: words that nearly always come with one label, in many of its rows.
    """

    rows: Mapping[str, int]
    labels: Mapping[str, int]
    words: tuple[int, int, int]
    copies: int
    spare: int
    contradictions: int
    leaks: int
    personal: Mapping[str, int]
    giveaways: tuple[Giveaway, ...]

    def lines(self) -> list[tuple[str, str, str]]:
        """Give each check as ``(name, what was found, "" or what to do about it)``."""
        most, least = max(self.labels.values()), min(self.labels.values())
        rarest = min(self.labels, key=lambda n: self.labels[n])
        ratio = f"{most / least:.1f} to 1"
        told = ", ".join(f"{CALLED[k]}: {n}" for k, n in self.personal.items()) or "none found"
        given = ", ".join(f"{g.word!r}: {g.label}" for g in self.giveaways[:4])
        test, (low, middle, high) = self.rows["test"], self.words
        return [
            ("size", ", ".join(f"{n} {s}" for s, n in self.rows.items()),
             f"under {SMALL_TEST} test rows: expect a wide interval" if test < SMALL_TEST else ""),
            ("balance", f"{len(self.labels)} labels, commonest to rarest {ratio}",
             f"training rows of {rarest!r}: only {least}; get more, or join labels" if least < FEW
             else "uneven: report macro F1 beside accuracy" if most / least > UNEVEN else ""),
            ("length", f"words a text: {low} to {high}, median {middle}",
             "texts without a word: leave them out" if not low else ""),
            ("copies", f"groups: {self.copies}, rows beyond the first: {self.spare}",
             "leave the spare rows out, or keep each group in one split" if self.copies else ""),
            ("contradictions", f"groups of copies with two labels: {self.contradictions}",
             "read them: one of the labels is wrong" if self.contradictions else ""),
            ("leaks", f"pairs across the splits: {self.leaks}",
             "cut by group: the test score would lie" if self.leaks else ""),
            ("personal data", told,
             "replace it with placeholders before training" if self.personal else ""),
            ("giveaways", given or "none found",
             "will this word be there when the model is used? If not, take it out"
             if given else ""),
        ]  # fmt: skip


def audit(splits: Splits) -> Audit:
    """Look through a data set for classification.

    Personal data is looked for with the rules of :mod:`course_lib.finetune.text.pii`, which
    miss some and see some where there is none: read what they found.
    """
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    rows = [row for part in parts.values() for row in part]
    texts = [row.text for row in rows]
    groups: dict[int, list[Any]] = defaultdict(list)
    for place, row in zip(duplicates.duplicate_groups(texts), rows, strict=True):
        groups[place].append(row)
    several = [g for g in groups.values() if len(g) > 1]
    lengths = sorted(len(t.split()) for t in texts)
    return Audit(
        rows={name: len(part) for name, part in parts.items()},
        labels=dict(Counter(str(r.label) for r in splits.train).most_common()),
        words=(lengths[0], lengths[len(lengths) // 2], lengths[-1]),
        copies=len(several),
        spare=sum(len(g) - 1 for g in several),
        contradictions=sum(len({r.label for r in g}) > 1 for g in several),
        leaks=len(duplicates.find_leaks(parts)),
        personal=dict(Counter(p.kind for p in personal(texts)).most_common()),
        giveaways=tuple(giveaways(splits.train)),
    )


def personal(texts: Sequence[str], house: Collection[str] | None = None) -> list[pii.Pii]:
    """Give the personal data of all texts.

    Args:
        texts: of the whole set. house: words that are no names; found in the texts when None.
    """
    known = names.house_words(texts) if house is None else house
    return [item for text in texts for item in pii.find_pii(text, house=known)]


def giveaways(rows: Sequence[Any]) -> list[Giveaway]:
    """Find words from which a label follows almost surely, in a good part of that label's rows.

    Such a word is often not language but a trace of how the table was made: a desk's stamp,
    a rating in the text. The model then reads the stamp.

    Args:
        rows: training examples with text and label.
    """
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for word in set(re.findall(r"\w+|[^\w\s]+", row.text.lower())):
            held[word][str(row.label)] += 1
    labels = Counter(str(row.label) for row in rows)
    found = []
    for word, counts in held.items():
        label, right = counts.most_common(1)[0]
        total = sum(counts.values())
        if total >= SEEN and right / total >= SURE and right >= SHARE * labels[label]:
            found.append(Giveaway(word, label, total, right / total))
    return sorted(found, key=lambda g: (-g.rows, g.word))
