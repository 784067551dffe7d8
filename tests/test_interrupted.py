"""`course finetune` stopped by Ctrl-C, by a full disk, or spread over two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BWRAP = ("bwrap", "--dev-bind", "/", "/", "--die-with-parent")


@pytest.fixture()
def rows(tmp_path: Path) -> str:
    words = ["parcel", "zip", "jacket", "cancel", "order", "boots", "size", "card"]
    path = tmp_path / "rows.jsonl"
    lines = (
        json.dumps({"text": f"{words[i % 8]} {words[i * 3 % 7]} number {i}", "label": "ab"[i % 2]})
        for i in range(60)
    )
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def command(rows: str, base: Path, out: Path, *settings: str) -> list[str]:
    pairs = [word for s in (*settings, "precision=float32") for word in ("--set", s)]
    return ["-m", "course_lib", "finetune", "classification", "--data", rows,
            "--base", str(base), "--out", str(out), *pairs]  # fmt: skip


def start(words: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(words: list[str]) -> tuple[int, str]:
    with start(words) as process:
        said, _ = process.communicate(timeout=240)
    return process.returncode, said


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(
    rows: str, tiny_base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = [sys.executable, *command(rows, tiny_base, out, "epochs=4000", "max_steps=2000")]
    with start(words) as process:
        history = tmp_path / ".run.work" / "history.jsonl"
        limit = time.monotonic() + 120
        while time.monotonic() < limit and process.poll() is None:
            if history.is_file() and history.read_text().count("\n") > 20:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "training was stopped after step" in said and "--resume" in said
    assert not out.exists(), "no half-written run folder"
    done = len(history.read_text().splitlines())
    code, said = finish([*words, "--resume"])
    assert code == 0, said
    steps = [json.loads(line)["step"] for line in (out / "history.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 2001)) and done < 2000


def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    rows: str, tiny_base: Path, tmp_path: Path
) -> None:
    full = tmp_path / "small"
    full.mkdir()
    inside = command(rows, tiny_base, full / "run", "epochs=3", "save_every_seconds=0")
    script = f'"$@"; echo "exit $?"; ls -A {full}'
    code, said = finish(
        [*BWRAP, "--size", "150000", "--tmpfs", str(full), "sh", "-c", script, "sh",
         sys.executable, *inside]
    )  # fmt: skip
    assert code == 0, said
    lines = said.splitlines()
    assert "exit 3" in lines, said
    assert "the disk is full" in said and str(full) in said
    assert "run" not in lines[lines.index("exit 3") + 1 :]


def test_two_processes_fine_tune_as_one(rows: str, tiny_base: Path, tmp_path: Path) -> None:
    settings = ("epochs=6", "tokens_per_batch=64")
    code, said = finish([sys.executable, *command(rows, tiny_base, tmp_path / "one", *settings)])
    assert code == 0, said
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    code, said = finish(
        [sys.executable, *torchrun, *command(rows, tiny_base, tmp_path / "two", *settings)]
    )
    assert code == 0, said
    one, two = (
        [json.loads(line) for line in (tmp_path / n / "history.jsonl").read_text().splitlines()]
        for n in ("one", "two")
    )
    assert len(one) == len(two) > 10
    for a, b in zip(one, two, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=2e-5)


def test_ctrl_c_between_a_step_and_its_record_loses_neither(
    rows: str, tiny_base: Path, tmp_path: Path
) -> None:
    """The worst moment: the weights have moved, the history does not know it yet."""
    script = f"""
import signal, sys
from torch.optim.optimizer import register_optimizer_step_post_hook
from course_lib import cli
seen = []
def press(optimizer, args, kwargs):
    seen.append(1)
    if len(seen) == 5:
        signal.raise_signal(signal.SIGINT)
if "--resume" not in sys.argv and {str(tmp_path / "cut")!r} in sys.argv:
    register_optimizer_step_post_hook(press)
sys.exit(cli.main(sys.argv[1:]))
"""
    losses = {}
    for name in ("whole", "cut"):
        words = command(rows, tiny_base, tmp_path / name, "epochs=3")[2:]
        code, said = finish([sys.executable, "-c", script, *words])
        if name == "cut":
            assert code == 130 and "stopped after step 5" in said, said
            code, said = finish([sys.executable, "-c", script, *words, "--resume"])
        assert code == 0, said
        text = (tmp_path / name / "history.jsonl").read_text()
        losses[name] = [json.loads(line)["loss"] for line in text.splitlines()]
    assert losses["cut"] == losses["whole"] and len(losses["cut"]) > 10
