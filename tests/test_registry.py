"""Versions: what is immutable stays so, the champion is always whole, and a worse one is refused.

The contract runs on both backends: a folder, and MLflow with an SQLite store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from course_lib import files
from course_lib.errors import (
    CheckpointError,
    DataError,
    EnvironmentProblem,
    ModelError,
    UnknownNameError,
    UsageError,
)
from course_lib.finetune.deploy.promotion import paired_test
from course_lib.finetune.deploy.registry import Registry
from course_lib.finetune.deploy.versions import Versions
from course_lib.finetune.recipe import finetune

KILLS, MLFLOW_KILLS = 60, 10
# MLflow 3.17 on SQLAlchemy 2.1; theirs to change
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture(scope="module")
def runs(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two real runs on the shop's tickets, one barely trained, and a twin of the better one."""
    folder = tmp_path_factory.mktemp("runs")
    for name, steps, rate in (("poor", 1, 1e-5), ("good", 100, 2e-3)):
        settings = {
            "max_steps": steps, "epochs": 9, "learning_rate": rate, "batch_size": 16,
            "train_rows": 600,
            "test_rows": 160, "validation_rows": 16, "precision": "float32",
        }  # fmt: skip
        finetune(
            "classification", "support_tickets", base=str(tiny_base), settings=settings,
            out=folder / name,
        )  # fmt: skip
    shutil.copytree(folder / "good", folder / "twin")
    facts = files.read_json(folder / "twin" / "run.json")
    files.write_json(folder / "twin" / "run.json", {**facts, "seconds": 0.0})
    return {name: folder / name for name in ("poor", "good", "twin")}


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Versions]:
    pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("mlflow")

    def make() -> Versions:
        from course_lib.finetune.deploy.registry_mlflow import MlflowRegistry

        return MlflowRegistry(f"sqlite:///{folder}/mlflow.db", artifacts=folder / "files")

    return make


@pytest.fixture(params=["folder", "mlflow"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Versions:
    if request.param == "folder":
        return Registry(tmp_path / "models")
    return request.getfixturevalue("mlflow_store")()  # type: ignore[no-any-return]


@pytest.fixture()
def name(request: pytest.FixtureRequest) -> str:
    """A model name of this test's own: the MLflow store is shared."""
    return "t" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]


def unlock(path: Path) -> Path:
    path.chmod(0o644)
    return path


# --- the contract, on both backends


def test_add_list_promote_and_roll_back(
    registry: Versions, runs: dict[str, Path], name: str
) -> None:
    first, second = registry.add(runs["poor"], name), registry.add(runs["good"], name)
    assert [v.version for v in registry.versions(name)] == ["v0001", "v0002"]
    assert registry.add(runs["poor"], name) == first, "the same files are the same version"
    assert first.summary["data"] == "support_tickets" and name in registry.names()
    assert registry.champion(name) is None
    registry.promote(name, "v0001")
    entry = registry.promote(name, "v0002", reason="more steps")
    assert entry["test"]["passed"] and entry["test"]["rows"] == 160
    assert entry["test"]["candidate"] > entry["test"]["champion"] + 0.05
    assert registry.champion(name) == second
    registry.rollback(name, reason="drift")
    assert registry.champion(name) == first
    with pytest.raises(UsageError, match="no earlier champion to go back to; got champions: v0001"):
        registry.rollback(name)
    actions = [(e["action"], e["version"]) for e in registry.history(name)]
    assert actions == [
        ("add", "v0001"), ("add", "v0002"),
        ("promote", "v0001"), ("promote", "v0002"), ("rollback", "v0001"),
    ]  # fmt: skip
    assert registry.history(name)[-1]["reason"] == "drift"


def test_a_worse_candidate_is_refused_unless_forced_with_a_reason(
    registry: Versions, runs: dict[str, Path], name: str
) -> None:
    for which in ("good", "poor", "twin"):
        registry.add(runs[which], name)
    registry.promote(name, "v0001")
    with pytest.raises(UsageError, match=r"v0002 may be worse than the champion v0001; got acc"):
        registry.promote(name, "v0002")
    with pytest.raises(UsageError, match="a forced promotion needs a reason"):
        registry.promote(name, "v0002", force=True, reason=" ")
    assert registry.champion(name).version == "v0001"  # type: ignore[union-attr]
    equal = registry.promote(name, "v0003", margin=0.0)["test"]
    assert (equal["difference"], equal["low"], equal["p"]) == (0.0, 0.0, 1.0)
    entry = registry.promote(name, "v0002", force=True, reason="the others leak")
    assert entry["forced"] and entry["test"] is None
    assert registry.history(name)[-1]["reason"] == "the others leak"
    with pytest.raises(UsageError, match="is the champion already"):
        registry.promote(name, "v0002", force=True, reason="again")


@pytest.mark.parametrize("how", ["edited", "added", "removed", "with its manifest"])
def test_a_version_edited_by_hand_is_refused_by_name_and_hash(
    registry: Versions, runs: dict[str, Path], name: str, how: str
) -> None:
    kept = registry.add(runs["good"], name)
    registry.promote(name, "v0001")
    path = kept.folder / "model" / "config.json"
    before = files.sha256_file(path)
    if how == "added":
        path = kept.folder / "model" / "chat_template.jinja2"
        path.write_text("{{ 'no' }}")
        match = r"chat_template.jinja2: .*SHA-256 [0-9a-f]{64}; expected SHA-256 no such file"
    elif how == "removed":
        path.unlink()
        match = rf"config.json: .*got SHA-256 no such file; expected SHA-256 {before}"
    else:
        unlock(path).write_text(path.read_text().replace("32", "64", 1))
        match = rf"config.json: .*got SHA-256 {files.sha256_file(path)}; expected SHA-256 {before}"
    if how == "with its manifest":
        manifest = files.read_json(kept.folder / "manifest.json")
        manifest["files"]["model/config.json"]["sha256"] = files.sha256_file(path)
        files.write_json(unlock(kept.folder / "manifest.json"), manifest)
        match = rf"manifest.json: .*expected SHA-256 {kept.sha256}"
    for look in (
        lambda: registry.verify(name, "v0001"),
        lambda: registry.champion(name),
        lambda: registry.versions(name),
    ):
        with pytest.raises(CheckpointError, match=match):
            look()


def test_a_broken_champion_does_not_stop_a_rollback(
    registry: Versions, runs: dict[str, Path], name: str
) -> None:
    registry.add(runs["good"], name)
    broken = registry.add(runs["twin"], name)
    registry.promote(name, "v0001")
    registry.promote(name, "v0002")
    (broken.folder / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"run\.json"):
        registry.champion(name)
    registry.rollback(name, reason="broken")
    assert registry.champion(name).version == "v0001"  # type: ignore[union-attr]
    with pytest.raises(CheckpointError, match=r"run\.json"):
        registry.promote(name, "v0002", force=True, reason="bring it back")


def test_bad_names_and_bad_runs(
    registry: Versions, runs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="cannot be a model's name"):
        registry.add(runs["good"], "../up")
    with pytest.raises(ModelError, match="not a finished run"):
        registry.add(tmp_path, name)
    torn = tmp_path / "torn"
    shutil.copytree(runs["good"], torn)
    (torn / "model" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config.json: the file is not the one"):
        registry.add(torn, name)
    with pytest.raises(UnknownNameError, match="unknown model name"):
        registry.champion("nobody")
    registry.add(runs["good"], name)
    with pytest.raises(UnknownNameError, match="unknown version"):
        registry.promote(name, "v0009")


def test_runs_on_other_rows_are_not_compared(
    registry: Versions, runs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(runs["twin"], fewer)
    lines = (fewer / "predictions.jsonl").read_text().splitlines(keepends=True)
    (fewer / "predictions.jsonl").write_text("".join(lines[:50]))
    registry.add(runs["good"], name)
    registry.add(fewer, name)
    registry.promote(name, "v0001")
    with pytest.raises(DataError, match="not measured on the same test rows"):
        registry.promote(name, "v0002")
    found = registry.promote(name, "v0002", test="support_tickets")["test"]
    assert found["rows"] == 200 and found["difference"] == 0


# --- the folder alone


def test_few_rows_do_not_let_a_candidate_through(runs: dict[str, Path], tmp_path: Path) -> None:
    """No difference found on twenty rows is not the same as no difference."""
    pair = []
    for which in ("good", "poor"):
        folder = tmp_path / which
        folder.mkdir()
        shutil.copy(runs[which] / "run.json", folder)
        lines = (runs[which] / "predictions.jsonl").read_text().splitlines(keepends=True)
        (folder / "predictions.jsonl").write_text("".join(lines[:20]))
        pair.append(folder)
    found = paired_test(pair[1], pair[0])
    assert found.rows == 20 and not found.passed
    assert paired_test(pair[1], pair[0], margin=0.9).passed
    with pytest.raises(UsageError, match="margin must lie between 0 and 1"):
        paired_test(pair[1], pair[0], margin=1.5)


SPAWNER = """
import os, sys
from course_lib.finetune.deploy.registry import Registry
folder, runs = sys.argv[1], sys.argv[2:]
for line in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    registry, turn = Registry(folder), 0
    while True:
        if line.startswith("add"):
            registry.add(runs[turn % len(runs)], f"new{int(line[3:])}-{turn}")
        else:
            now = registry.champion("tickets").version
            other = "v0002" if now == "v0001" else "v0001"
            registry.promote("tickets", other, force=True, reason=f"turn {turn}")
        turn += 1
"""


def kill(pid: int) -> None:
    """Kill with -9, and wait until what the process had begun in the system is over."""
    import psutil

    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            pass


@pytest.mark.skipif(os.name == "nt", reason="kill -9 and fork")
def test_kill_9_during_promote_leaves_a_whole_champion(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    registry = Registry(folder)
    for which in ("good", "twin"):
        registry.add(runs[which], "tickets")
    registry.promote("tickets", "v0001")
    rng, seen = random.Random(0), {}  # type: random.Random, dict[str, int]
    with subprocess.Popen(
        [sys.executable, "-c", SPAWNER, str(folder), str(runs["good"])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as spawner:  # fmt: skip
        assert spawner.stdin and spawner.stdout
        for _ in range(KILLS):
            before = len(registry.history("tickets"))
            spawner.stdin.write("promote\n")
            spawner.stdin.flush()
            pid = int(spawner.stdout.readline())
            limit = time.monotonic() + 20  # until it is in its stride, then anywhere in a turn
            while len(registry.history("tickets")) == before and time.monotonic() < limit:
                pass
            time.sleep(rng.uniform(0, 0.03))
            kill(pid)
            pointer = json.loads((folder / "tickets" / "champion.json").read_text())
            registry.verify("tickets", pointer["version"])
            champion = registry.champion("tickets")
            assert champion and champion.version == pointer["version"]
            seen[champion.version] = seen.get(champion.version, 0) + 1
        spawner.stdin.close()
        assert spawner.wait(20) == 0
    assert set(seen) == {"v0001", "v0002"}, "the kills hit different turns"
    final = registry.champion("tickets").version  # type: ignore[union-attr]
    other = {"v0001": "v0002", "v0002": "v0001"}[final]
    registry.promote("tickets", other, force=True, reason="after the kills")
    lines = (folder / "tickets" / "history.jsonl").read_text().splitlines()
    assert len(lines) == len(registry.history("tickets")) > KILLS


@pytest.mark.skipif(os.name == "nt", reason="kill -9 and fork")
def test_kill_9_during_add_leaves_whole_versions_or_none(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    folder, rng = tmp_path / "models", random.Random(1)
    with subprocess.Popen(
        [sys.executable, "-c", SPAWNER, str(folder), str(runs["good"]), str(runs["poor"])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as spawner:  # fmt: skip
        assert spawner.stdin and spawner.stdout
        for turn in range(15):
            spawner.stdin.write(f"add {turn}\n")
            spawner.stdin.flush()
            pid = int(spawner.stdout.readline())
            time.sleep(rng.uniform(0.01, 0.15))
            os.kill(pid, signal.SIGKILL)
        spawner.stdin.close()
    registry = Registry(folder)
    assert registry.names()
    for name in registry.names():
        assert all(v.summary["task"] == "classification" for v in registry.versions(name))
        registry.add(runs["twin"], name)
        assert registry.versions(name), "whatever was left behind, adding works"
        assert not list((folder / name).glob(".v*"))


def test_many_writers_at_once_each_get_a_version(runs: dict[str, Path], tmp_path: Path) -> None:
    copies = []
    for i in range(6):
        shutil.copytree(runs["good"], tmp_path / str(i))
        (tmp_path / str(i) / "notes.txt").write_text(f"copy {i}")
        copies.append(tmp_path / str(i))
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda run: Registry(tmp_path / "m").add(run, "tickets"), copies))
    assert sorted(v.version for v in made) == [f"v{i:04d}" for i in range(1, 7)]


def test_a_torn_history_line_is_dropped_and_an_edited_one_refused(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "models")
    registry.add(runs["good"], "tickets")
    registry.promote("tickets", "v0001")
    path = tmp_path / "models" / "tickets" / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time": "20')
    assert len(registry.history("tickets")) == 2
    registry.add(runs["twin"], "tickets")
    assert path.read_bytes().startswith(whole) and len(registry.history("tickets")) == 3
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"add"', b'"aaa"', 1))
    with pytest.raises(CheckpointError, match=r"history.jsonl:2: the history was changed by hand"):
        registry.champion("tickets")
    path.write_bytes(good)
    pointer = path.with_name("champion.json")
    files.write_json(pointer, {**files.read_json(pointer), "version": "v0002"})
    with pytest.raises(CheckpointError, match="the champion pointer is not one this registry"):
        registry.champion("tickets")
    pointer.unlink()
    assert registry.champion("tickets").version == "v0001"  # type: ignore[union-attr]


def test_a_promotion_killed_before_its_history_line_counts_and_is_added_by_the_next(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "models")
    for which in ("good", "twin"):
        registry.add(runs[which], "tickets")
    registry.promote("tickets", "v0001")
    entry = registry.promote("tickets", "v0002")
    path = tmp_path / "models" / "tickets" / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert registry.champion("tickets").version == "v0002"  # type: ignore[union-attr]
    assert registry.history("tickets")[-1] == entry
    registry.rollback("tickets")
    assert path.read_bytes().startswith(whole)


def test_a_deleted_version_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    folder = registry.add(runs["good"], "tickets").folder
    registry.promote("tickets", "v0001")
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="tickets/v0001: the version was deleted"):
        registry.champion("tickets")


# --- MLflow alone


MLFLOW_PROMOTER = """
import sys
from course_lib.finetune.deploy.registry_mlflow import MlflowRegistry
uri, folder, name = sys.argv[1:]
registry = MlflowRegistry(uri, artifacts=folder)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(10_000):
    now = registry.champion(name).version
    other = "v0002" if now == "v0001" else "v0001"
    if turn % 3 == 2:
        registry.rollback(name, reason=f"turn {turn}")
    else:
        registry.promote(name, other, force=True, reason=f"turn {turn}")
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_kill_9_during_promote_leaves_a_whole_champion_in_mlflow(
    mlflow_store: Callable[[], Any], runs: dict[str, Path], name: str
) -> None:
    registry = mlflow_store()
    place = registry.add(runs["good"], name).folder
    registry.add(runs["twin"], name)
    registry.promote(name, "v0001")
    registry.promote(name, "v0002", force=True, reason="so that there is one to go back to")
    words = [sys.executable, "-c", MLFLOW_PROMOTER, registry.uri, str(place.parent), name]
    rng, seen, changes = random.Random(2), set(), 0
    # the next process starts while this one works: most of its time is importing
    with ThreadPoolExecutor(2) as pool:

        def started() -> subprocess.Popen[str]:
            made = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert made.stdout and made.stdout.readline() == "ready\n"
            return made

        waiting = pool.submit(started)
        for turn in range(MLFLOW_KILLS):
            process = waiting.result()
            if turn + 1 < MLFLOW_KILLS:
                waiting = pool.submit(started)
            before = registry.history(name)[-1]
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
            limit = time.monotonic() + 60
            while registry.history(name)[-1] == before and time.monotonic() < limit:
                pass  # a reader beside the writer: each history it sees is a whole one
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
            process.communicate()
            champion = registry.champion(name)
            alias = registry.client.get_registered_model(name).aliases["champion"]
            assert champion and champion == registry.verify(name, f"v{int(alias):04d}")
            assert registry.history(name)[-1]["version"] == champion.version
            changes += registry.history(name)[-1] != before
            seen.add(champion.version)
    assert seen == {"v0001", "v0002"} and changes == MLFLOW_KILLS, "kills in different turns"
    other = {"v0001": "v0002", "v0002": "v0001"}[champion.version]
    registry.promote(name, other, force=True, reason="after the kills")
    assert registry.champion(name) == registry.verify(name, other)


def test_an_alias_moved_by_others_is_noticed(
    mlflow_store: Callable[[], Any], runs: dict[str, Path], name: str
) -> None:
    registry = mlflow_store()
    for which in ("good", "twin"):
        registry.add(runs[which], name)
    registry.promote(name, "v0001")
    registry.client.set_registered_model_alias(name, "champion", "2")
    with pytest.raises(CheckpointError, match="moved by something else than this registry"):
        registry.champion(name)
    registry.client.set_registered_model_alias(name, "champion", "1")
    # as a process killed between the tag and the alias leaves it
    entry = {"time": "9999", "action": "promote", "version": "v0002", "reason": ""}
    registry.client.set_registered_model_tag(name, "course.history.9", json.dumps(entry))
    assert registry.champion(name).version == "v0001"
    registry.promote(name, "v0002", force=True, reason="for good")
    assert [e["version"] for e in registry.history(name)][-2:] == ["v0001", "v0002"]


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from course_lib.finetune.deploy.registry_mlflow import MlflowRegistry

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(EnvironmentProblem, match=r"course-lib\[mlflow\]"):
        MlflowRegistry("sqlite:///nowhere.db")
