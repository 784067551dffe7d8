"""Pre-training at toy size: exact resume, two processes, branches, the tokenizer, bad input."""

from __future__ import annotations

import json
import lzma
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from course_lib.errors import CheckpointError, DataError
from course_lib.finetune.pretraining import corpus
from course_lib.finetune.pretraining.decoder import PretrainConfig
from course_lib.finetune.pretraining.pretrain import pretrain
from course_lib.finetune.pretraining.tokenizer import SPECIAL_TOKENS, train_tokenizer

SIZE: dict[str, Any] = {
    "layers": 1, "width": 32, "inner": 48, "heads": 2, "vocab_size": 360, "context": 32,
    "rows_per_step": 4, "warmup_steps": 3, "eval_every_steps": 10, "eval_rows": 4,
    "precision": "float32",
}  # fmt: skip
STEP = 4 * 32  # tokens


def write_corpus(folder: Path) -> Path:
    rng = random.Random(0)
    nouns = [
        "lamp",
        "boat",
        "harbour",
        "museum",
        "bridge",
        "train",
        "keeper",
        "storm",
        "lantern",
        "island",
    ]
    names = ["Quill", "Denmark", "Ansley", "Hallowmere", "Brindle", "Orla"]
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 120), ("val", 12)):
        documents = []
        for _ in range(count):
            lines = [
                f"The {rng.choice(nouns)} of {rng.choice(names)} was built in {1800 + i}. "
                f"It cost {rng.randint(2, 99)} coins and a {rng.choice(nouns)}."
                for i in range(8)
            ]
            documents.append(" ".join(lines))
        text = "\n\n".join(documents) + "\n"
        if split == "train":
            (folder / "train.txt.xz").write_bytes(lzma.compress(text.encode()))
        else:
            (folder / "val.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def config(text: Path, out: Path, steps: int, **changes: Any) -> PretrainConfig:
    settings = SIZE | changes
    tokens = steps * settings["rows_per_step"] * settings["context"]
    return PretrainConfig(data=str(text), out=str(out), tokens=tokens, **settings)


def losses(out: Path) -> list[tuple[int, float]]:
    rows = map(json.loads, (out / "history.jsonl").read_text().splitlines())
    return [(row["step"], row["loss"]) for row in rows]


def course(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [sys.executable, *(launcher or ("-m", "course_lib")), "pretrain", *arguments],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def options(text: Path, out: Path, steps: int, **changes: Any) -> list[str]:
    values = {"data": text, "out": out, "tokens": steps * STEP, **SIZE, **changes}
    return [word for k, v in values.items() for word in (f"--{k.replace('_', '-')}", str(v))]


def test_a_killed_run_resumes_with_the_same_losses(text: Path, tmp_path: Path) -> None:
    with course(*options(text, tmp_path / "whole", 60)) as whole:
        said, _ = whole.communicate(timeout=240)
        assert whole.returncode == 0, said
    arguments = options(text, tmp_path / "cut", 60, save_every_seconds=0)
    with course(*arguments) as cut:
        history = tmp_path / "cut" / "history.jsonl"
        while cut.poll() is None:
            if history.is_file() and history.read_text().count("\n") >= 31:
                cut.send_signal(signal.SIGKILL)
                break
        cut.wait(timeout=60)
    assert len(losses(tmp_path / "cut")) < 60, "it was killed before its end"
    with course(*arguments, "--resume") as resumed:
        said, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0 and "resumed from step-000000" in said, said
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_two_processes_learn_what_one_learns(text: Path, tmp_path: Path) -> None:
    pretrain(config(text, tmp_path / "one", 12))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
                "course_lib")  # fmt: skip
    with course(*options(text, tmp_path / "two", 12), launcher=torchrun) as two:
        said, _ = two.communicate(timeout=240)
    assert two.returncode == 0, said
    # float32 sums in another order: equal to rounding at first, then the difference grows
    for (step, one), (also, both) in zip(
        losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True
    ):
        assert step == also and one == pytest.approx(both, rel=1e-6 if step <= 2 else 2e-4)


def test_a_branch_decays_with_reading_tasks_and_loads_anywhere(text: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pretrain(config(text, tmp_path / "stable", 20, context=256))
    rows: list[dict[str, float]] = []
    settings = {"context": 256, "decay_tokens": 10 * 4 * 256, "reading_share": 0.5}
    branch = config(
        text, tmp_path / "branch", 30, branch_from=str(tmp_path / "stable/checkpoints"), **settings
    )
    final = pretrain(branch, on_step=rows.append)
    assert [r["step"] for r in rows] == list(range(21, 31))
    assert rows[0]["lr_factor"] == 1.0 and rows[-1]["lr_factor"] == pytest.approx(0.1)
    assert all(r["reading_loss"] > 0 for r in rows)
    folder = tmp_path / "branch" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer((text / "val.txt").read_text().split("\n\n")[0], return_tensors="pt").input_ids
    with torch.no_grad():
        found = float(model(input_ids=ids[:, :32], labels=ids[:, :32]).loss)
    assert found < 0.8 * 5.89, "it learned: an even guess over 360 tokens costs 5.89 nats"
    assert final["loss"] < 0.8 * 5.89
    before = sum(p.numel() for p in model.parameters())
    record = json.loads((tmp_path / "branch" / "pretrain.json").read_text())
    assert record["parameters"] == before and record["tokens"] == 30 * 4 * 256


def test_resume_refuses_a_run_of_another_number_of_processes(text: Path, tmp_path: Path) -> None:
    pretrain(config(text, tmp_path / "run", 4))
    from course_lib.finetune import checkpoint

    with pytest.raises(CheckpointError, match="another number of processes"):
        checkpoint.newest(tmp_path / "run" / "checkpoints", world_size=2)


def test_the_tokenizer_gives_every_text_back(text: Path) -> None:
    documents = list(corpus.documents(str(text), "train"))
    tokenizer = train_tokenizer(documents, vocab_size=360, context=32)
    for tricky in ("plain words", "  two  spaces\n\n\ttab ", "naïve café — 日本 🎒", "\x00\x7f£½"):
        ids = tokenizer(tricky)["input_ids"]
        assert tokenizer.decode(ids) == tricky
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(6))
    assert len(tokenizer) == 360
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": " hi "}], tokenize=False, add_generation_prompt=True
    )
    assert said == "<|user|>hi<|end|><|assistant|>"
    with pytest.raises(Exception, match="role must be system, user or assistant, got robot"):
        tokenizer.apply_chat_template([{"role": "robot", "content": "x"}], tokenize=False)


def test_bad_corpora_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no text found.*files ending in"):
        pretrain(config(tmp_path / "empty", tmp_path / "out", 2))
    broken = write_corpus(tmp_path / "broken")
    (broken / "val.txt").write_bytes(b"fine\n\n\xff\xfe bad\n")
    with pytest.raises(DataError, match=r"val\.txt:3: not UTF-8 text"):
        pretrain(config(broken, tmp_path / "out", 2))
    short = write_corpus(tmp_path / "short")
    (short / "val.txt").write_text("Three words only.\n")
    with pytest.raises(DataError, match=r"too little text to fill one row.*more than 32"):
        pretrain(config(short, tmp_path / "out2", 2))
