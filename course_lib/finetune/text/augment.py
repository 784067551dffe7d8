"""Augmentation: changed copies of training rows, and whether they helped.

    more = augment(data.train, "typos", share=0.5, seed=1)
    more.report

Five methods change words (``words``), three let a model write (``rewrite``); whether one helped
is measured by ``gain``. Copies are added
to the rows and never take their place; a copy and its row share a group, so that a later cut
keeps them on one side. Only training rows are changed.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune.records import Example
from course_lib.finetune.text import rewrite, words

WRITTEN = ("paraphrase", "back_translation", "synthesis")
METHODS = (*words.EDITS, *WRITTEN)
STRENGTH = 0.1  # share of a text's words that is changed (alpha of Wei and Zou 2019)


@dataclass(frozen=True, slots=True)
class Augmented:
    """Training rows with changed copies after them, and what was done.

    Attributes:
        rows: the rows given, in their order, then the copies; a copy's id is
            ``ID~METHOD``, its label that of its row.
        report: ``method``, ``share``, ``seed``, ``rows_before``, ``rows_after``, ``added``,
            ``unchanged`` (nothing could be changed), ``held_out`` (the copy was the text of a
            held-out row), ``words_changed`` (mean share of a row's words not in its copy),
            ``labels_before``, ``labels_after`` (counts), ``examples`` (three maps with id,
            before, after); where a model wrote, also ``written`` (see ``rewrite.judged``).
    """

    rows: tuple[Example, ...]
    report: Mapping[str, Any]


def augment(
    rows: Sequence[Example],
    method: str,
    share: float = 1.0,
    seed: int = 0,
    *,
    strength: float = STRENGTH,
    base: str = "embedded",
    judge: rewrite.Judge | None = None,
    held_out: Sequence[Example] = (),
    **options: Any,
) -> Augmented:
    """Add a changed copy of a share of the training rows.

    Args:
        rows: labelled texts of a training split, at least two classes.
        method: one of ``METHODS``.
        share: copies as a share of the rows, above 0 and at most 1.
        seed: of the choice of rows and of the changes; what is made of a row depends on it,
            the row's id and the label names, not on the other rows.
        strength: share of a text's words that is changed, above 0 and at most 0.5.
        base: whose embedding table gives the synonyms, or the base or completion run that
            writes paraphrases and new texts.
        judge: texts to labels, for what a model wrote; None trains a quick one on ``rows``.
        held_out: validation and test rows; a copy that equals one of them is left out.
        options: of :func:`rewrite.paraphrase`, :func:`rewrite.back_translate` or
            :func:`rewrite.synthesise`: ``prompt``, ``there``, ``back``.

    Raises:
        UnknownNameError: for an unknown method, with close matches.
        UsageError: for a share or strength out of range, an unknown option, or rows of a
            validation or test split.
        DataError: for no rows, one class, or rows without text or label.
    """
    check_options(method, share, strength, options)
    words.check_training(rows, "augmented", held_out)
    rng = random.Random(seed)
    chosen = sorted(rng.sample(range(len(rows)), max(1, round(share * len(rows)))))
    picked = [rows[i] for i in chosen]
    extra: dict[str, Any] = {}
    if method in WRITTEN:
        made = _written(method, rows, picked, base, seed, options)
        kept, extra["written"] = rewrite.judged(made, judge or rewrite.quick_judge(rows))
        pairs = [(w.row, w.text) for w in kept]
    else:
        safe = words.label_words({str(r.label) for r in rows})
        change, named = words.EDITS[method], {"base": base} if method == "synonyms" else {}
        pairs = [
            (r, change(r.text, strength, random.Random(f"{seed} {r.id}"), safe, **named))
            for r in picked
        ]
    return _put_together(rows, pairs, method, share, seed, held_out, extra)


def check_options(method: str, share: float, strength: float, options: Mapping[str, Any]) -> None:
    """Refuse an unknown method or option, or a share or strength out of range (see augment)."""
    if method not in METHODS:
        raise UnknownNameError("augmentation", method, METHODS)
    for name, value, most in (("share", share, 1.0), ("strength", strength, 0.5)):
        if not 0 < value <= most:
            raise UsageError(
                f"{name} is out of range", got=repr(value), expected=f"above 0 and at most {most}"
            )
    prompted, translated = {"prompt"}, {"there", "back"}
    known = {"paraphrase": prompted, "synthesis": prompted, "back_translation": translated}
    for name in options:
        if name not in known.get(method, set()):
            raise UnknownNameError(f"option of {method}", name, known.get(method, ["(none)"]))


def _written(
    method: str,
    rows: Sequence[Example],
    picked: Sequence[Example],
    base: str,
    seed: int,
    options: Mapping[str, Any],
) -> list[rewrite.Written]:
    if method == "synthesis":
        return rewrite.synthesise(rows, len(picked), model=base, seed=seed, **options)
    if method == "paraphrase":
        texts = rewrite.paraphrase(picked, model=base, seed=seed, **options)
    else:
        texts = rewrite.back_translate([r.text for r in picked], **options)
    pairs = zip(picked, texts, strict=True)
    return [rewrite.Written(row, str(row.label), text) for row, text in pairs]


def _put_together(
    rows: Sequence[Example],
    pairs: Sequence[tuple[Example, str]],
    method: str,
    share: float,
    seed: int,
    held_out: Sequence[Example],
    extra: Mapping[str, Any],
) -> Augmented:
    """Add the copies that differ from their row and from every held-out row; count the rest."""
    kept_back, copies, sources = {words.normal(r.text) for r in held_out}, [], []
    unchanged = leaked = 0
    for place, (row, text) in enumerate(pairs):
        if not text.strip() or text == row.text:
            unchanged += 1
        elif words.normal(text) in kept_back:
            leaked += 1
        else:
            name = f"{row.id}~{method}" + (f"-{place}" if method == "synthesis" else "")
            copies.append(dataclasses.replace(_grouped(row), id=name, text=text))
            sources.append(row)
    both = list(zip(sources, copies, strict=True))
    changed = [_changed(r.text, c.text) for r, c in both]
    with_copy = {r.id for r in sources}
    first = [_grouped(r) if r.id in with_copy else r for r in rows]
    report = {
        "method": method,
        "share": share,
        "seed": seed,
        "rows_before": len(rows),
        "rows_after": len(rows) + len(copies),
        "added": len(copies),
        "unchanged": unchanged,
        "held_out": leaked,
        "words_changed": float(np.mean(changed)) if changed else 0.0,
        "labels_before": _by_label(rows),
        "labels_after": _by_label([*rows, *copies]),
        "examples": [{"id": c.id, "before": r.text, "after": c.text} for r, c in both[:3]],
        **extra,
    }
    return Augmented((*first, *copies), report)


def _grouped(row: Example) -> Example:
    return row if row.group else dataclasses.replace(row, group=row.id)


def _by_label(rows: Sequence[Example]) -> dict[str, int]:
    return dict(sorted(Counter(str(r.label) for r in rows).items()))


def _changed(before: str, after: str) -> float:
    """Give the share of a text's words that its copy does not hold."""
    had, has = Counter(before.split()), Counter(after.split())
    return 1 - sum((had & has).values()) / max(1, sum(had.values()))
