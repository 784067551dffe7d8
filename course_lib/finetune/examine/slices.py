"""Slices: one metric on each group of rows, by a column, the length, the words, the language."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from course_lib.errors import DataError, UsageError
from course_lib.finetune.examine.diagnose import Estimate, Metric, Row, check_rows, interval, scorer

By = str | Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Slice:
    """One group of rows: its figure, and ``rest``, the same figure over all other rows.

    ``rest`` is NaN where there are no other rows, or the metric is undefined on them.
    """

    name: str
    figure: Estimate
    rest: float


def columns_of(data: str) -> dict[str, dict[str, Any]]:
    """Give the rows of a data set with all their columns, by row id.

    Args:
        data: a course data set's name, a file, a folder or a Hub id.

    Raises:
        DataError: when two rows carry the same id.
    """
    from course_lib.finetune import sources

    found: dict[str, dict[str, Any]] = {}
    for part in sources.find(data).parts.values():
        for where, row in part:
            key = str(row.get("id", where))
            if key in found:
                raise DataError("an id twice", where=where, got=repr(key), expected="unique ids")
            found[key] = {**row, "id": key}
    return found


def join(predictions: Sequence[Row], columns: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Give each prediction together with the columns of its data row.

    Args:
        predictions: maps with ``id``, ``gold`` and ``prediction``; these names win over
            columns of the same name.
        columns: data rows by id, as from :func:`columns_of`.

    Raises:
        DataError: when there is nothing to join, or a prediction's row is not in the data.
    """
    check_rows(predictions, "id")
    for row in predictions:
        if row["id"] not in columns:
            raise DataError(
                "a prediction without its data row",
                where=f"row {row['id']}",
                got=f"{len(columns)} data rows",
                next_step="give the data set these predictions were made on",
            )
    return [{**columns[row["id"]], **row} for row in predictions]


def group(rows: Sequence[Row], by: By, names: Sequence[str] | None = None) -> dict[str, list[Row]]:
    """Sort rows into groups.

    Args:
        rows: joined rows.
        by: a column, or a function from a row to its group's name (True and False for a
            predicate), such as :func:`by_length`.
        names: the groups wanted, in this order; None for all there are, sorted.

    Raises:
        UnknownNameError: for an unknown column, with close matches.
        DataError: for a wanted group that holds no row, naming it.
    """
    if isinstance(by, str):
        check_rows(rows, by)
    check_rows(rows)
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row[by] if isinstance(by, str) else by(row)), []).append(row)
    for name in names or ():
        if name not in found:
            raise DataError(
                f"the group {name!r} is empty",
                got=", ".join(f"{n} ({len(found[n])})" for n in sorted(found)),
                next_step="check its spelling, or leave it out",
            )
    return {name: found[name] for name in names or sorted(found)}


def slices(
    rows: Sequence[Row],
    by: By,
    *,
    names: Sequence[str] | None = None,
    metric: Metric = "accuracy",
    seed: int = 0,
) -> list[Slice]:
    """Measure each group of rows, lowest first, each with its interval and count.

    With many groups one looks bad by chance: of twenty 95% intervals one misses on average.

    Args:
        rows, by, names: as for :func:`group`.
        metric, seed: as for :func:`interval`.

    Raises:
        DataError: for an empty group, or (macro F1) a group of one class, naming it.
    """
    out = []
    for name, part in group(rows, by, names).items():
        inside = {id(r) for r in part}
        rest = _value([r for r in rows if id(r) not in inside], metric)
        try:
            out.append(Slice(name, interval(part, metric, seed=seed), rest))
        except DataError as error:
            raise DataError(
                error.problem,
                where=f"the slice {name!r}",
                got=error.got,
                expected=error.expected,
                next_step=error.next_step,
            ) from None
    return sorted(out, key=lambda s: (s.figure.value, s.name))


def _value(rows: Sequence[Row], metric: Metric) -> float:
    try:
        return scorer(rows, metric)(np.arange(len(rows))) if rows else math.nan
    except DataError:
        return math.nan


def by_length(edges: Sequence[int] = (15, 30, 60), text: str = "text") -> By:
    """Give a grouping by the number of words: ``under 15 words``, ``15 to 29 words``, ...

    Args:
        edges: where a new group starts, rising.
        text: the column of the text.

    Raises:
        UsageError: when the edges do not rise.
    """
    if not edges or list(edges) != sorted(set(edges)):
        raise UsageError("the edges of the lengths must rise", got=str(list(edges)))
    names = [f"under {edges[0]} words"]
    names += [f"{a} to {b - 1} words" for a, b in pairwise(edges)]
    names.append(f"{edges[-1]} words or more")
    return lambda row: names[int(np.searchsorted(edges, len(str(row[text]).split()), "right"))]


def by_words(lists: Mapping[str, Sequence[str]], text: str = "text") -> By:
    """Give a grouping by the first list of which a text holds a word; else ``none of these``.

    Args:
        lists: words or phrases by group name, such as ``{"polite": ["please", "kindly"]}``;
            whole words count, in any case.
        text: the column of the text.

    Raises:
        DataError: for an empty list, naming it.
    """
    for name, words in lists.items():
        if not words:
            raise DataError(f"the word list {name!r} is empty")
    patterns = {
        name: re.compile("|".join(rf"(?<!\w){re.escape(w)}(?!\w)" for w in words), re.IGNORECASE)
        for name, words in lists.items()
    }

    def which(row: Row) -> str:
        found = (name for name, pattern in patterns.items() if pattern.search(str(row[text])))
        return next(found, "none of these")

    return which


def by_language(*languages: str, text: str = "text") -> By:
    """Give a grouping by the language a text is in, guessed from its characters by py3langid.

    Short texts are guessed badly: name the few languages there can be.

    Args:
        languages: ISO 639-1 codes, such as ``"en", "fr"``; none for all 97 it knows.
        text: the column of the text.

    Raises:
        UsageError: for a code it does not know.
    """
    import importlib

    langid: Any = importlib.import_module("py3langid.langid")
    guess = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    unknown = set(languages) - set(guess.labels)
    if unknown:
        raise UsageError("a language it does not know", got=", ".join(sorted(unknown)))
    if languages:
        guess.set_languages(list(languages))
    return lambda row: guess.classify(str(row[text]))[0]
