"""Drift on the shop's stream: noticed soon after row 501, and quiet on streams that do not drift.

Here the classifier is a word count with logistic regression, because it is fitted in a second; a
monitor asks only for texts, probabilities and, where wanted, embeddings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.finetune.deploy.drift import Monitor, observe, psi, watch
from course_lib.finetune.deploy.drift_signals import mmd
from course_lib.finetune.deploy.registry import Registry
from course_lib.finetune.recipe import finetune

DATA = files.course_root() / "datasets"
Rows = list[dict[str, Any]]


def texts_of(name: str) -> list[str]:
    return [str(row["text"]) for _, row in files.read_jsonl(DATA / name)]


@pytest.fixture(scope="module")
def training() -> list[str]:
    return texts_of("support_tickets/train.jsonl")


@pytest.fixture(scope="module")
def rows(training: list[str]) -> dict[str, Rows]:
    """The stream and the held-out tickets, with a classifier's probabilities."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labels = [r["intent"] for _, r in files.read_jsonl(DATA / "support_tickets/train.jsonl")]
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10))
    model.fit(training, labels)

    def apply(texts: list[str]) -> Rows:
        found = model.predict_proba(texts)
        return [
            {"text": t, "probabilities": dict(zip(model.classes_, map(float, p), strict=True))}
            for t, p in zip(texts, found, strict=True)
        ]

    held_out = texts_of("support_tickets/validation.jsonl"), texts_of("support_tickets/test.jsonl")
    return {
        "stream": apply(texts_of("stream/stream.jsonl")),
        "validation": apply(held_out[0]),
        "test": apply(held_out[1]),
    }


@pytest.fixture(scope="module")
def monitor(rows: dict[str, Rows], training: list[str]) -> Monitor:
    """Watches with the stream's first 250 rows as its reference."""
    return Monitor(rows["stream"][:250], vocabulary=training)


def first_alarm(monitor: Monitor, stream: Rows) -> Any:
    monitor.reset()
    return next((a for a in map(monitor.update, stream) if a), None)


def test_the_planted_drift_is_noticed_within_100_rows_and_not_before(
    monitor: Monitor, rows: dict[str, Rows]
) -> None:
    planted = next(i for i, r in enumerate(rows["stream"]) if "Tern" in r["text"])
    assert planted >= 500, "the datasheet says row 501"
    alarm = first_alarm(monitor, rows["stream"][250:])
    assert alarm and 500 < alarm.row + 250 <= 600
    assert str(alarm).startswith(f"drift after {alarm.row} rows: ")
    for value, limit in alarm.signals.values():
        assert value > limit


def test_watching_gives_the_alarms_at_their_places_and_every_look(
    monitor: Monitor, rows: dict[str, Rows]
) -> None:
    first = first_alarm(monitor, rows["stream"][250:])
    monitor.reset()
    alarms, track = watch(monitor, rows["stream"][250:620], after=250)
    assert alarms[0].row == first.row + 250 and alarms[0].signals == first.signals
    assert [row for row, _ in track] == list(range(350, 621, monitor.every))
    look = dict(track)[alarms[0].row]
    assert all(look[name] == value for name, (value, _) in first.signals.items())


def test_no_alarm_in_twenty_undrifted_streams(
    monitor: Monitor, rows: dict[str, Rows], training: list[str]
) -> None:
    """Ten of the stream before the drift, ten of held-out tickets, each beside its own kind."""
    rng = np.random.default_rng(0)
    later = rows["stream"][250:500]
    alarms = []
    for _ in range(10):
        stream = [later[i] for i in rng.integers(0, len(later), 400)]
        alarms.append(first_alarm(monitor, stream))
    tickets = Monitor(rows["validation"], vocabulary=training)
    for _ in range(10):
        stream = [rows["test"][i] for i in rng.integers(0, 200, 400)]
        alarms.append(first_alarm(tickets, stream))
    assert alarms == [None] * 20


def test_an_alarm_rolls_the_champion_back(
    monitor: Monitor, rows: dict[str, Rows], tiny_base: Path, tmp_path: Path
) -> None:
    """The rehearsal: two versions, the second is champion, the stream drifts, the first is back."""
    settings = {"max_steps": 1, "train_rows": 16, "validation_rows": 8, "test_rows": 8}
    registry = Registry(tmp_path / "models")
    for seed in (1, 2):
        run = tmp_path / f"run{seed}"
        finetune(
            "classification", "support_tickets", base=str(tiny_base), settings=settings,
            seed=seed, out=run,
        )  # fmt: skip
        registry.add(run, "tickets")
    registry.promote("tickets", "v0001")
    registry.promote("tickets", "v0002", force=True, reason="rehearsal")
    monitor.reset()
    for row in rows["stream"][250:]:
        if alarm := monitor.update(row):
            registry.rollback("tickets", reason=str(alarm))
            monitor.reset()
            break
    champion = registry.champion("tickets")
    assert champion and champion.version == "v0001"
    assert registry.history("tickets")[-1]["reason"].startswith("drift after")
    # the version the champion is, is a run folder: it can be watched at once
    seen = observe(champion.folder, [r["text"] for r in rows["stream"][:30]])
    again = Monitor(seen, window=10, every=5, horizon=40)
    assert len(seen[0]["probabilities"]) == 8 and seen[0]["embedding"].shape == (32,)
    assert set(again.limits) == set(monitor.limits) | {"embedding"}
    assert first_alarm(again, seen) is None


def test_a_signal_is_raised_once_and_names_what_moved(
    monitor: Monitor, rows: dict[str, Rows]
) -> None:
    sure = rows["stream"][300:420]
    labels = sorted(sure[0]["probabilities"])
    one_class = [{**r, "probabilities": {n: float(n == labels[0]) for n in labels}} for r in sure]
    monitor.reset()
    found = [a for a in map(monitor.update, one_class * 2) if a]
    raised = [name for a in found for name in a.signals]
    assert raised.count("classes") == 1 and "length" not in raised and "words" not in raised
    assert monitor.values()["abstention"] < 0, "a model that is always sure abstains less"
    monitor.reset()
    # three quarters of the messages unsure, where a fifth is usual
    even = [{**r, "probabilities": dict.fromkeys(labels, 1 / 8)} for r in sure]
    mixed = [b if i % 4 else a for i, (a, b) in enumerate(zip(sure, even, strict=True))]
    found = [a for a in map(monitor.update, mixed) if a]
    assert "abstention" in found[0].signals


def test_limits_leave_the_allowed_share_of_streams(rows: dict[str, Rows]) -> None:
    """More false alarms allowed, lower limits; and the same seed gives the same limits."""
    reference = rows["stream"][:120]
    make = [Monitor(reference, window=50, horizon=100, false_alarms=f) for f in (0.01, 0.01, 0.4)]
    assert make[0].limits == make[1].limits
    assert all(make[2].limits[n] < make[0].limits[n] for n in make[0].limits)
    # without a vocabulary a word of one reference row alone is unknown there, as in the stream
    quiet = first_alarm(make[0], rows["stream"][120:240])
    assert quiet is None


def test_psi_is_the_symmetric_divergence() -> None:
    p, q = [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]
    assert psi(p, q) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p))
    assert psi(p, p) == 0
    with pytest.raises(UsageError, match="none of them empty"):
        psi([0.0, 1.0], [0.5, 0.5])


def test_mmd_is_unbiased_and_leaves_out_pairs_of_a_row_with_itself() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        x, y = rng.normal(size=(12, 3)), rng.normal(size=(30, 3))
        one, all_of = np.ones((1, 12)), np.ones(30)
        found.append(float(mmd(one, all_of, x @ x.T, x @ y.T, y @ y.T)[0]))
    error = np.std(found) / 20
    assert abs(np.mean(found)) < 3 * error
    twice = np.array([[2.0] * 6 + [0.0] * 6])
    x6 = x[:6]
    plain = mmd(np.ones((1, 6)), all_of, x6 @ x6.T, x6 @ y.T, y @ y.T)
    assert mmd(twice, all_of, x @ x.T, x @ y.T, y @ y.T) == pytest.approx(plain)


def test_bad_input_is_named(rows: dict[str, Rows], monitor: Monitor, tiny_base: Path) -> None:
    good = rows["stream"][0]
    with pytest.raises(DataError, match="shorter than a window; got 20 rows; expected at least"):
        Monitor(rows["stream"][:20])
    with pytest.raises(UsageError, match="window=5"):
        Monitor(rows["stream"], window=5)
    with pytest.raises(UsageError, match="false_alarms=0"):
        Monitor(rows["stream"], false_alarms=0)
    monitor.reset()
    with pytest.raises(UsageError, match="nothing was seen yet"):
        monitor.values()
    monitor.update(good)
    for bad, match in (
        ({**good, "text": None}, "stream row 2: a row needs a text"),
        ({**good, "probabilities": {"a": 1.0}}, "stream row 2: .* reference's labels; got a"),
        ({**good, "probabilities": dict.fromkeys(good["probabilities"], 0.5)}, "sum to 1"),
        ({**good, "probabilities": dict.fromkeys(good["probabilities"], float("nan"))}, "sum"),
    ):
        with pytest.raises(DataError, match=match):
            monitor.update(bad)
    assert monitor.seen == 1, "a bad row is not counted"
    vectors = [{**r, "embedding": np.ones(4) * i} for i, r in enumerate(rows["stream"][:30])]
    with pytest.raises(DataError, match=r"reference row 3: .* got shape \(3,\)"):
        Monitor([*vectors[:2], {**vectors[2], "embedding": np.ones(3)}, *vectors[3:]], window=10)
    with pytest.raises(DataError, match="reference row 1: a row needs the probabilities"):
        Monitor([json.loads(json.dumps({"text": "x"}))] * 20, window=10)
