"""Experiment tables: the interval, and what is read from kept runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from scipy import stats

from course_lib.cli import main
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
    (tmp_path / "datasets" / "manifest.json").write_text('{"sets": {}}')
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


def test_markdown_names_baselines_in_words_and_invents_no_interval() -> None:
    cells = [
        experiment.Cell("fine-tuned", "all", (0.6,), 0.6, 0.6, 0.6),
        experiment.Cell("tfidf_logreg", "all", (0.5, 0.5), 0.5, 0.5, 0.5),
        experiment.Cell("majority", "all", (0.4,), 0.4, 0.3, 0.5),
    ]
    assert experiment.markdown(cells).splitlines()[2:] == [
        "| fine-tuned | 60.0 |",
        "| TF-IDF + logistic regression | 50.0 [50.0, 50.0] |",
        "| commonest label | 40.0 [30.0, 50.0] |",
    ]


def test_the_command_shows_shares_in_percent_and_perplexity_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = {}
    for name in ("handbook", "ways"):  # every run is kept, so nothing is trained
        assert main(["experiment", name]) == 0
        shown[name] = capsys.readouterr().out
    for name, by in (("handbook", 1), ("ways", 100)):
        for cell in experiment.table(name):
            assert f"{by * cell.mean:.1f}" in shown[name]


def test_wrong_definitions_are_refused(course: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tiny'"):
        experiment.read_definition("tinny")
    (course / "bad.yaml").write_text("task: classification\nmetrics: accuracy\n")
    with pytest.raises(DataError, match=r"bad\.yaml: .*missing \['arms', 'data', 'metric'\]"):
        experiment.read_definition("bad")


def test_workers_end_with_the_command_and_one_lost_is_told(course: Path, tmp_path: Path) -> None:
    rows = [{"text": f"word {i % 7} and {i}", "label": "ab"[i % 2]} for i in range(400)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))
    (course / "long.yaml").write_text(
        "task: classification\ndata: x\nmetric: accuracy\nseeds: [1, 2]\n"
        "arms:\n  fine-tuned: {settings: {epochs: 200}}\n"
    )

    def workers(parent: int) -> list[psutil.Process]:
        for _ in range(240):
            found = [
                child
                for child in psutil.Process(parent).children(recursive=True)
                if "spawn_main" in " ".join(child.cmdline())
            ]
            if len(found) == 2 and all(sum(c.cpu_times()[:2]) > 3 for c in found):
                return found
            time.sleep(0.25)
        raise AssertionError("the workers did not start")

    command = [sys.executable, "-m", "course_lib", "experiment", "long", "--data", str(data),
               "--jobs", "2"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        workers(process.pid)[0].kill()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3 and "fewer --jobs; finished runs are kept" in said, said
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        found = workers(process.pid)
        process.kill()
    _, alive = psutil.wait_procs(found, timeout=20)
    assert not alive


def test_readme_states_what_the_kept_runs_say() -> None:
    from readme_tables import README, page

    assert page() in README.read_text(encoding="utf-8"), "python tests/readme_tables.py --write"
