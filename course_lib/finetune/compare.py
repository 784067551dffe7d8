"""Finished runs side by side: which is better on the same test rows.

    compare_runs("runs/a", "runs/b").sentence()

What is hard for one run is mostly hard for the other too, so compared row by row their
difference is known better than either figure. No torch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course_lib import files, metrics
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.lineage import run_facts
from course_lib.finetune.records import Evaluation

RESAMPLES = 10_000
FEW_DISCORDANT = 25  # below it McNemar's test is exact, the usual bound (Edwards 1948 above it)
Scored = Evaluation | Path | str  # an evaluation, or the folder of a finished run


@dataclass(frozen=True)
class Difference:
    """First minus second: the mean over rows, its interval, and a two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """Rows that only the first, and only the second, gets right; two-sided p; which test it was."""

    only_first: int
    only_second: int
    p: float
    method: str


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same test rows.

    Attributes:
        names: of the first and the second.
        metric: what was measured for each row; see ``row_scores``.
        rows: test rows.
        first, second: the means over rows.
        difference: first minus second, by paired bootstrap.
        mcnemar: where a row is only right or wrong.
        p_holm: the p-value corrected for all comparisons made together; None for a single one.
        drawn: what the bootstrap drew where it is not rows, such as `` of 21 groups``.
    """

    names: tuple[str, str]
    metric: str
    rows: int
    first: float
    second: float
    difference: Difference
    mcnemar: McNemar | None = None
    p_holm: float | None = None
    drawn: str = ""

    @property
    def p(self) -> float:
        """McNemar's p-value where there is one, else the bootstrap's."""
        return self.mcnemar.p if self.mcnemar else self.difference.p

    def sentence(self) -> str:
        """Say it in a line, such as for a notebook."""
        d, (one, two), holm = self.difference, self.names, self.p_holm
        test = self.mcnemar.method if self.mcnemar else f"paired bootstrap{self.drawn}"
        corrected = "" if holm is None else f", {holm:.3f} after Holm".replace(" 0.000", " < 0.001")
        return (
            f"{one} {self.first:.3f}, {two} {self.second:.3f} ({self.metric}, {self.rows} rows): "
            f"difference {d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}], "
            f"p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'} ({test}{corrected})"
        )


def predictions_of(run: Scored) -> list[dict[str, Any]]:
    """Give the predictions of an evaluation or of a run folder, one a test row.

    Raises:
        ModelError: when the folder is not a finished run.
        DataError: when it keeps no predictions by row, or an id occurs twice.
    """
    if isinstance(run, Evaluation):
        found, where = [dict(p) for p in run.predictions], "evaluation"
    else:
        run_facts(run)
        path = Path(run) / "predictions.jsonl"
        if not path.is_file():
            raise DataError("the run's predictions are missing", where=str(path))
        found, where = [row for _, row in files.read_jsonl(path)], str(path)
    if not found:
        raise DataError(
            "there are no predictions by row",
            where=where,
            expected="a run of a task with an answer for each row, not language-modeling",
        )
    seen: set[str] = set()
    for number, row in enumerate(found, 1):
        missing = {"id", "gold", "prediction"} - set(row)
        if missing or row["id"] in seen:
            what = f"without {sorted(missing)}" if missing else f"a second row {row['id']!r}"
            raise DataError("not a prediction", where=f"{where}:{number}", got=what)
        seen.add(row["id"])
    return found


def row_scores(row: Mapping[str, Any]) -> dict[str, float]:
    """Score one prediction by every metric its kind has, the usual one first, all from 0 to 1.

    A class: ``accuracy``. An answer to a question: ``f1`` and ``exact_match`` (SQuAD's). Tags:
    ``word_accuracy``, the share of right words, and ``exact_match``. A written text: ``chrf`` of
    the row (Popovic 2015, sacrebleu) and ``exact_match``; a mean of rows' chrF is not the chrF
    of the corpus in ``run.json``, and a mean of rows' word accuracies weighs short rows alike.
    """
    gold, said = row["gold"], row["prediction"]
    if "probabilities" in row:
        return {"accuracy": float(gold == said)}
    if isinstance(gold, list) and isinstance(said, list):
        right = [float(g == p) for g, p in zip(gold, said, strict=True)]
        return {"word_accuracy": math.fsum(right) / len(right), "exact_match": min(right)}
    if isinstance(gold, list):
        accepted = gold or [""]
        return {
            "f1": max(metrics.answer_f1(said, g) for g in accepted),
            "exact_match": max(metrics.exact_match(said, g) for g in accepted),
        }
    import sacrebleu

    chrf = float(sacrebleu.sentence_chrf(said, [gold]).score) / 100
    return {"chrf": chrf, "exact_match": float(said.strip() == gold.strip())}


def aligned_scores(runs: Sequence[Scored], metric: str = "auto") -> tuple[np.ndarray, str]:
    """Give the rows' scores of several runs, float64 ``[runs, rows]``, and the metric's name.

    Raises:
        DataError: when the runs were not measured on the same test rows, naming ids.
        UnknownNameError: for a metric these predictions do not have.
    """
    found = [{str(r["id"]): r for r in predictions_of(run)} for run in runs]
    for place, other in enumerate(found[1:], 1):
        _check_same(found[0], other, (name_of(runs[0], 0), name_of(runs[place], place)))
    known = list(row_scores(next(iter(found[0].values()))))
    if metric != "auto" and metric not in known:
        raise UnknownNameError("metric by row", metric, known)
    chosen = known[0] if metric == "auto" else metric
    table = [[row_scores(rows[i])[chosen] for i in found[0]] for rows in found]
    return np.asarray(table), chosen


def name_of(run: Scored, place: int = 0) -> str:
    """Give a run's folder name, or ``evaluation N`` for what has none."""
    return f"evaluation {place + 1}" if isinstance(run, Evaluation) else Path(run).resolve().name


def _check_same(first: Mapping[str, Any], second: Mapping[str, Any], names: Sequence[str]) -> None:
    def some(ids: set[str]) -> str:
        shown = ", ".join(sorted(ids)[:3])
        return f"{shown} and {len(ids) - 3} more" if len(ids) > 3 else shown or "none"

    one, two = set(first), set(second)
    wrong = sorted(i for i in one & two if first[i]["gold"] != second[i]["gold"])
    if one == two and not wrong:
        return
    got = f"only in {names[0]}: {some(one - two)}; only in {names[1]}: {some(two - one)}"
    if wrong:
        got = f"row {wrong[0]} with two different gold answers; {got}"
    raise DataError(
        "the runs were not measured on the same test rows",
        got=got,
        next_step="fine-tune or evaluate both on one data set with the same test_rows",
    )


def paired_bootstrap(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    *,
    groups: Sequence[str] = (),
    seed: int = 0,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare two runs' row scores by resampling rows (Efron 1979; for texts Koehn 2004).

    Args:
        first, second: one score a row, in the same order, ``[rows]``.
        groups, seed: as for :func:`metrics.resampled_means`.
        level: coverage of the percentile interval.
        resamples: how many; p is at least 2 / (resamples + 1).

    Raises:
        UsageError: for fewer than two rows, or two different numbers of rows.
    """
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != two.shape or one.ndim != 1 or len(one) < 2:
        raise UsageError("scores do not pair up", got=f"{one.shape} and {two.shape} rows")
    apart = one - two
    drawn = metrics.resampled_means(apart, groups=groups, seed=seed, resamples=resamples)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (resamples + 1))
    return Difference(float(apart.mean()), float(low), float(high), p)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Test whether two classifiers err equally often (McNemar 1947).

    Only rows that exactly one of them gets right count. Below ``FEW_DISCORDANT`` of these the
    test is the exact binomial, else chi-square with continuity correction (Edwards 1948).

    Args:
        first, second: for each row, whether it was right, ``[rows]``.

    Raises:
        UsageError: for two different numbers of rows.
    """
    from scipy import stats

    if len(first) != len(second):
        raise UsageError("rows do not pair up", got=f"{len(first)} and {len(second)} rows")
    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    b, c = pairs.count((True, False)), pairs.count((False, True))
    if b + c < FEW_DISCORDANT:
        p = float(stats.binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
        return McNemar(b, c, p, "McNemar, exact")
    p = float(stats.chi2.sf((abs(b - c) - 1) ** 2 / (b + c), 1)) if b != c else 1.0
    return McNemar(b, c, p, "McNemar, chi-square")


def compare_runs(
    first: Scored, second: Scored, *, metric: str = "auto", seed: int = 0
) -> Comparison:
    """Compare two runs on the same test rows; questions on one passage are resampled together.

    Args:
        first, second: run folders or evaluations.
        metric: one of :func:`row_scores`; ``auto`` is the usual one.
        seed: of the bootstrap.

    Raises:
        DataError: when they were measured on different test rows, naming ids.
    """
    (one, two), chosen = aligned_scores([first, second], metric)
    groups = [str(r.get("group") or r["id"]) for r in predictions_of(first)]
    return Comparison(
        (name_of(first, 0), name_of(second, 1)),
        chosen,
        len(one),
        float(one.mean()),
        float(two.mean()),
        paired_bootstrap(one, two, groups=groups, seed=seed),
        mcnemar(one == 1, two == 1) if chosen in ("accuracy", "exact_match") else None,
        drawn=f" of {len(set(groups))} groups" if 1 < len(set(groups)) < len(groups) else "",
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several comparisons (Holm 1979), in the order given.

    Raises:
        UsageError: for a value that is no probability.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise UsageError("p-values lie between 0 and 1", got=str(list(p_values)))
    out, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        out[i] = least
    return out


def compare_all(
    runs: Mapping[str, Scored], *, metric: str = "auto", seed: int = 0
) -> list[Comparison]:
    """Compare every two of several named runs, with Holm's correction over all of them."""
    pairs = list(itertools.combinations(runs, 2))
    found = [compare_runs(runs[a], runs[b], metric=metric, seed=seed) for a, b in pairs]
    corrected = holm([c.p for c in found])
    return [
        dataclasses.replace(c, names=names, p_holm=p)
        for c, names, p in zip(found, pairs, corrected, strict=True)
    ]
