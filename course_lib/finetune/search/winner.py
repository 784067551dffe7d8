"""The winner's luck: how a choice among many trials flatters the rows it was made on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from course_lib.errors import UsageError
from course_lib.finetune.baselines import tfidf
from course_lib.finetune.records import Example


@dataclass(frozen=True)
class Reported:
    """What one way of choosing reports, and what turns out; means over random cuts of the rows.

    Attributes:
        reported: accuracy of the winner on the rows that are reported.
        fresh: its accuracy on rows nobody had looked at.
        luck: ``reported - fresh``, low and high hold nine cuts of ten.
    """

    reported: float
    fresh: float
    luck: float
    low: float
    high: float

    def sentence(self) -> str:
        """Say it in a line."""
        side = "high" if self.luck >= 0 else "low"
        return (
            f"reported {self.reported:.3f}, on fresh rows {self.fresh:.3f}: "
            f"too {side} by {abs(100 * self.luck):.1f} points on average "
            f"(nine cuts of ten: {100 * self.low:+.1f} to {100 * self.high:+.1f})"
        )


def many_trials(
    train: Sequence[Example],
    rows: Sequence[Example],
    count: int,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> np.ndarray:
    """Fit a word counter ``count`` times, each with settings and a half of the rows by lot.

    Args:
        train: labelled rows; every trial takes half of them.
        rows: what each trial is tried on.
        count: how many trials.
        seed: of the lots.
        say: gets a line at the end.

    Returns:
        Whether the trial was right, bool ``[count, rows]``.
    """
    rng = np.random.default_rng(seed)
    texts, labels = [r.text for r in train], np.array([str(r.label) for r in train])
    asked, gold = [r.text for r in rows], np.array([str(r.label) for r in rows])
    features = tfidf()[0].fit(texts)
    known, new = features.transform(texts), features.transform(asked)
    right = np.zeros((count, len(rows)), dtype=bool)
    for trial in range(count):
        half = rng.permutation(len(texts))[: max(2, len(texts) // 2)]
        learner = tfidf()[-1].set_params(C=float(10 ** rng.uniform(-1, 2)))
        right[trial] = learner.fit(known[half], labels[half]).predict(new) == gold
    means = right.mean(1)
    say(f"{count} trials: accuracy from {means.min():.3f} to {means.max():.3f} on all rows")
    return right


def luck(right: np.ndarray, *, rows: int, draws: int = 200, seed: int = 0) -> dict[str, Reported]:
    """Choose the best trial on the test rows, and on validation rows, over many random cuts.

    Each cut gives ``rows`` validation rows, as many test rows, and leaves the rest fresh.
    Equal winners are drawn by lot.

    Args:
        right: from :func:`many_trials`, ``[trials, rows]``.
        rows: of each part.
        draws: cuts.
        seed: of the cuts.

    Returns:
        ``chosen on test`` reports the rows it chose on; ``chosen on validation`` others.

    Raises:
        UsageError: when no fresh row would be left.
    """
    if rows < 1 or 2 * rows >= right.shape[1] or draws < 1:
        raise UsageError(
            "no row is left that nobody looked at", got=f"{rows} of {right.shape[1]} rows, twice"
        )
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float]]] = {"chosen on test": [], "chosen on validation": []}
    for _ in range(draws):
        order = rng.permutation(right.shape[1])
        validation, test, fresh = order[:rows], order[rows : 2 * rows], order[2 * rows :]
        for name, looked_at in (("chosen on test", test), ("chosen on validation", validation)):
            scores = right[:, looked_at].sum(1) + rng.random(len(right)) / 2
            winner = right[int(scores.argmax())]
            found[name].append((float(winner[test].mean()), float(winner[fresh].mean())))
    return {name: _summary(np.array(pairs)) for name, pairs in found.items()}


def _summary(pairs: np.ndarray) -> Reported:
    gaps = pairs[:, 0] - pairs[:, 1]
    low, high = np.quantile(gaps, [0.05, 0.95])
    reported, fresh = pairs.mean(0)
    return Reported(float(reported), float(fresh), float(gaps.mean()), float(low), float(high))
