"""Human review: what a person should look at, and what comes back from them.

The classifier's least sure answers go to a person first, as many as the person has time
for; a few drawn at random from the rest are looked at too, because confident errors never
reach the front of the queue. Decisions come back as new labelled rows that say where they
came from. Without the random share nobody can say how many errors were missed.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files, metrics
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.records import Example

UNSURE, AUDIT = "unsure", "audit"


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One answer for a person to look at.

    Attributes:
        id, text: of the row.
        prediction: the class the model gave.
        confidence: its probability, 0 to 1.
        why: ``unsure`` (among the least confident) or ``audit`` (drawn at random).
    """

    id: str
    text: str
    prediction: str
    confidence: float
    why: str


def confidence(predictions: Sequence[Mapping[str, Any]]) -> list[float]:
    """Give the probability of each predicted class.

    Args:
        predictions: maps with ``probabilities``, as ``predict_run`` and ``evaluate`` give.

    Raises:
        DataError: when there are none, or one has no probabilities.
    """
    if not predictions:
        raise DataError("there are no predictions to review")
    for place, row in enumerate(predictions):
        if not row.get("probabilities"):
            raise DataError(
                "no probabilities beside the prediction",
                where=f"prediction {place + 1}",
                expected="a classifier's predictions",
                next_step="take them from predict_run or evaluate_run of a classification run",
            )
    return [float(max(row["probabilities"].values())) for row in predictions]


def review_queue(
    rows: Sequence[Example],
    predictions: Sequence[Mapping[str, Any]],
    *,
    budget: int,
    audit_share: float = 0.2,
    seed: int = 0,
) -> list[ReviewItem]:
    """Choose what a person looks at: the least sure answers first, then a random audit.

    Args:
        rows: the texts, in the order of ``predictions``.
        predictions: maps with ``prediction`` and ``probabilities``, one a row.
        budget: how many answers the person has time for; more than there are takes all.
        audit_share: share of the budget drawn at random from what is not among the unsure.
        seed: of that draw.

    Raises:
        UsageError: for a budget below 1 or a share outside 0 to 1.
        DataError: when rows and predictions differ in number, or lack probabilities.
    """
    if budget < 1 or not 0 <= audit_share <= 1:
        raise UsageError(
            "the budget must be at least 1 and the audit share between 0 and 1",
            got=f"budget {budget}, audit_share {audit_share}",
        )
    if len(rows) != len(predictions):
        raise DataError(
            "rows and predictions do not pair up",
            got=f"{len(rows)} rows, {len(predictions)} predictions",
        )
    sure = confidence(predictions)
    budget = min(budget, len(rows))
    audits = round(budget * audit_share)
    order = sorted(range(len(rows)), key=lambda i: sure[i])
    unsure, rest = order[: budget - audits], order[budget - audits :]
    drawn = random.Random(seed).sample(rest, audits)
    return [
        ReviewItem(rows[i].id, rows[i].text, str(predictions[i]["prediction"]), sure[i], why)
        for why, places in ((UNSURE, unsure), (AUDIT, drawn))
        for i in places
    ]


def take_back(
    queue: Sequence[ReviewItem],
    decisions: Mapping[str, str],
    *,
    reviewer: str,
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """Turn a person's decisions into new labelled rows that say where they came from.

    Args:
        queue: what was shown.
        decisions: row id to label; what was left undecided is simply missing.
        reviewer: who decided.
        labels: the classes there are.

    Returns:
        Rows with ``id``, ``text``, ``label`` and ``provenance``: ``source`` (``review``),
        ``reviewer``, ``predicted``, ``confidence``, ``why`` and ``agreed``.

    Raises:
        DataError: for no decisions, or an id that was not in the queue.
        UnknownNameError: for a label that is none of the classes, with close matches.
    """
    if not decisions:
        raise DataError("there are no decisions to take back")
    shown = {item.id: item for item in queue}
    rows = []
    for name, label in decisions.items():
        if name not in shown:
            raise DataError("a decision on a row that was not in the queue", got=repr(name))
        if label not in labels:
            raise UnknownNameError(f"label for row {name}:", label, labels)
        item = shown[name]
        provenance = {
            "source": "review",
            "reviewer": reviewer,
            "predicted": item.prediction,
            "confidence": round(item.confidence, 6),
            "why": item.why,
            "agreed": label == item.prediction,
        }
        rows.append({"id": name, "text": item.text, "label": label, "provenance": provenance})
    return rows


def save_reviewed(rows: Sequence[Mapping[str, Any]], path: Path | str) -> int:
    """Add reviewed rows to a JSON Lines file that :func:`data.load` reads; give its rows.

    A row reviewed before is replaced by its newer decision. The file is written atomically.

    Raises:
        StorageError: when it cannot be written.
    """
    path = Path(path)
    kept = {str(row["id"]): row for _, row in files.read_jsonl(path)} if path.is_file() else {}
    kept |= {str(row["id"]): dict(row) for row in rows}
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in kept.values())
    files.write_text(path, "".join(lines))
    return len(kept)


def errors_caught(
    predictions: Sequence[Mapping[str, Any]], rates: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.5)
) -> list[dict[str, Any]]:
    """Measure, on rows with known labels, what reviewing the least sure answers catches.

    Args:
        predictions: maps with ``gold``, ``prediction`` and ``probabilities``.
        rates: shares of the rows that a person looks at.

    Returns:
        One map a rate: ``rate``, ``reviewed`` (rows), ``caught`` (share of all errors that
        lie among them; a random choice catches ``rate``), ``caught_interval`` (bootstrap
        over the errors, the order kept) and ``accuracy`` once the reviewed are put right.

    Raises:
        DataError: without predictions, probabilities, gold labels or a single error.
        UsageError: for a rate outside 0 to 1.
    """
    sure = confidence(predictions)
    if any(row.get("gold") is None for row in predictions):
        raise DataError("predictions without gold labels", expected="those of an evaluation")
    wrong = [row["gold"] != row["prediction"] for row in predictions]
    if not any(wrong):
        raise DataError("the model made no error on these rows", got=f"{len(wrong)} rows")
    table = []
    order = sorted(range(len(sure)), key=lambda i: sure[i])
    for rate in rates:
        if not 0 <= rate <= 1:
            raise UsageError("a review rate lies between 0 and 1", got=str(rate))
        reviewed = set(order[: math.ceil(rate * len(sure))])
        hits = [float(i in reviewed) for i, is_wrong in enumerate(wrong) if is_wrong]
        table.append(
            {
                "rate": rate,
                "reviewed": len(reviewed),
                "caught": math.fsum(hits) / len(hits),
                "caught_interval": list(metrics.bootstrap_interval(hits)),
                "accuracy": 1 - (len(hits) - math.fsum(hits)) / len(wrong),
            }
        )
    return table


def audit(
    queue: Sequence[ReviewItem], decisions: Mapping[str, str], total: int
) -> dict[str, float | list[float]]:
    """Estimate, without gold labels, the share of all errors that the review caught.

    The rows drawn at random tell how often the answers nobody looked at are wrong.

    Args:
        queue: what was shown; decisions: row id to label, of every row of the queue.
        total: rows there were to choose from.

    Returns:
        ``found`` (errors in the queue), ``missed`` (errors expected among the rows nobody
        looked at), ``missed_interval``, and ``caught`` (found / (found + missed)) with its
        ``caught_interval``. The intervals hold every number of errors under which the draw
        would not be among the 2.5% oddest on either side (exact, hypergeometric).

    Raises:
        DataError: when a row of the queue is undecided, none was drawn at random, or
            ``total`` is smaller than the queue.
    """
    import numpy as np
    from scipy.stats import hypergeom

    undecided = [item.id for item in queue if item.id not in decisions]
    drawn = [item for item in queue if item.why == AUDIT]
    if undecided or not drawn or total < len(queue):
        raise DataError(
            "this review cannot be audited",
            got=f"{len(undecided)} undecided, {len(drawn)} drawn at random, {len(queue)} in the "
            f"queue of {total}",
            next_step="decide every row, and make the queue with an audit_share above 0",
        )
    found = sum(decisions[item.id] != item.prediction for item in queue)
    wrong = sum(decisions[item.id] != item.prediction for item in drawn)
    rest = total - sum(item.why == UNSURE for item in queue)
    missed = wrong / len(drawn) * (total - len(queue))
    # every number of errors the rest may hold, and those that the draw does not speak against
    possible = np.arange(wrong, rest - (len(drawn) - wrong) + 1)
    few = hypergeom.cdf(wrong, rest, possible, len(drawn))
    many = hypergeom.sf(wrong - 1, rest, possible, len(drawn))
    likely = possible[(few > 0.025) & (many > 0.025)] - wrong
    least, most = int(likely.min()), int(likely.max())
    # nothing found and nothing expected to be missed: nothing escaped
    caught = [found / (found + m) if found + m else 1.0 for m in (missed, most, least)]
    return {
        "found": found,
        "missed": missed,
        "missed_interval": [float(least), float(most)],
        "caught": caught[0],
        "caught_interval": caught[1:],
    }
