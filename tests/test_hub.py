"""Bases and data from the Hub, against a small one on loopback: pinned, cached, cut, offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, hub

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture()
def server(tiny_base: Path, tmp_path: Path) -> Iterator[Hub]:
    model = tmp_path / "hub/models/shop/tiny/main"
    shutil.copytree(tiny_base, model)
    old = tmp_path / "hub/models/shop/tiny/v1"
    shutil.copytree(tiny_base, old)
    config = json.loads((old / "config.json").read_text())
    (old / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    data = tmp_path / "hub/datasets/shop/mail/main"
    data.mkdir(parents=True)
    for split, count in (("train", 40), ("validation", 8), ("test", 8)):
        rows = (
            json.dumps({"text": f"{split} zip {i} {'a parcel' if i % 2 else 'boots'}",
                        "label": "ab"[i % 2]}) + "\n" for i in range(count)
        )  # fmt: skip
        (data / f"{split}.jsonl").write_text("".join(rows))
    with hub(tmp_path / "hub") as running:
        yield running


def course(server: Hub, tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    values = {
        **os.environ,
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
        "OMP_NUM_THREADS": "1",
        "TQDM_DISABLE": "1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "course_lib", *arguments],
        cwd=tmp_path, env=values, text=True, capture_output=True, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def tune(data: str, base: str, out: str) -> tuple[str, ...]:
    return ("finetune", "classification", "--data", data, "--base", base, "--out", out,
            "--set", "epochs=1")  # fmt: skip


def test_a_base_and_data_from_the_hub_survive_a_cut_and_work_offline(
    server: Hub, tmp_path: Path
) -> None:
    server.cut.add("model.safetensors")
    code, said = course(server, tmp_path, *tune("shop/mail", "shop/tiny", "online"))
    assert code == 0, said
    assert not server.cut, "the download was cut once, and taken up again"
    run = json.loads((tmp_path / "online/run.json").read_text())
    main = server.commit(server.root / "models/shop/tiny/main")
    assert (run["base"]["name"], run["base"]["sha256"]) == ("shop/tiny", main)
    assert run["data"]["rows"] == {"train": 40, "validation": 8, "test": 8}
    server.requests.clear()
    code, said = course(
        server, tmp_path, *tune("shop/mail", "shop/tiny", "offline"), HF_HUB_OFFLINE="1"
    )
    assert code == 0, said
    assert not server.requests, "everything came from the cache"
    again = json.loads((tmp_path / "offline/run.json").read_text())
    assert again["metrics"]["after"] == run["metrics"]["after"]


def test_a_pinned_revision_is_the_one_that_is_used(server: Hub, tmp_path: Path) -> None:
    data = str(server.root / "datasets/shop/mail/main")
    code, said = course(server, tmp_path, *tune(data, "shop/tiny@v1", "pinned"))
    assert code == 0, said
    config = json.loads((tmp_path / "pinned/model/config.json").read_text())
    assert config["rms_norm_eps"] == 0.5
    run = json.loads((tmp_path / "pinned/run.json").read_text())
    assert run["base"]["sha256"] == server.commit(server.root / "models/shop/tiny/v1")
    code, said = course(server, tmp_path, *tune(data, "shop/tiny@v9", "missing"))
    assert code == 3 and "shop/tiny@v9" in said and "embedded" in said, said
    assert not (tmp_path / "missing").exists()


def test_what_the_hub_does_not_have_is_refused(server: Hub, tmp_path: Path) -> None:
    data = str(server.root / "datasets/shop/mail/main")
    code, said = course(server, tmp_path, *tune(data, "shop/nothing", "out"))
    assert code == 3 and "shop/nothing" in said and "embedded" in said, said
    code, said = course(server, tmp_path, *tune("shop/nomail", "embedded", "out"))
    assert code == 3 and "shop/nomail" in said and "support_tickets" in said, said


def test_a_corpus_from_the_hub_pretrains(server: Hub, tmp_path: Path) -> None:
    folder = server.root / "datasets/shop/texts/main"
    folder.mkdir(parents=True)
    for split, count in (("train", 300), ("validation", 30)):
        rows = (json.dumps({"text": f"Parcel {i} left the {split} shop on day {i % 7}."}) + "\n"
                for i in range(count))  # fmt: skip
        (folder / f"{split}.jsonl").write_text("".join(rows))
    small = ("--tokens", "4096", "--layers", "1", "--width", "32", "--inner", "64", "--heads", "2",
             "--vocab-size", "300", "--context", "32", "--rows-per-step", "8")  # fmt: skip
    words = ("pretrain", "--data", "shop/texts", *small)
    code, said = course(server, tmp_path, *words, "--out", "base")
    assert code == 0, said
    made = json.loads((tmp_path / "base/pretrain.json").read_text())
    assert made["validation"]["perplexity"] > 1 and made["tokens"] == 4096
    for name, wrong, rc in (("none", "shop/none", 3), ("half", "validation", 2),
                            ("odd", "no column 'text'", 2)):  # fmt: skip
        if name != "none":
            made_of = server.root / f"datasets/shop/{name}/main"
            made_of.mkdir(parents=True)
            for split in ("train", "validation") if name == "odd" else ("train",):
                column = "words" if name == "odd" else "text"
                row = json.dumps({column: "A parcel left."}) + "\n"
                (made_of / f"{split}.jsonl").write_text(row * 50)
        code, said = course(
            server, tmp_path, "pretrain", "--data", f"shop/{name}", *small, "--out", name
        )
        assert code == rc and wrong in said, said
        assert not (tmp_path / name / "model").exists()
