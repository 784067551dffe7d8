"""Stages one on another, and the lineage that run.json keeps of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from course_lib import files
from course_lib.errors import CheckpointError, DataError, ModelError, UnknownNameError, UsageError
from course_lib.finetune import lineage, runs
from course_lib.finetune.staged import Stage, staged

FEW = {"epochs": 1, "train_rows": 16, "validation_rows": 4, "test_rows": 6}
DOMAIN = ("language-modeling", "shop_handbook", FEW)
TICKETS = Stage("classification", "support_tickets", {**FEW, "train_rows": 48})
QUESTIONS = Stage(
    "question-answering", "handbook_qa", {**FEW, "train_rows": 96, "validation_rows": 40}
)
NAMES = [
    "3-question-answering-handbook_qa",
    "2-classification-support_tickets",
    "1-language-modeling-shop_handbook",
]


@pytest.fixture(scope="module")
def made(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Give the folder and the run.json of three stages: handbook, tickets, questions."""
    folder = tmp_path_factory.mktemp("stages")
    said: list[str] = []
    found = staged(
        [DOMAIN, TICKETS, QUESTIONS], folder, base=str(tiny_base), seed=4, say=said.append
    )
    assert "stage 2 of 3: classification on support_tickets" in said
    return folder, found


@pytest.fixture()
def copy(made: tuple[Path, list[Any]], tmp_path: Path) -> Path:
    """Give a copy of the three run folders that may be damaged."""
    return Path(shutil.copytree(made[0], tmp_path / "stages"))


def test_each_stage_starts_from_the_one_before(made: tuple[Path, list[Any]]) -> None:
    folder, (domain, tickets, questions) = made
    assert domain["parents"] == []
    assert [p["name"] for p in tickets["parents"]] == NAMES[2:]
    assert [p["name"] for p in questions["parents"]] == NAMES[1:]
    assert questions["parents"][1:] == tickets["parents"]
    parent = questions["parents"][0]
    assert (parent["task"], parent["data"], parent["seed"]) == (*NAMES[1].split("-")[1:], 4)
    assert parent["model_sha256"] == questions["base"]["sha256"]
    assert questions["base"]["name"] == NAMES[1]
    assert json.loads((folder / NAMES[0] / "run.json").read_text()) == questions
    assert str(folder) not in (folder / NAMES[0] / "run.json").read_text()
    assert len(runs.predict_run(folder / NAMES[1], ["where is my parcel"])) == 1


def test_the_chain_is_read_back_to_the_first_base(made: tuple[Path, list[Any]]) -> None:
    folder, (domain, *_) = made
    chain = lineage.lineage(folder / NAMES[0])
    assert [c["name"] for c in chain] == [*NAMES, domain["base"]["name"]]
    assert [c["verified"] for c in chain] == [True, True, True, False]
    assert chain[-1]["sha256"] == domain["base"]["sha256"]
    assert [c["task"] for c in lineage.lineage(folder / NAMES[2])[:-1]] == ["language-modeling"]


def test_the_embedded_base_is_verified_at_the_chains_end(copy: Path) -> None:
    from course_lib.finetune.model import base_path, base_sha256

    path = copy / NAMES[2] / "run.json"
    run = files.read_json(path)
    run["base"] = {**run["base"], "name": "embedded", "sha256": base_sha256(base_path("embedded"))}
    files.write_json(path, run)
    assert lineage.lineage(copy / NAMES[2])[-1]["verified"] is True


def test_a_parent_elsewhere_or_gone_is_told(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    shutil.move(copy / NAMES[2], tmp_path / "old" / NAMES[2])
    shutil.rmtree(copy / NAMES[1])
    alone = lineage.lineage(copy / NAMES[0])
    assert [c["verified"] for c in alone] == [True, False, False, False]
    found = lineage.lineage(copy / NAMES[0], look_in=[tmp_path / "old"])
    assert [c["verified"] for c in found] == [True, False, True, False]


def test_a_changed_parent_is_named(copy: Path) -> None:
    run = copy / NAMES[2] / "run.json"
    kept = run.read_text()
    run.write_text(kept.replace('"seed": 4', '"seed": 5'))
    with pytest.raises(CheckpointError, match=f"the parent '{NAMES[2]}' of '{NAMES[1]}' was ch"):
        lineage.lineage(copy / NAMES[0])
    run.write_text(kept)
    weights = copy / NAMES[1] / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=f"'{NAMES[1]}' of '{NAMES[0]}' was changed .the fil"):
        lineage.lineage(copy / NAMES[0])
    with pytest.raises(CheckpointError, match="the file is not the one that was saved"):
        lineage.parents_of(str(copy / NAMES[1] / "model"))
    (copy / NAMES[1] / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"was changed .not a finished run"):
        lineage.lineage(copy / NAMES[0])


def test_an_edited_record_is_refused(copy: Path) -> None:
    path = copy / NAMES[0] / "run.json"
    run = files.read_json(path)
    files.write_json(path, {**run, "parents": run["parents"][1:]})
    with pytest.raises(CheckpointError, match=f"breaks between '{NAMES[0]}' and '{NAMES[2]}'"):
        lineage.lineage(copy / NAMES[0])
    files.write_json(path, {**run, "parents": [{"name": "x"}]})
    with pytest.raises(DataError, match="a parent's record is incomplete; got no run_sha256"):
        lineage.lineage(copy / NAMES[0])
    with pytest.raises(ModelError, match="not a finished run"):
        lineage.lineage(copy)
    assert lineage.parents_of("embedded") == []


def test_finished_stages_are_kept_and_another_one_is_refused(copy: Path, tiny_base: Path) -> None:
    shutil.rmtree(copy / NAMES[0])
    kept = (copy / NAMES[1] / "run.json").stat().st_mtime_ns
    options: dict[str, Any] = {"base": str(tiny_base), "seed": 4, "resume": True}
    found = staged([DOMAIN, TICKETS, QUESTIONS], copy, **options)
    assert (copy / NAMES[1] / "run.json").stat().st_mtime_ns == kept
    assert [p["name"] for p in found[2]["parents"]] == NAMES[1:]
    more = Stage(DOMAIN[0], DOMAIN[1], {**FEW, "epochs": 2})
    with pytest.raises(UsageError, match="stage in this folder is another one; got settings"):
        staged([more, TICKETS], copy, **options)
    with pytest.raises(UsageError, match="got seed 4; expected seed 5"):
        staged([DOMAIN], copy, **{**options, "seed": 5})


def test_wrong_stages_are_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="there is no stage"):
        staged([], tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'classification'"):
        staged([DOMAIN, ("clasification", "support_tickets")], tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'support_tickets'"):
        staged([DOMAIN, ("classification", "support_ticket")], tmp_path)
    with pytest.raises(UnknownNameError, match="unknown setting 'epoch'"):
        staged([DOMAIN, ("classification", "support_tickets", {"epoch": 1})], tmp_path)
    with pytest.raises(UsageError, match="'span' does not go with classification"):
        staged([("classification", "support_tickets", {}, "span")], tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="stages do not run under torchrun"):
        staged([DOMAIN], tmp_path)
    assert not list(tmp_path.iterdir())
