"""A finished run measured again: on the columns it was trained on, and on other data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from course_lib import files
from course_lib.cli import main
from course_lib.errors import DataError, UnknownNameError
from course_lib.finetune import recipe, runs

SMALL = {"epochs": 2, "batch_size": 8}
ITEMS = ("boots", "coat", "tent", "stove")


def rows_file(path: Path, *columns: str) -> str:
    """Write 48 rows; each column's values begin with its name's last word."""
    values = {
        "body": lambda i: f"my {ITEMS[i % 4]} number {i} is late",
        "text": lambda i: f"my {ITEMS[i % 4]} number {i} is late",
        "team": lambda i: "ab"[i % 2],
        "label": lambda i: "ab"[i % 2],
        "reply": lambda i: f"sorry about the {ITEMS[i % 4]}",
        "intent": lambda i: "xyz"[i % 3],
    }
    lines = (json.dumps({c: values[c](i) for c in columns}) + "\n" for i in range(48))
    path.write_text("".join(lines))
    return str(path)


@pytest.mark.parametrize(
    ("task", "columns", "metric"),
    [
        ("classification", {"text_column": "body", "label_column": "team"}, "accuracy"),
        ("completion", {"text_column": "body", "label_column": "reply"}, "chrf"),
        ("language-modeling", {"text_column": "body"}, "perplexity"),
    ],
)
def test_a_run_made_with_named_columns_is_measured_on_them(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    task: str, columns: dict[str, Any], metric: str,
) -> None:  # fmt: skip
    data, out = (
        rows_file(tmp_path / "rows.jsonl", "body", "intent", "team", "reply"),
        tmp_path / "r",
    )
    run = recipe.finetune(task, data, base=str(tiny_base), settings=SMALL, out=out, **columns)
    named = {role.removesuffix("_column"): name for role, name in columns.items()}
    assert run["data"]["columns"] == named
    again = runs.evaluate_run(out, data)
    assert again.metrics[metric] == pytest.approx(run["metrics"]["after"][metric], abs=1e-6)
    assert main(["evaluate", str(out), "--data", data, "--json"]) == 0
    assert metric in capsys.readouterr().out


def test_other_data_is_read_by_its_own_columns(tiny_base: Path, tmp_path: Path) -> None:
    data, out = rows_file(tmp_path / "rows.jsonl", "body", "team", "intent"), tmp_path / "r"
    named = {"text_column": "body", "label_column": "team"}
    recipe.finetune("classification", data, base=str(tiny_base), settings=SMALL, out=out, **named)
    other = rows_file(tmp_path / "other.jsonl", "text", "label")
    assert len(runs.evaluate_run(out, other).predictions) > 0
    with pytest.raises(UnknownNameError, match="nowhere"):
        runs.evaluate_run(out, "nowhere")
    with pytest.raises(DataError, match="no column for the label was recognised"):
        runs.evaluate_run(out, rows_file(tmp_path / "none.jsonl", "body", "reply"))


def test_a_run_from_before_columns_were_kept_is_still_read(tiny_base: Path, tmp_path: Path) -> None:
    data, out = rows_file(tmp_path / "rows.jsonl", "text", "label"), tmp_path / "r"
    run = recipe.finetune("classification", data, base=str(tiny_base), settings=SMALL, out=out)
    del run["data"]["columns"]
    files.write_json(out / "run.json", run)
    again = runs.evaluate_run(out, data).metrics["accuracy"]
    assert again == pytest.approx(run["metrics"]["after"]["accuracy"])
