"""Feedback: ratings of shown replies become preference pairs, and pairs come from files.

A rating says how one person found one reply: a thumb (``"up"``, ``"down"``) or one to
five stars. A preference pair says that of two replies to the same prompt one is better.
Between the two lie the cases one must not guess: a prompt with one reply only, a tie, a
difference too small to mean much, people who contradict each other. Each is left out and
counted.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.finetune import sources, splits
from course_lib.finetune.records import Example

PROMPT = ("prompt", "ticket", "instruction", "question", "text")
THUMBS = {"up": 1.0, "down": 0.0}


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's verdict on one reply.

    Attributes:
        prompt, reply: what was asked and what was shown.
        score: 0 (worst) to 1 (best): a thumb is 0 or 1, ``s`` stars are ``(s - 1) / 4``.
        rater: who; "" when unknown, and then every rating counts as another person's.
    """

    prompt: str
    reply: str
    score: float
    rater: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to one prompt, of which one is better.

    Attributes:
        id: unique in its set.
        prompt: what was asked.
        chosen, rejected: the better and the worse reply.
        reason: what is wrong with ``rejected``, where it is known.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PairSplits:
    """Preference pairs cut into three, with what was decided on the way.

    Attributes:
        name: the set's name or file name; sha256: digest of the bytes it was read from.
        train, validation, test: the pairs.
        notes: one sentence for each guess or cut.
    """

    name: str
    sha256: str
    train: Sequence[Pair]
    validation: Sequence[Pair]
    test: Sequence[Pair]
    notes: tuple[str, ...] = ()


def score(value: object, *, where: str = "rating") -> float:
    """Give a rating's score between 0 and 1: ``"up"``, ``"down"`` or 1 to 5 stars.

    Raises:
        DataError: for anything else, naming ``where``.
    """
    if isinstance(value, str) and value in THUMBS:
        return THUMBS[value]
    if type(value) is int and 1 <= value <= 5:
        return (value - 1) / 4
    raise DataError(
        "not a rating",
        where=where,
        got=repr(value),
        expected='"up", "down" or a whole number of stars from 1 to 5',
    )


def rate(path: Path | str, prompt: str, reply: str, rating: object, rater: str = "") -> None:
    """Append one rating (see :func:`score`) to a JSON Lines file; it is on disk on return.

    Raises:
        DataError: for a rating that is none; the file is untouched.
    """
    score(rating)
    line = {"prompt": prompt, "reply": reply, "rating": rating, "rater": rater}
    with open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps(line, ensure_ascii=False) + "\n")
        handle.flush()
        os.fsync(handle.fileno())


def read_ratings(path: Path | str) -> list[Rating]:
    """Read the ratings that :func:`rate` wrote: ``prompt``, ``reply``, ``rating``, ``rater``.

    Raises:
        DataError: naming file, line and field; also when there are none.
    """
    found = []
    for line, row in files.read_jsonl(path):
        where = f"{path}:{line}"
        prompt, reply = _text(row, "prompt", where), _text(row, "reply", where)
        given = score(row.get("rating"), where=f"{where}, field 'rating'")
        found.append(Rating(prompt, reply, given, str(row.get("rater") or "")))
    if not found:
        raise DataError("there are no ratings", where=str(path))
    return found


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise DataError(
            f"the {field} is empty",
            where=f"{where}, field {field!r}",
            got=repr(value),
            next_step="fill it in or delete the row",
        )
    return value


def pairs_from_ratings(
    ratings: Iterable[Rating], *, gap: float = 0.5, per_prompt: int = 3
) -> tuple[list[Pair], dict[str, int]]:
    """Turn ratings into preference pairs of replies to the same prompt.

    A reply's score is the mean over its raters; of a rater's several ratings of one reply
    the last counts. Texts that differ in white space alone are the same.

    Args:
        ratings: in the order they were given.
        gap: the least difference of mean scores; 0.5 is two stars, or half the thumbs.
        per_prompt: pairs taken of one prompt at most, the clearest first, so that a
            prompt with many replies does not outweigh the others.

    Returns:
        The pairs, and counts: ``ratings``, ``prompts``, ``replies``, ``single`` (prompts
        with one reply), and of the possible pairs ``ties`` (equal scores), ``unclear``
        (less than ``gap``), ``contradicted`` (people differ on one of the replies by more
        than 0.5, or one who rated both prefers the other way), ``surplus`` (beyond
        ``per_prompt``) and ``pairs``.

    Raises:
        DataError: when there are no ratings.
        UsageError: for a ``gap`` that is not above 0 and at most 1.
    """
    if not 0 < gap <= 1:
        raise UsageError("gap must lie above 0 and at most at 1", got=str(gap))
    given: dict[str, dict[str, dict[str, float]]] = {}
    written: dict[str, str] = {}  # a text as it was first written, by the text with single spaces
    total = 0
    for total, r in enumerate(ratings, start=1):
        prompt, reply = (written.setdefault(" ".join(t.split()), t) for t in (r.prompt, r.reply))
        given.setdefault(prompt, {}).setdefault(reply, {})[r.rater or f"#{total}"] = r.score
    if not total:
        raise DataError("there are no ratings", next_step="collect some with feedback.rate")
    names = ("single", "ties", "unclear", "contradicted", "surplus", "pairs")
    counts = {"ratings": total, "prompts": len(given), "replies": sum(map(len, given.values()))}
    counts |= dict.fromkeys(names, 0)
    pairs: list[Pair] = []
    for prompt, replies in given.items():
        clear: list[tuple[float, str, str]] = []
        counts["single"] += len(replies) == 1
        for one, other in itertools.combinations(replies, 2):
            verdict, difference = _compare(replies[one], replies[other], gap)
            if verdict:
                counts[verdict] += 1
            else:
                better, worse = (one, other) if difference > 0 else (other, one)
                clear.append((abs(difference), better, worse))
        clear.sort(key=lambda found: -found[0])
        counts["surplus"] += len(clear[per_prompt:])
        for _, better, worse in clear[:per_prompt]:
            pairs.append(Pair(f"feedback-{len(pairs) + 1:04d}", prompt, better, worse))
    counts["pairs"] = len(pairs)
    return pairs, counts


def _compare(one: Mapping[str, float], other: Mapping[str, float], gap: float) -> tuple[str, float]:
    """Give why two replies make no pair ("" when they do), and the difference of their means."""
    difference = sum(one.values()) / len(one) - sum(other.values()) / len(other)
    torn = any(max(r.values()) - min(r.values()) > 0.5 for r in (one, other))
    turned = any((one[who] - other[who]) * difference < 0 for who in one.keys() & other.keys())
    if torn or turned:
        return "contradicted", difference
    if difference == 0:
        return "ties", difference
    return ("unclear" if abs(difference) < gap else ""), difference


def save_pairs(pairs: Sequence[Pair], path: Path | str) -> None:
    """Write pairs as JSON Lines (``id``, ``prompt``, ``chosen``, ``rejected``), atomically.

    Raises:
        DataError: when there are none.
        StorageError: when the file cannot be written.
    """
    if not pairs:
        raise DataError("there are no pairs to save", where=str(path))
    names = ("id", "prompt", "chosen", "rejected")
    rows = ({n: getattr(p, n) for n in names} for p in pairs)
    files.write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


def load_pairs(data: str, *, seed: int = 0) -> PairSplits:
    """Load preference pairs: a course set's name, a file, a folder or a Hub id.

    Rows hold ``chosen``, ``rejected`` and a prompt (``prompt``, ``ticket``, ...). Splits
    that are missing are cut off the training pairs by prompt, 10% each.

    Args:
        data: as in :func:`data.load`.
        seed: of the cut.

    Raises:
        DataError: for a row without one of the three, for a pair of identical replies and
            for an empty set, naming file and line.
        UnknownNameError: for an unknown data set, with close matches.
    """
    source = sources.find(data)
    notes: list[str] = []
    built = {name: [_row(where, row) for where, row in rows] for name, rows in source.parts.items()}
    if not built.get("train"):
        raise DataError("there are no training pairs", where=data, got=", ".join(built))
    cut = splits.cut("preference", built, seed, notes)
    train, validation, test = (
        [_pair(row) for row in cut[name]] for name in ("train", "validation", "test")
    )
    name = Path(data).name if Path(data).expanduser().exists() else data
    return PairSplits(name, source.sha256, train, validation, test, tuple(notes))


def _row(where: str, fields: Mapping[str, Any]) -> Example:
    """Check a row and carry it as an example, which is what ``splits.cut`` takes."""
    prompt = next((name for name in PROMPT if name in fields), "prompt")
    texts = [_text(fields, name, where) for name in (prompt, "chosen", "rejected")]
    if " ".join(texts[1].split()) == " ".join(texts[2].split()):
        raise DataError(
            "both replies of the pair are the same",
            where=where,
            got=repr(texts[1][:60]),
            next_step="delete the row; it says nothing about which reply is better",
        )
    return Example(
        id=str(fields.get("id", where)),
        text=texts[0],
        target=texts[1],
        answers=(texts[2],),
        question=str(fields.get("reason") or ""),
    )


def _pair(row: Example) -> Pair:
    return Pair(row.id, row.text, str(row.target), row.answers[0], row.question)
