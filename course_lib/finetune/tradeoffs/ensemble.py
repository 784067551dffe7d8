"""Several runs taken together: answering as an ensemble, and summarised over seeds.

ensemble_gain(["runs/a", "runs/b", "runs/c"]).sentence()
over_seeds(["runs/a1", "runs/a2", "runs/a3"], ["runs/b1", "runs/b2", "runs/b3"])
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course_lib import metrics
from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune.compare import (
    Comparison,
    Difference,
    Scored,
    aligned_scores,
    compare_runs,
    holm,
    name_of,
    paired_bootstrap,
    predictions_of,
)
from course_lib.finetune.records import Evaluation

HOW = ("average", "vote")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gain:
    """An ensemble against its members, on the same test rows.

    Attributes:
        metric: what was measured; rows: test rows.
        ensemble: its figure; members: theirs, in the order given.
        gain: ensemble minus the mean over its members, by paired bootstrap over rows. It
            speaks of these members; others would give another gain.
        against: ensemble compared with each member, Holm's correction over all of them.
        any_right: share of rows that at least one member gets right (fully, for texts).
        apart: share of rows on which the members do not all say the same.
    """

    metric: str
    rows: int
    ensemble: float
    members: tuple[float, ...]
    gain: Difference
    against: tuple[Comparison, ...]
    any_right: float
    apart: float

    def sentence(self) -> str:
        """Say it in a line, such as for a notebook."""
        g, mean = self.gain, math.fsum(self.members) / len(self.members)
        return (
            f"ensemble of {len(self.members)}: {self.metric} {self.ensemble:.3f}, its members "
            f"{mean:.3f} on average ({min(self.members):.3f} to {max(self.members):.3f}); "
            f"gain {g.mean:+.3f} [{g.low:+.3f}, {g.high:+.3f}], "
            f"p {'< 0.001' if g.p < 0.001 else f'= {g.p:.3f}'}"
        )


def ensemble(
    runs: Sequence[Scored], *, data: str | None = None, how: str = "average"
) -> Evaluation:
    """Let several runs answer together and measure the answers.

    Args:
        runs: folders of runs (of any seeds, settings, bases) or evaluations, at least two.
        data: a data set whose test rows all of them answer now; None takes the answers in
            their ``predictions.jsonl``.
        how: ``average`` of class probabilities, or majority ``vote`` (also over answers to
            questions, and tags word by word). A tie goes to the higher mean probability, else
            to the earliest member.

    Returns:
        An evaluation like that of a single run; ``compare_runs`` takes it too. After a vote
        ``probabilities`` are the shares of votes.

    Raises:
        UsageError: for fewer than two members, one member twice, or written texts.
        DataError: for members with different test rows or classes.
    """
    _check_members(runs, how)
    if data is not None:
        from course_lib.finetune.runs import evaluate_run

        folders = [r for r in runs if not isinstance(r, Evaluation)]
        if len(folders) < len(runs):
            raise UsageError("new data need run folders, not evaluations")
        runs = [evaluate_run(folder, data) for folder in folders]
    aligned_scores(runs)  # the same rows with the same gold
    found = [{r["id"]: r for r in predictions_of(run)} for run in runs]
    kept = ("id", "gold", "group")
    rows = [
        {k: r[k] for k in kept if k in r} | _together([m[i] for m in found], how)
        for i, r in found[0].items()
    ]
    return Evaluation(_measure(rows, how), tuple(rows))


def ensemble_predict(
    runs: Sequence[Path | str], texts: Sequence[str], *, how: str = "average"
) -> list[dict[str, Any]]:
    """Apply several runs to texts together; see ``ensemble`` and ``runs.predict_run``."""
    from course_lib.finetune.runs import predict_run

    _check_members(runs, how)
    found = [predict_run(run, texts) for run in runs]
    return [_together(members, how) for members in zip(*found, strict=True)]


def ensemble_gain(
    runs: Sequence[Scored], *, how: str = "average", metric: str = "auto", seed: int = 0
) -> Gain:
    """Compare an ensemble with its members on the test rows they were measured on.

    Args:
        runs, how: as :func:`ensemble` takes them.
        metric: as :func:`compare.compare_runs` takes it.
        seed: of the bootstrap.
    """
    whole = ensemble(runs, how=how)
    scores, chosen = aligned_scores([whole, *runs], metric)
    names = [f"{i}: {name_of(run, i)}" for i, run in enumerate(runs, 1)]
    named = {"ensemble": whole, **dict(zip(names, runs, strict=True))}
    against = _against(named, chosen, seed)
    said = [{r["id"]: r["prediction"] for r in predictions_of(run)} for run in runs]
    apart = [any(s[i] != first for s in said[1:]) for i, first in said[0].items()]
    return Gain(
        chosen,
        scores.shape[1],
        float(scores[0].mean()),
        tuple(float(v) for v in scores[1:].mean(1)),
        paired_bootstrap(scores[0], scores[1:].mean(0), seed=seed),
        against,
        float((scores[1:].max(0) == 1).mean()),
        float(np.mean(apart)),
    )


def _against(named: Mapping[str, Scored], metric: str, seed: int) -> tuple[Comparison, ...]:
    whole = named["ensemble"]
    members = {n: r for n, r in named.items() if n != "ensemble"}
    found = [compare_runs(whole, r, metric=metric, seed=seed) for r in members.values()]
    corrected = holm([c.p for c in found])
    return tuple(
        dataclasses.replace(c, names=("ensemble", n), p_holm=p)
        for c, n, p in zip(found, members, corrected, strict=True)
    )


def _check_members(runs: Sequence[Scored], how: str) -> None:
    if how not in HOW:
        raise UnknownNameError("way to combine", how, HOW)
    places = [id(r) if isinstance(r, Evaluation) else Path(r).resolve() for r in runs]
    twice = [name_of(r, i) for i, r in enumerate(runs) if places[i] in places[:i]]
    if len(runs) < 2 or twice:
        raise UsageError(
            "an ensemble needs at least two different members",
            got=f"{twice[0]} twice" if twice else f"{len(runs)}",
        )


def _together(rows: Sequence[Row], how: str) -> dict[str, Any]:
    """Combine the members' predictions of one row."""
    said = [r["prediction"] for r in rows]
    if all("probabilities" in r for r in rows):
        return _class(rows, how)
    if how == "average":
        raise UsageError(
            "only class probabilities can be averaged",
            got="predictions without probabilities",
            next_step="use how='vote'",
        )
    if isinstance(said[0], list):
        return {"prediction": [_most(list(words)) for words in zip(*said, strict=True)]}
    if "gold" in rows[0] and not isinstance(rows[0]["gold"], list):
        raise UsageError(
            "written texts cannot be voted on: no two are the same",
            next_step="compare them with compare_runs instead",
        )
    chosen = _most([metrics.normalise_answer(a) for a in said])
    return {"prediction": next(a for a in said if metrics.normalise_answer(a) == chosen)}


def _most(said: Sequence[str]) -> str:
    return Counter(said).most_common(1)[0][0]  # of equals the one met first


def _class(rows: Sequence[Row], how: str) -> dict[str, Any]:
    """Combine class probabilities of one row by averaging, or its classes by vote."""
    names = list(rows[0]["probabilities"])
    for row in rows[1:]:
        other = set(names) ^ set(row["probabilities"])
        if other:
            raise DataError(
                "the members do not know the same classes",
                got=f"not in all of them: {', '.join(sorted(other))}",
                next_step="put only runs on the same labels together",
            )
    mean = {n: math.fsum(r["probabilities"][n] for r in rows) / len(rows) for n in names}
    if how == "average":
        return {"prediction": max(mean, key=lambda n: mean[n]), "probabilities": mean}
    votes = Counter(r["prediction"] for r in rows)
    winner = max(names, key=lambda n: (votes[n], mean[n]))
    return {"prediction": winner, "probabilities": {n: votes[n] / len(rows) for n in names}}


def _measure(rows: Sequence[Row], how: str) -> dict[str, Any]:
    """Give the metrics a single run of this kind would have."""
    gold, said = [r["gold"] for r in rows], [r["prediction"] for r in rows]
    if "probabilities" in rows[0]:
        found = metrics.classification(gold, said)
        if how == "average":  # in nats a row, as a single run's
            at_gold = [max(r["probabilities"].get(r["gold"], 0.0), 1e-300) for r in rows]
            found["loss"] = -math.fsum(map(math.log, at_gold)) / len(rows)
        return found
    if isinstance(said[0], list):
        return dict(metrics.tagging(gold, said))
    return metrics.question_answering(said, gold, [str(r.get("group") or r["id"]) for r in rows])


@dataclass(frozen=True)
class OverSeeds:
    """A figure, or a difference of two, over several seeds and the test rows they share.

    Attributes:
        metric: what was measured; seeds, rows: how many.
        values: one a seed.
        mean, low, high: their mean and its 95% interval for other seeds *and* other rows.
        seed_spread: standard deviation over seeds (nan for one seed, then not counted).
        row_spread: standard error of the mean over rows, all seeds together.
        p: two-sided, against zero.
    """

    metric: str
    seeds: int
    rows: int
    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    seed_spread: float
    row_spread: float
    p: float


def over_seeds(
    runs: Sequence[Scored],
    against: Sequence[Scored] = (),
    *,
    metric: str = "auto",
    level: float = 0.95,
) -> OverSeeds:
    """Summarise runs that differ in their seed alone; with ``against``, their lead over others.

    Seeds and rows are crossed: each seed met the same rows. The variance of the mean is taken
    as that of the seeds' means over seeds plus that of the rows' means over rows, which counts
    what is left of both twice and so errs to the wide side (Owen 2007), with Student's t at
    the degrees of freedom of Satterthwaite (1946).

    Args:
        runs: one a seed, at least one.
        against: the other arm's runs, of the same seeds in the same order; () for none.
        metric: as :func:`compare.compare_runs` takes it.
        level: coverage of the interval.

    Raises:
        UsageError: for no runs, or two arms of different length.
    """
    from scipy import stats

    if not runs or (against and len(against) != len(runs)):
        raise UsageError("seeds do not pair up", got=f"{len(runs)} runs, {len(against)} others")
    table, chosen = aligned_scores([*runs, *against], metric)
    scores = table[: len(runs)] - (table[len(runs) :] if against else 0.0)
    (k, n), values = scores.shape, scores.mean(1)
    by_seed = float(values.var(ddof=1)) / k if k > 1 else 0.0
    by_row = float(scores.mean(0).var(ddof=1)) / n
    error, freedom = math.sqrt(by_seed + by_row), float(n - 1)
    if by_seed:
        freedom = (by_seed + by_row) ** 2 / (by_seed**2 / (k - 1) + by_row**2 / (n - 1))
    mean = float(values.mean())
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    spread = math.sqrt(by_seed * k) if k > 1 else math.nan
    every = tuple(float(v) for v in values)
    return OverSeeds(
        chosen, k, n, every, mean, mean - half, mean + half, spread, math.sqrt(by_row), p
    )
