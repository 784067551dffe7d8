"""Experiment tables: the interval, and what is read from kept runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from course_lib.errors import DataError, UnknownNameError
from course_lib.finetune import experiment


def test_mean_interval_is_students_t() -> None:
    values = [0.81, 0.84, 0.79, 0.85, 0.80]
    mean, low, high = experiment.mean_interval(values)
    expected = stats.t.interval(0.95, 4, loc=stats.tmean(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected, abs=1e-12)
    assert mean == pytest.approx(0.818)


@pytest.fixture()
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "notebooks" / "experiments"
    folder.mkdir(parents=True)
    (tmp_path / "datasets").mkdir()
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    (folder / "tiny.yaml").write_text(
        "task: classification\ndata: x\nmetric: accuracy\nsizes: [10, all]\n"
        "arms:\n  fine-tuned:\n  from scratch: {from_scratch: true}\n"
    )
    return folder


def test_table_reads_arms_and_baselines(course: Path) -> None:
    (course / "tiny").mkdir()
    for seed, value in ((1, 0.5), (2, 0.7)):
        run = {"metrics": {"after": {"accuracy": value}, "baselines": {"tfidf": {"accuracy": 0.4}}}}
        (course / "tiny" / f"fine-tuned.10.{seed}.json").write_text(json.dumps(run))
    one = {"accuracy": 0.9, "accuracy_interval": [0.85, 0.95]}
    run = {"metrics": {"after": one, "baselines": {}}}
    (course / "tiny" / "from-scratch.all.1.json").write_text(json.dumps(run))
    cells = {(c.arm, c.size): c for c in experiment.table("tiny")}
    assert cells["fine-tuned", "10"].mean == pytest.approx(0.6)
    assert cells["tfidf", "10"].values == (0.4, 0.4)
    assert (cells["from scratch", "all"].low, cells["from scratch", "all"].high) == (0.85, 0.95)


def test_wrong_definitions_are_refused(course: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tiny'"):
        experiment.read_definition("tinny")
    (course / "bad.yaml").write_text("task: classification\nmetrics: accuracy\n")
    with pytest.raises(DataError, match=r"bad\.yaml: .*missing \['arms', 'data', 'metric'\]"):
        experiment.read_definition("bad")


def test_readme_states_what_the_kept_runs_say() -> None:
    from readme_tables import README, page

    assert page() in README.read_text(encoding="utf-8"), "python tests/readme_tables.py --write"
