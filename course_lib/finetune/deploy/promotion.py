"""Whether a candidate may take the champion's place: a paired test on the same rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib.errors import UsageError
from course_lib.finetune import compare

LEVEL = 0.90  # of the two-sided interval: its lower end is the one-sided 95% bound


@dataclass(frozen=True)
class Outcome:
    """A candidate beside a champion.

    Attributes:
        passed: the lower end of the interval is at least ``-margin``.
        data: what both were measured on; rows: how many.
        metric: what a row scores; candidate, champion: means over rows.
        difference: candidate less champion; low, high: its 90% interval.
        p: two-sided p-value, McNemar's where rows are right or wrong.
        margin: the loss that was allowed.
    """

    passed: bool
    data: str
    rows: int
    metric: str
    candidate: float
    champion: float
    difference: float
    low: float
    high: float
    p: float
    margin: float

    def record(self) -> dict[str, Any]:
        """Give it as a plain map, for the history."""
        return asdict(self)

    def __str__(self) -> str:
        """Give one clause, such as for an error."""
        return (
            f"{self.metric} {self.candidate:.3f} against {self.champion:.3f} on {self.rows} rows: "
            f"difference {self.difference:+.3f}, 90% interval [{self.low:+.3f}, {self.high:+.3f}], "
            f"p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'}"
        )


def paired_test(
    candidate: Path, champion: Path, test: str | None = None, margin: float = 0.02
) -> Outcome:
    """Test that a run is not worse than another by more than a margin (non-inferiority).

    Not finding a difference is no proof that there is none: on few rows any candidate would
    pass. So the interval of the paired difference has to lie above ``-margin``.

    Args:
        candidate, champion: run folders.
        test: a data set on whose test split both are measured now; None takes the predictions
            kept with the runs.
        margin: loss in score that is no matter, 0 to 1.

    Raises:
        DataError: when the two were not measured on the same rows.
        UsageError: for a margin outside 0 to 1.
    """
    if not 0 <= margin < 1:
        raise UsageError("the margin must lie between 0 and 1", got=str(margin))
    runs: list[compare.Scored] = [candidate, champion]
    if test is not None:
        from course_lib.finetune.runs import evaluate_run

        runs = [evaluate_run(candidate, test), evaluate_run(champion, test)]
    (ours, theirs), metric = compare.aligned_scores(runs)
    found = compare.paired_bootstrap(ours, theirs, level=LEVEL)
    p = found.p
    if metric == "accuracy":
        p = compare.mcnemar(list(ours == 1), list(theirs == 1)).p
    return Outcome(
        passed=found.low >= -margin,
        data=test or "the predictions kept with both runs",
        rows=len(ours),
        metric=metric,
        candidate=float(ours.mean()),
        champion=float(theirs.mean()),
        difference=found.mean,
        low=found.low,
        high=found.high,
        p=p,
        margin=margin,
    )
