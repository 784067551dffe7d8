"""Drift: has the stream of messages, or what the model makes of it, left the reference?

Six signals over a sliding window of the newest rows; none of them needs labels:

``classes``     population stability index (PSI) of the predicted classes
``length``      PSI of the number of words, in fifths of the reference
``unknown``     rise of the share of words outside the vocabulary
``words``       maximum mean discrepancy (MMD) of which words are used: rare ones weigh more
``embedding``   MMD of the model's hidden states, Gaussian kernel of median width
``abstention``  rise of the share of rows less certain than four fifths of the reference

The usual limits of PSI, 0.1 and 0.25, ignore the size of the window, so every limit here comes
from resampling the reference alone: undrifted streams are drawn from it, and a limit is what
only the allowed share of whole streams ever exceeds. A share too small to be counted is read off
the Gumbel distribution, which the largest of many values tends to (Gumbel 1958, Statistics of
Extremes), fitted by mean and standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from course_lib.errors import DataError, UsageError
from course_lib.finetune.deploy.drift_signals import Batch, Features, Row, mmd, observe, psi

__all__ = ["Alarm", "Monitor", "observe", "psi", "watch"]

STREAMS = 300  # undrifted streams drawn to find the limits
MOST_REFERENCE = 500  # rows kept of a longer reference: the limits cost its square


@dataclass(frozen=True)
class Alarm:
    """What left the reference, and when.

    Attributes:
        row: rows seen when it was noticed (the first row of the stream is 1).
        signals: for each signal newly beyond its limit, ``(value, limit)``.
    """

    row: int
    signals: Mapping[str, tuple[float, float]]

    def __str__(self) -> str:
        """Give one sentence."""
        found = (f"{n} {v:.3g} (limit {limit:.3g})" for n, (v, limit) in self.signals.items())
        return f"drift after {self.row} rows: " + ", ".join(found)


class Monitor:
    """Watches a stream row by row against rows on which the model was known to do well.

    A row is a map with ``text``, ``probabilities`` (by label) and, where wanted, ``embedding``
    (``[width]``), as :func:`observe` gives it.

    Args:
        reference: rows of the same source that the model was not trained on, such as the
            first messages after it went live; a few times ``window``. Of more than 500 a
            seeded sample is kept.
        vocabulary: texts whose words are known, such as the training texts; the reference
            itself when there are none.
        window: rows a figure is taken over; the first figure comes after that many.
        every: rows between two looks.
        horizon: length in rows of the undrifted streams the limits are made for.
        false_alarms: share of such streams that may raise any alarm at all.
        seed: of the resampling.

    Attributes:
        limits: the largest value of each signal that is no alarm.
        seen: rows taken so far.

    Raises:
        DataError: for too few reference rows, or a row without what it needs (row named).
        UsageError: for settings that cannot work.
    """

    def __init__(
        self,
        reference: Sequence[Row],
        *,
        vocabulary: Iterable[str] = (),
        window: int = 100,
        every: int = 5,
        horizon: int = 1000,
        false_alarms: float = 0.001,
        seed: int = 0,
    ) -> None:
        _check(reference, window, every, horizon, false_alarms)
        rng = np.random.default_rng(seed)
        if len(reference) > MOST_REFERENCE:
            picked = sorted(rng.choice(len(reference), MOST_REFERENCE, replace=False))
            reference = [reference[int(i)] for i in picked]
        self.window, self.every, self.seen = window, every, 0
        self._features = Features(reference, vocabulary)
        rows = [
            self._features.of(r, f"reference row {i + 1}", reference=True)
            for i, r in enumerate(reference)
        ]
        self._reference = Batch(rows)
        self._ones = np.ones(len(rows))
        self._grams = self._features.grams(self._reference, self._reference)
        self._newest: list[dict[str, Any]] = []
        self._raised: set[str] = set()
        largest = self._undrifted(horizon, rng)
        level = 1 - false_alarms / len(largest)  # the signals share what is allowed (Bonferroni)
        self.limits = {n: _gumbel_quantile(v, level) for n, v in largest.items()}

    def update(self, row: Row) -> Alarm | None:
        """Take the stream's next row; give an alarm when a signal newly leaves its limit.

        Raises:
            DataError: for a row without what it needs; it is not counted.
        """
        features = self._features.of(row, f"stream row {self.seen + 1}")
        self.seen += 1
        self._newest = [*self._newest, features][-self.window :]
        if len(self._newest) < self.window or self.seen % self.every:
            return None
        new = {
            name: (value, self.limits[name])
            for name, value in self.values().items()
            if value > self.limits[name] and name not in self._raised
        }
        self._raised |= set(new)
        return Alarm(self.seen, new) if new else None

    def values(self) -> dict[str, float]:
        """Give each signal's value over the newest window; a text sent twice counts as one pair.

        Raises:
            UsageError: before the first row.
        """
        if not self._newest:
            raise UsageError("nothing was seen yet", next_step="give rows to update() first")
        first: dict[str, int] = {}
        for place, row in enumerate(self._newest):
            first.setdefault(row["text"], place)
        batch = Batch(self._newest)
        counts = np.zeros(len(self._newest))
        for row in self._newest:
            counts[first[row["text"]]] += 1
        pairs = {
            name: mmd(counts[None], self._ones, within, across, self._grams[name])
            for (name, within), across in zip(
                self._features.grams(batch, batch).items(),
                self._features.grams(batch, self._reference).values(),
                strict=True,
            )
        }
        means = batch.table.mean(0)[None]
        plain = self._features.plain(
            means, self._reference.table.mean(0), len(self._newest), len(self._ones)
        )
        return {name: float(value[0]) for name, value in {**plain, **pairs}.items()}

    def reset(self) -> None:
        """Forget the stream, as after a rollback; reference and limits stay."""
        self._newest, self._raised, self.seen = [], set(), 0

    def _undrifted(self, horizon: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Give each signal's largest value in each of ``STREAMS`` streams of the reference.

        The reference is drawn anew each time too: its own sampling error is in every figure.
        """
        table, size = self._reference.table, len(self._ones)
        ends = np.arange(self.window, horizon + 1)
        ends = ends[ends % self.every == 0]
        largest: dict[str, list[float]] = {}
        for _ in range(STREAMS):
            drawn = np.bincount(rng.integers(0, size, size), minlength=size).astype(float)
            sums = np.zeros((horizon + 1, size))
            sums[np.arange(1, horizon + 1), rng.integers(0, size, horizon)] = 1
            sums = sums.cumsum(0)
            counts = sums[ends] - sums[ends - self.window]
            found = self._features.plain(
                counts @ table / self.window, drawn @ table / size, self.window, size
            )
            for name, gram in self._grams.items():
                found[name] = mmd(counts, drawn, gram, gram, gram, same=True)
            for name, values in found.items():
                largest.setdefault(name, []).append(float(values.max()))
        return {name: np.array(values) for name, values in largest.items()}


def watch(
    monitor: Monitor, rows: Iterable[Row], *, after: int = 0
) -> tuple[list[Alarm], list[tuple[int, dict[str, float]]]]:
    """Send rows past a monitor and keep what it saw at each look, for a figure.

    Args:
        monitor: fresh, or after :meth:`Monitor.reset`.
        rows: of the stream, in order.
        after: rows of the stream that came before them; added to every place.

    Returns:
        The alarms, and ``(row, values by signal)`` at each look.
    """
    alarms, track = [], []
    for row in rows:
        if alarm := monitor.update(row):
            alarms.append(Alarm(alarm.row + after, alarm.signals))
        if monitor.seen >= monitor.window and monitor.seen % monitor.every == 0:
            track.append((monitor.seen + after, monitor.values()))
    return alarms, track


def _gumbel_quantile(largest: np.ndarray, level: float) -> float:
    scale = float(largest.std(ddof=1)) * math.sqrt(6) / math.pi
    return float(largest.mean()) - scale * (np.euler_gamma + math.log(-math.log(level)))


def _check(
    reference: Sequence[Row], window: int, every: int, horizon: int, false_alarms: float
) -> None:
    if window < 10 or not 1 <= every <= window <= horizon or not 0 < false_alarms < 1:
        raise UsageError(
            "these settings cannot work",
            got=f"window={window}, every={every}, horizon={horizon}, false_alarms={false_alarms}",
            expected="10 <= window <= horizon, 1 <= every <= window, 0 < false_alarms < 1",
        )
    if len(reference) < window:
        raise DataError(
            "the reference is shorter than a window",
            got=f"{len(reference)} rows",
            expected=f"at least {window}",
            next_step="give more rows the model was not trained on, or a smaller window",
        )
