"""Sweeps on course data: what is searched, counted once, ended early, and never looked at."""

from __future__ import annotations

import gc
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from course_lib import files
from course_lib.errors import CourseError, EnvironmentProblem, Stopped, UnknownNameError, UsageError
from course_lib.finetune.search import search_space, sweep_study, sweep_workers
from course_lib.finetune.search.sweep import Sweep, read_sweep, sweep
from course_lib.finetune.search.sweep_compare import compare_methods
from course_lib.finetune.search.sweep_results import heat, importance

TICKETS = ("classification", "support_tickets")
RATE = {"low": 1e-4, "high": 1e-2, "log": True}
FEW = {"train_rows": 32, "validation_rows": 24, "test_rows": 24, "epochs": 2, "batch_size": 8}
# A clean process with everything imported, from which others start at once.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "course_lib.finetune.search.sweep",
        "transformers.models.llama.modeling_llama",
        "peft",
        __name__,
    ]
)


ELSEWHERE = """
import json, sys
import torch
from course_lib.finetune.search.sweep import sweep
torch.set_num_threads(1)
base, out, storage, settings = sys.argv[1:]
sweep("classification", "support_tickets", {"learning_rate": {"low": 1e-4, "high": 1e-2,
      "log": True}}, method="random", trials=4, prune="none", measure=False, base=base, out=out,
      storage=storage, settings=json.loads(settings))
"""


def few(base: Path, **changed: Any) -> dict[str, Any]:
    return {"base": str(base), "settings": FEW | changed, "prune": "none", "measure": False}


def study_of(folder: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'study.db'}")
    return study.get_trials(deepcopy=False)


def settled_once(found: Sweep, slots: int) -> None:
    assert Counter(t.slot for t in found.finished) == Counter(range(slots))


def wait_for(what: Any, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if seen := what():
            return seen
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "the search space is empty"),
        ({"learning_rat": RATE}, "'learning_rat'(.|\n)*did you mean 'learning_rate'"),
        ({"learning_rate": {"lo": 1, "high": 2}}, "'lo'(.|\n)*did you mean 'low'"),
        ({"learning_rate": {"high": 2}}, "needs numbers"),
        ({"learning_rate": {"low": 1e-2, "high": 1e-3}}, "low must be below high"),
        ({"learning_rate": {"low": 0, "high": 1, "log": True}}, "needs low above 0"),
        ({"learning_rate": {"low": math.nan, "high": 1}}, "needs numbers"),
        ({"learning_rate": {**RATE, "step": 0.1}}, "either step or log"),
        ({"epochs": {"low": 1.5, "high": 3}}, "needs whole bounds"),
        ({"batch_size": []}, "not a list of numbers"),
        ({"batch_size": 8}, "not a list of numbers"),
        ({"batch_size": [8, 8]}, "listed twice"),
        ({"batch_size": [8, 0]}, "batch_size must be at least 1"),
        ({"batch_size": ["eight"]}, "batch_size cannot be 'eight'"),
        ({"learning_rate": {"low": 1, "high": 20}}, "learning_rate must lie between"),
        ({"seed": [1, 2]}, "luck, not a better setting"),
        ({"validation_rows": [10, 20]}, "cannot be compared"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_refused(space: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        sweep(*TICKETS, space, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_other_wrong_arguments_are_refused(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, out = {"learning_rate": RATE}, tmp_path / "s"
    with pytest.raises(UnknownNameError, match="did you mean 'random'"):
        sweep(*TICKETS, space, method="randam", out=out)
    with pytest.raises(UnknownNameError, match="did you mean 'median'"):
        sweep(*TICKETS, space, prune="medain", out=out)
    with pytest.raises(UsageError, match="jobs must be at least 1"):
        sweep(*TICKETS, space, jobs=0, out=out)
    with pytest.raises(UsageError, match="trials must be at least 1"):
        sweep(*TICKETS, space, trials=0, out=out)
    with pytest.raises(UsageError, match="cannot share a storage in memory"):
        sweep(*TICKETS, space, jobs=2, storage=optuna.storages.InMemoryStorage(), out=out)
    with pytest.raises(UsageError, match="how many values to take"):
        sweep(*TICKETS, space, method="grid", out=out, **few(tiny_base))
    with pytest.raises(UsageError, match="20,000 points"):
        search_space.grid({"warmup_share": {"low": 0, "high": 1, "points": 20_000}})
    with pytest.raises(CourseError, match="the sweep's nosuch storage cannot be opened") as told:
        sweep(*TICKETS, space, storage="nosuch://me:secret@host/db", out=out, **few(tiny_base))
    assert "secret" not in str(told.value)
    monkeypatch.setattr(sweep_workers, "CONNECT_WITHIN", 0.5)
    with pytest.raises(EnvironmentProblem, match="Dask scheduler cannot be reached"):
        sweep(*TICKETS, space, scheduler="tcp://127.0.0.1:1", out=out)


def test_a_grid_covers_every_point_once_and_only_the_best_sees_the_test_rows(
    tiny_base: Path, tmp_path: Path
) -> None:
    space = {"learning_rate": {**RATE, "points": 3}, "batch_size": [8, 16], "freeze": ["none", "9"]}
    said: list[str] = []
    options = few(tiny_base) | {"measure": True, "method": "grid", "out": tmp_path / "grid"}
    found = sweep(*TICKETS, space, say=said.append, **options)
    points = [tuple(t.settings.values()) for t in found.finished]
    assert sorted(points) == sorted(tuple(p.values()) for p in search_space.grid(space))
    assert len(points) == len(set(points)) == 12
    failed = [t for t in found.trials if t.state == "failed"]
    assert {t.settings["freeze"] for t in failed} == {"9"} and len(failed) == 6
    assert "cannot freeze" in failed[0].reason and any("failed (UsageError" in s for s in said)
    best = found.best
    assert best is not None and best.value == max(t.value or 0 for t in found.trials)
    run = files.read_json(tmp_path / "grid" / "best" / "run.json")
    assert found.test == run["metrics"]["after"]
    assert {k: run["settings"][k]["value"] for k in space} == best.settings
    history = [r for _, r in files.read_jsonl(tmp_path / "grid" / "best" / "history.jsonl")]
    assert best.value == max(r.get("validation_accuracy", 0) for r in history)
    assert read_sweep(tmp_path / "grid") == found
    again = sweep(*TICKETS, space, resume=True, **options)  # nothing is left to do
    assert again.trials == found.trials and again.test == found.test
    with pytest.raises(UsageError, match=r"there already(.|\n)*--resume"):
        sweep(*TICKETS, space, **options)
    with pytest.raises(UsageError, match="begun with another space"):
        sweep(*TICKETS, {**space, "batch_size": [8, 32]}, resume=True, **options)
    _look_at(found)


def _look_at(found: Sweep) -> None:
    """Heat map, importance and figures of a finished sweep."""
    from matplotlib import pyplot

    from course_lib.show import sweeps

    cells = heat(found, "learning_rate", "batch_size")
    assert cells.ys == ("8", "16") and cells.xs == ("0.0001", "0.001", "0.01")
    assert sum(map(sum, cells.counts)) == 6 and cells.counts == ((1, 1, 1), (1, 1, 1))
    assert found.best is not None and max(map(max, cells.table)) == found.best.value
    for evaluator in ("fanova", "ped-anova"):
        shares = importance(found, evaluator=evaluator)
        assert set(shares) == {"learning_rate", "batch_size", "freeze"}
        assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(UnknownNameError, match="did you mean 'batch_size'"):
        heat(found, "learning_rate", "batchsize")
    with pytest.raises(UsageError, match="two different settings"):
        heat(found, "batch_size", "batch_size")
    few_trials = Sweep(found.definition, found.metric, found.finished[:1])
    with pytest.raises(UsageError, match="at least 4 complete trials"):
        importance(few_trials)
    assert found.markdown().count("\n") == 11 and "| failed |" in found.markdown(12)
    figure = sweeps.heat_map(
        cells.table, cells.xs, cells.ys, xlabel="learning rate", ylabel="batch size"
    )
    assert len(figure.axes[0].texts) == 6
    bars = sweeps.importance_bars(importance(found))
    assert [t.get_text() for t in bars.axes[0].get_yticklabels()][-1] == next(
        iter(importance(found))
    )
    curve = [(steps, value) for _, steps, value in found.curve()]
    lines = sweeps.search_curves({"grid": [curve]}, ylabel="validation accuracy")
    assert list(lines.axes[0].lines[0].get_xdata()) == [steps for steps, _ in curve]
    pyplot.close("all")


def test_trials_do_not_depend_on_the_test_rows(tiny_base: Path, tmp_path: Path) -> None:
    source = files.course_root() / "datasets" / "support_tickets"
    values = []
    for name in ("as-it-is", "spoilt"):
        shutil.copytree(source, tmp_path / name)
        if name == "spoilt":
            rows = [row for _, row in files.read_jsonl(source / "test.jsonl")]
            lines = [json.dumps(r | {"text": f"nonsense {i}"}) for i, r in enumerate(rows)]
            (tmp_path / name / "test.jsonl").write_text("\n".join(lines) + "\n")
        found = sweep(
            "classification", str(tmp_path / name), {"learning_rate": RATE}, method="random",
            trials=2, out=tmp_path / f"sweep-{name}", **few(tiny_base),
        )  # fmt: skip
        values.append([(t.settings, t.value, t.loss) for t in found.trials])
        assert not found.test and not (tmp_path / f"sweep-{name}" / "best").exists()
    assert values[0] == values[1]


def test_a_hopeless_trial_is_ended_early(tiny_base: Path, tmp_path: Path) -> None:
    space = {"learning_rate": [3e-3, 5e-3, 8e-3, 1e-2, 1e-8]}

    def order(seed: int) -> list[float]:
        points = search_space.grid(space)
        random.Random(seed).shuffle(points)
        return [p["learning_rate"] for p in points]

    seed = next(s for s in range(100) if order(s)[-1] == 1e-8)
    options = few(tiny_base, epochs=4) | {"prune": "median", "seed": seed}
    found = sweep(
        "language-modeling", "support_tickets", space, method="grid", out=tmp_path / "s", **options
    )
    *good, hopeless = found.finished
    assert found.metric == "validation_loss" and {t.state for t in good} == {"complete"}
    assert hopeless.state == "pruned" and hopeless.settings == {"learning_rate": 1e-8}
    assert hopeless.steps == good[0].steps // 2 and len(hopeless.evaluations) == 2
    assert found.best is not None and found.best.value == min(t.value or 99 for t in good)


def test_hyperband_ends_trials_at_its_rungs_and_changes_nothing_else(
    tiny_base: Path, tmp_path: Path
) -> None:
    good, hopeless = [3e-3, 5e-3, 8e-3], [1e-8, 2e-8, 3e-8, 4e-8, 5e-8]
    options = few(tiny_base, epochs=9) | {"method": "grid", "seed": 1}
    search = ("language-modeling", "support_tickets", {"learning_rate": good + hopeless})
    found = sweep(*search, out=tmp_path / "s", **options | {"prune": "hyperband"})
    settled_once(found, 8)
    assert {t.state for t in found.finished} == {"complete", "pruned"}
    ended = [t for t in found.finished if t.state == "pruned"]
    assert {t.settings["learning_rate"] for t in ended} & set(hopeless)
    assert {len(t.evaluations) for t in ended} <= {1, 3}, "the rungs before the last evaluation"
    whole = [t for t in found.finished if t.state == "complete"]
    assert {len(t.evaluations) for t in whole} == {9}
    assert found.best is not None and found.best.settings["learning_rate"] in good
    assert found.best.value == min(t.value or 99 for t in whole)
    plain = sweep(*search, out=tmp_path / "p", **options)
    values = {t.settings["learning_rate"]: t.evaluations for t in plain.finished}
    for trial in found.finished:
        same = values[trial.settings["learning_rate"]][: len(trial.evaluations)]
        assert trial.evaluations == same, "what was trained was trained the same"
    assert sum(t.steps for t in found.finished) < 0.8 * sum(t.steps for t in plain.finished)


def test_hyperband_goes_with_processes(tiny_base: Path, tmp_path: Path) -> None:
    good, hopeless = [8e-3, 1e-2], [1e-8, 2e-8, 3e-8, 4e-8]
    options = few(tiny_base, epochs=3) | {"method": "grid", "prune": "hyperband", "jobs": 2}
    found = sweep(
        "language-modeling", "support_tickets", {"learning_rate": good + hopeless},
        out=tmp_path / "s", **options,
    )  # fmt: skip
    settled_once(found, 6)
    assert {(t.state, len(t.evaluations)) for t in found.finished} == {
        ("complete", 3), ("pruned", 1),
    }  # fmt: skip
    assert found.best is not None and found.best.settings["learning_rate"] in good


def test_a_trial_trained_to_its_end_is_complete_whatever_the_pruner_thinks(
    tiny_base: Path, tmp_path: Path
) -> None:
    """One evaluation is the last one: nothing is left to be saved."""
    space = {"learning_rate": [1e-2, 1e-3, 1e-4, 1e-8, 2e-8, 3e-8]}
    options = few(tiny_base, epochs=1) | {"method": "grid", "prune": "hyperband"}
    found = sweep("language-modeling", "support_tickets", space, out=tmp_path / "s", **options)
    assert [t.state for t in found.finished] == ["complete"] * 6


def test_hyperband_goes_with_tpe(tiny_base: Path, tmp_path: Path) -> None:
    options = few(tiny_base, epochs=3) | {"method": "tpe", "prune": "hyperband", "trials": 8}
    space = {"learning_rate": {"low": 1e-8, "high": 1e-2, "log": True}}
    found = sweep("language-modeling", "support_tickets", space, out=tmp_path / "s", **options)
    settled_once(found, 8)
    assert {t.state for t in found.finished} == {"complete", "pruned"}


def test_a_budget_ends_a_search_and_methods_are_compared_on_it(
    tiny_base: Path, tmp_path: Path
) -> None:
    space = {"learning_rate": {**RATE, "points": 2}, "batch_size": [16, 32]}
    options = few(tiny_base, epochs=1) | {"storage": optuna.storages.InMemoryStorage()}
    del options["measure"]
    found = compare_methods(
        *TICKETS, space, budget=6, methods=("random", "tpe"), seeds=(0, 1), out=tmp_path, **options
    )
    assert set(found.curves) == {(m, s) for m in ("random", "tpe") for s in (0, 1)}
    for curve in found.curves.values():
        assert curve[-1][1] <= 6 and [p[0] for p in curve] == list(range(1, len(curve) + 1))
        assert all(a[2] <= b[2] for a, b in itertools.pairwise(curve))
    # the first draws are the same, so that methods differ by what they learn alone
    assert found.at("random", 1, "trials") == found.at("tpe", 1, "trials")
    assert found.markdown([2, 6]).count("|---") == 3 and "[" in found.markdown([6])
    with pytest.raises(UsageError, match="nothing to compare"):
        compare_methods(*TICKETS, space, budget=6, methods=("tpe",))


def _sweep_elsewhere(base: str, out: str, changed: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1)
    sweep(*TICKETS, {"learning_rate": RATE}, method="random", trials=4, out=out, resume=True,
          **few(Path(base), **changed))  # fmt: skip


def test_a_sweep_killed_in_a_trial_goes_on_and_counts_nothing_twice(
    tiny_base: Path, tmp_path: Path
) -> None:
    out, long = tmp_path / "killed", {"epochs": 12}
    process = FORKS.Process(target=_sweep_elsewhere, args=(str(tiny_base), str(out), long))
    process.start()

    def in_the_second_trial() -> Any:
        if not (out / "sweep.json").is_file():
            return None
        second = study_of(out)[1]
        return second if second.state.name == "RUNNING" and second.intermediate_values else None

    cut = wait_for(in_the_second_trial)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = read_sweep(out).finished
    found = sweep(*TICKETS, {"learning_rate": RATE}, method="random", trials=4, out=out,
                  resume=True, **few(tiny_base, **long))  # fmt: skip
    settled_once(found, 4)
    lost = [t for t in found.trials if t.state == "lost"]
    assert [t.number for t in lost] == [cut.number] and len(found.trials) == 5
    again = next(t for t in found.finished if t.slot == lost[0].slot)
    assert again.settings == lost[0].settings and again.state == "complete"
    assert found.finished[0] == before[0], "what was finished stays as it was"
    assert read_sweep(out) == found


def test_two_processes_on_one_storage_lose_nothing(tiny_base: Path, tmp_path: Path) -> None:
    out, longer = tmp_path / "shared", {"epochs": 6}
    process = FORKS.Process(target=_sweep_elsewhere, args=(str(tiny_base), str(out), longer))
    process.start()
    wait_for(lambda: (out / "study.db").is_file())
    _sweep_elsewhere(str(tiny_base), str(out), longer)
    process.join(60)
    assert process.exitcode == 0
    found = read_sweep(out)
    settled_once(found, 4)
    assert len(found.trials) == 4, "no trial was handed out twice"
    assert len({t.user_attrs["owner"][1] for t in study_of(out)}) == 2, "both took part"
    assert not sweep_study.alive([*study_of(out)[0].user_attrs["owner"][:2], 0.0])


def test_a_killed_worker_is_replaced_and_its_trial_run_again(
    tiny_base: Path, tmp_path: Path
) -> None:
    said: list[str] = []

    def kill_one() -> None:
        os.kill(wait_for(multiprocessing.active_children)[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    found = sweep(*TICKETS, {"learning_rate": RATE}, method="random", trials=3, jobs=2,
                  out=tmp_path / "pool", say=said.append, **few(tiny_base))  # fmt: skip
    killer.join()
    settled_once(found, 3)
    assert {t.state for t in found.finished} == {"complete"}
    assert any("ended from outside; its trials are run again" in line for line in said)
    assert 1 <= sum(t.state == "lost" for t in found.trials) <= 2
    assert not multiprocessing.active_children()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # distributed's own sockets, as it ends
def test_a_sweep_on_a_dask_cluster(tiny_base: Path, tmp_path: Path) -> None:
    from distributed import LocalCluster

    made: Any = LocalCluster
    with made(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        found = sweep(
            *TICKETS, {"learning_rate": RATE}, method="random", trials=2,
            scheduler=cluster.scheduler_address, out=tmp_path / "dask", **few(tiny_base),
        )  # fmt: skip
    settled_once(found, 2)
    assert found.forecast["jobs"] == 1 and {t.state for t in found.trials} == {"complete"}
    here = sweep(*TICKETS, {"learning_rate": RATE}, method="random", trials=2,
                 out=tmp_path / "here", **few(tiny_base))  # fmt: skip
    assert [t.settings for t in here.trials] == [t.settings for t in found.trials]
    for a, b in zip(here.trials, found.trials, strict=True):
        assert a.value == pytest.approx(b.value) and a.loss == pytest.approx(b.loss, abs=1e-4)
    assert len(study_of(tmp_path / "dask")) == 2, "what the scheduler held lies in the folder"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_dask_worker_killed_in_mid_trial_costs_no_trial(tiny_base: Path, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    out, space, killed = tmp_path / "dask", {"learning_rate": RATE}, []
    options = few(tiny_base, epochs=12) | {"method": "random", "trials": 5}

    def kill_one(address: str) -> None:
        def halfway() -> Any:
            if not (out / "study.db").is_file() or not (out / "sweep.json").is_file():
                return None
            running = [t for t in study_of(out) if t.state.name == "RUNNING"]
            return [t for t in running if t.intermediate_values and t.last_step < 10]

        made: Any = Client
        with made(address, set_as_default=False) as client:
            pids = client.run(os.getpid)
            trials = wait_for(halfway)
            busy = [pids[worker] for worker, tasks in client.processing().items() if tasks]
            os.kill(busy[0], signal.SIGKILL)
            killed.extend([busy[0], len(trials)])

    made: Any = LocalCluster
    with made(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        killer = threading.Thread(target=kill_one, args=(cluster.scheduler_address,))
        killer.start()
        found = sweep(*TICKETS, space, scheduler=cluster.scheduler_address, out=out, **options)
        killer.join()
    assert killed, "a worker was killed while it trained"
    settled_once(found, 5)
    assert {t.state for t in found.finished} == {"complete"}
    assert read_sweep(out) == found and len(study_of(out)) == len(found.trials)
    here = sweep(*TICKETS, space, out=tmp_path / "here", **options)
    ours = {t.slot: t for t in found.finished}
    for trial in here.finished:
        assert ours[trial.slot].settings == trial.settings
        assert ours[trial.slot].loss == pytest.approx(trial.loss, abs=1e-3)
        assert len(ours[trial.slot].evaluations) == len(trial.evaluations) == 12


def test_a_sweep_that_ended_holds_no_connection(tiny_base: Path, tmp_path: Path) -> None:
    """A server has few connections to give, and on Windows an open file cannot be deleted."""
    options = few(tiny_base, epochs=1) | {"method": "random", "trials": 2}
    gc.disable()  # whoever leaves closing to it leaves it open for as long as it likes
    try:
        sweep(*TICKETS, {"learning_rate": RATE}, out=tmp_path / "s", **options)
        with pytest.raises(UsageError, match="there already"):
            sweep(*TICKETS, {"learning_rate": RATE}, out=tmp_path / "s", **options)
        opened = [file.path for file in psutil.Process().open_files()]
    finally:
        gc.enable()
    assert not [path for path in opened if path.startswith(str(tmp_path))]
    assert len(study_of(tmp_path / "s")) == 2


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the URL of an empty PostgreSQL database; its driver lies outside the environment."""
    from readers.postgres import driver, server

    monkeypatch.syspath_prepend(str(driver()))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(driver()), *sys.path]))
    with server() as url:
        yield url


@pytest.mark.outside
def test_a_sweep_on_postgres_outlives_a_killed_process(
    tiny_base: Path, tmp_path: Path, postgres: str
) -> None:
    from sqlalchemy import create_engine, text

    out, long = tmp_path / "shared", {"epochs": 12}
    words = [sys.executable, "-c", ELSEWHERE, str(tiny_base), str(out), postgres]
    with subprocess.Popen([*words, json.dumps(FEW | long)]) as process:
        wait_for((out / "sweep.json").is_file, 120)  # the first trial is done
        storage = optuna.storages.RDBStorage(postgres)
        study = optuna.load_study(study_name=out.name, storage=storage)

        def in_the_second_trial() -> Any:
            second = study.get_trials()[1]
            return second if second.state.name == "RUNNING" and second.intermediate_values else None

        cut = wait_for(in_the_second_trial)
        process.kill()
    storage.remove_session()
    storage.engine.dispose()
    options = few(tiny_base, **long) | {"method": "random", "trials": 4}
    search = (*TICKETS, {"learning_rate": RATE})
    found = sweep(*search, out=out, resume=True, storage=postgres, jobs=2, **options)
    settled_once(found, 4)
    assert [t.number for t in found.trials if t.state == "lost"] == [cut.number]
    assert {t.state for t in found.finished} == {"complete"}
    assert not (out / "study.db").exists(), "all of it is in PostgreSQL"
    assert read_sweep(out) == found
    lite = sweep(*search, out=tmp_path / "lite", **options)
    ours = {t.slot: t for t in found.finished}
    for trial in lite.finished:
        assert ours[trial.slot].settings == trial.settings
        assert ours[trial.slot].loss == pytest.approx(trial.loss, abs=1e-3)
    assert "not%20to" not in (out / "sweep.json").read_text() + repr(found)
    wrong = postgres.replace("not%20to", "quite")
    with pytest.raises(CourseError, match=r"postgresql.* storage cannot be opened") as told:
        sweep(*search, out=tmp_path / "wrong", storage=wrong, **options)
    assert "quite" not in str(told.value)
    engine = create_engine(postgres)
    with engine.connect() as connection:
        clients = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        assert connection.execute(text(clients)).scalar() == 1, "no connection is left but this one"
    engine.dispose()


def test_ctrl_c_keeps_finished_trials_and_a_resumed_sweep_may_be_longer(
    tiny_base: Path, tmp_path: Path
) -> None:
    space = {"learning_rate": RATE}

    def press(line: str) -> None:
        if line.startswith("trial 0"):
            signal.raise_signal(signal.SIGINT)

    options = few(tiny_base) | {"out": tmp_path / "s"}
    with pytest.raises(Stopped, match=r"the sweep was stopped(.|\n)*--resume"):
        sweep(*TICKETS, space, trials=2, say=press, **options)
    first = read_sweep(tmp_path / "s").finished
    assert len(first) == 1
    found = sweep(*TICKETS, space, trials=3, resume=True, **options)
    settled_once(found, 3)
    assert found.finished[0] == first[0]
