"""The forecast before a run, held against what the run then took, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import json, sys
from course_lib.finetune.recipe import finetune
settings = json.loads(sys.argv[3])
run = finetune(sys.argv[1], sys.argv[2], settings=settings, out=sys.argv[4])
print(json.dumps([run["forecast"]["memory_bytes"], run["peak_memory_bytes"]]))
"""
ROWS = {"train_rows": 160, "validation_rows": 16, "test_rows": 8, "max_steps": 8}


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("classification", {"batch_size": 8}),
        ("classification", {"batch_size": 96, "tokens_per_batch": 16384}),
        ("language-modeling", {"batch_size": 8, "train_rows": 0}),
        ("language-modeling", {"batch_size": 8, "train_rows": 0, "precision": "float32"}),
    ],
)
def test_peak_memory_is_forecast_within_a_quarter(
    task: str, settings: dict[str, object], tmp_path: Path
) -> None:
    data = "support_tickets"
    if task == "language-modeling":
        words = [
            "the",
            "parcel",
            "came",
            "late",
            "and",
            "the",
            "zip",
            "of",
            "the",
            "blue",
            "jacket",
            "was",
            "stuck",
            "again",
        ]
        text = "\n\n".join(" ".join(words[i % 7 :] * 30) + f" {i}." for i in range(60))
        (tmp_path / "text.txt").write_text(text)
        data = str(tmp_path / "text.txt")
    command = [sys.executable, "-c", RUN, task, data, json.dumps(ROWS | settings)]
    done = subprocess.run([*command, str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    forecast, peak = json.loads(done.stdout.splitlines()[-1])
    assert forecast == pytest.approx(peak, rel=0.25)
