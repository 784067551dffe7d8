"""Two systems on the same rows in a task's own metric: interval, difference, verdict.

``compare`` needs a score for each row. Entity F1 and BLEU have none: they are made of sums over
all rows. So rows are drawn again and again here, summed, and the metric is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from course_lib import metrics
from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune.compare import Difference, Scored, predictions_of
from course_lib.finetune.records import Example

RESAMPLES = 2000
Row = Mapping[str, Any]
Parts = Callable[[Row], tuple[float, ...]]  # what one row adds to the sums a metric is made of


def _entity_f1(row: Row) -> tuple[float, ...]:
    gold, said = set(metrics.entities(row["gold"])), set(metrics.entities(row["prediction"]))
    return 2.0 * len(gold & said), float(len(gold) + len(said))


def _rouge(name: str) -> Parts:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([name], use_stemmer=True)
    return lambda row: (scorer.score(row["gold"], row["prediction"])[name].fmeasure, 1.0)


def _chrf(row: Row) -> tuple[float, ...]:
    import sacrebleu

    return float(sacrebleu.sentence_chrf(row["prediction"], [row["gold"]]).score), 1.0


def _bleu(row: Row) -> tuple[float, ...]:
    import sacrebleu

    found = sacrebleu.sentence_bleu(row["prediction"], [row["gold"]])
    return (*found.counts, *found.totals, float(found.sys_len), float(found.ref_len))


def _exact(row: Row) -> tuple[float, ...]:
    return float(row["gold"].strip() == row["prediction"].strip()), 1.0


def _fraction(sums: np.ndarray) -> np.ndarray:
    """Give the first sum over the second; 0 where there is nothing to divide by."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1e-12))


def _corpus_bleu(sums: np.ndarray) -> np.ndarray:
    """Give corpus BLEU of summed counts, smoothed as sacrebleu does (0 to 100)."""
    right, total = sums[..., :4], np.maximum(sums[..., 4:8], 1e-12)
    doubled = 2.0 ** np.cumsum(right == 0, -1)
    share = np.where(right == 0, 1 / (doubled * total), right / total)
    ours, theirs = np.maximum(sums[..., 8], 1e-12), sums[..., 9]
    brevity = np.exp(np.minimum(0.0, 1 - theirs / ours))
    found = 100 * brevity * np.exp(np.log(share).mean(-1))
    return np.where((sums[..., 4:8] == 0).any(-1) | (right[..., 0] == 0), 0.0, found)


_METRICS: dict[str, tuple[Callable[[], Parts], Callable[[np.ndarray], np.ndarray]]] = {
    "entity F1": (lambda: _entity_f1, _fraction),
    "ROUGE-1": (lambda: _rouge("rouge1"), _fraction),
    "ROUGE-L": (lambda: _rouge("rougeL"), _fraction),
    "BLEU": (lambda: _bleu, _corpus_bleu),
    "chrF": (lambda: _chrf, _fraction),
    "exact match": (lambda: _exact, _fraction),
}


def _measured(system: Scored, metric: str) -> tuple[np.ndarray, list[str]]:
    """Give what each row adds to a metric's sums, float64 ``[rows, sums]``, and the rows' ids."""
    if metric not in _METRICS:
        raise UnknownNameError("metric", metric, _METRICS)
    part = _METRICS[metric][0]()
    rows = sorted(predictions_of(system), key=lambda row: str(row["id"]))
    return np.array([part(row) for row in rows], dtype=float), [str(row["id"]) for row in rows]


def _value(parts: np.ndarray, metric: str) -> float:
    return float(_METRICS[metric][1](parts.sum(0)))


def _drawn(parts: np.ndarray, metric: str, seed: int) -> np.ndarray:
    """Give the metric of rows drawn with replacement, float64 ``[RESAMPLES]``."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(10):  # a tenth at a time, to bound the memory
        picks = rng.integers(0, len(parts), (RESAMPLES // 10, len(parts)))
        found.append(_METRICS[metric][1](parts[picks].sum(1)))
    return np.concatenate(found)


def value(system: Scored, metric: str) -> float:
    """Give a metric of a system.

    Args:
        system: an evaluation or a run folder.
        metric: ``entity F1`` over all entities, ``BLEU`` over all rows (0 to 100); ``ROUGE-1``,
            ``ROUGE-L`` (0 to 1), ``chrF`` (0 to 100) and ``exact match`` as means over rows.

    Raises:
        UnknownNameError: for another metric.
    """
    return _value(_measured(system, metric)[0], metric)


def same_rows(run: Path | str, rows: Sequence[Example]) -> list[Example]:
    """Give those of ``rows`` that a run was measured on, for a baseline on the same ones."""
    ids = {str(row["id"]) for row in predictions_of(run)}
    return [row for row in rows if row.id in ids]


def interval(system: Scored, metric: str, *, seed: int = 0) -> tuple[float, float, float]:
    """Give a metric with its 95% interval over rows (percentile bootstrap).

    Args:
        system: an evaluation or a run folder. metric: as for :func:`value`.
        seed: of the resampling.
    """
    parts, _ = _measured(system, metric)
    low, high = np.quantile(_drawn(parts, metric, seed), [0.025, 0.975])
    return _value(parts, metric), float(low), float(high)


def difference(first: Scored, second: Scored, metric: str, *, seed: int = 0) -> Difference:
    """Compare two systems on the same rows, drawn together (paired bootstrap, Koehn 2004).

    Args:
        first, second: evaluations or run folders, measured on the same rows.
        metric: as for :func:`value`.
        seed: of the resampling.

    Raises:
        UsageError: when they were measured on different rows.
    """
    (one, ids), (two, others) = _measured(first, metric), _measured(second, metric)
    if ids != others:
        raise UsageError(
            "the two were not measured on the same rows",
            got=f"{len(set(ids) - set(others))} rows only in the first, "
            f"{len(set(others) - set(ids))} only in the second",
        )
    drawn = _drawn(one, metric, seed) - _drawn(two, metric, seed)
    low, high = np.quantile(drawn, [0.025, 0.975])
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))
    return Difference(_value(one, metric) - _value(two, metric), float(low), float(high), p)


def verdict(systems: Mapping[str, Scored], metric: str, *, seed: int = 0) -> str:
    """Say in a sentence how the first of several systems does against the best of the others.

    Args:
        systems: name to evaluation or run folder, two or more, measured on the same rows.
        metric: as for :func:`value`.
        seed: of the resampling.
    """
    first, *others = systems
    whole = {name: value(system, metric) for name, system in systems.items()}
    rival = max(others, key=lambda name: whole[name])
    apart = difference(systems[first], systems[rival], metric, seed=seed)
    size = 1 if metric in ("BLEU", "chrF") else 3
    if apart.low <= 0 <= apart.high:
        says = f"{first} and {rival} cannot be told apart on these rows"
    else:
        says = f"{first} is {'better' if apart.mean > 0 else 'worse'} than {rival}"
    return (
        f"{says}: {metric} {whole[first]:.{size}f} against {whole[rival]:.{size}f}, difference "
        f"{apart.mean:+.{size}f} [{apart.low:+.{size}f}, {apart.high:+.{size}f}]"
    )
