"""A fine-tune from file to run folder, and what the folder is good for afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.errors import CheckpointError, ModelError, UnknownNameError, UsageError
from course_lib.finetune import evaluate, recipe, runs
from course_lib.finetune.baselines import untrained
from course_lib.finetune.data import load
from course_lib.finetune.model import load_base

SMALL = {"epochs": 2, "batch_size": 8}


def rows_file(folder: Path, task: str) -> str:
    path = folder / "rows.jsonl"
    words = ["parcel", "zip", "jacket", "cancel", "order", "boots", "size", "card"]
    rows: list[dict[str, Any]] = []
    for i in range(40):
        text = f"{words[i % 8]} {words[(i * 3 + 1) % 8]} number {i}"
        rows.append(
            {
                "classification": {"text": text, "label": "ab"[i % 2]},
                "language-modeling": {"text": text},
                "completion": {"prompt": text, "completion": words[i % 8]},
                "question-answering": {
                    "context": text, "question": "which?", "answers": [words[i % 8]],
                    "answer_starts": [0],
                },
                "token-classification": {
                    "tokens": text.split(), "tags": ["B-ITEM", "O", "O", "O"],
                },
            }[task]
        )  # fmt: skip
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


@pytest.mark.parametrize(
    ("task", "head", "metric"),
    [
        ("classification", "auto", "accuracy"),
        ("language-modeling", "auto", "perplexity"),
        ("question-answering", "generate", "f1"),
        ("question-answering", "span", "f1"),
        ("completion", "auto", "chrf"),
        ("token-classification", "auto", "f1"),
    ],
)
def test_a_run_folder_is_complete_and_loads_in_plain_transformers(
    tiny_base: Path, tmp_path: Path, task: str, head: str, metric: str
) -> None:
    import transformers

    from course_lib.finetune.model import HEADS

    data, out = rows_file(tmp_path, task), tmp_path / "run"
    run = recipe.finetune(
        task, data, base=str(tiny_base), settings=SMALL, head=head, seed=3, out=out
    )
    assert json.loads((out / "run.json").read_text()) == run
    assert metric in run["metrics"]["after"]
    assert run["data"]["rows"] == {"train": 32, "validation": 4, "test": 4}
    assert run["settings"]["epochs"] == {"value": 2, "reason": "given"}
    assert run["seed"] == 3 and run["steps"] >= 2 and run["peak_memory_bytes"] > 0
    assert (out / "history.jsonl").read_text().count("\n") == run["steps"]
    ours, tokenizer = runs.load_run(out)
    theirs = getattr(transformers, HEADS[run["head"]]).from_pretrained(out / "model").eval()
    batch = tokenizer(["parcel zip number 7", "boots"], padding=True, return_tensors="pt")
    with torch.no_grad():
        mine, other = ours(**batch), theirs(**batch)
    for key in ("logits", "start_logits", "end_logits"):
        if key in mine:
            np.testing.assert_array_equal(mine[key].numpy(), other[key].numpy())
    again = runs.evaluate_run(out, data)
    assert again.metrics[metric] == pytest.approx(run["metrics"]["after"][metric], abs=1e-6)
    text = "which?\tparcel zip" if task == "question-answering" else "parcel zip"
    assert len(runs.predict_run(out, [text, text])) == 2
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")], "nothing half-written"


def test_a_long_text_is_cut_and_counted(tiny_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    lines = [
        {"text": f"order {i} " + "boots " * (200 if i == 4 else 2), "label": "ab"[i % 2]}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in lines))
    said: list[str] = []
    run = recipe.finetune(
        "classification",
        str(path),
        base=str(tiny_base),
        settings=SMALL,
        out=tmp_path / "run",
        say=said.append,
    )
    assert run["data"]["cut"] == 1
    assert [s for s in said if "1 rows cut to the context of 64" in s]


def test_a_changed_model_does_not_load(tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe.finetune(
        "classification",
        rows_file(tmp_path, "classification"),
        out=out,
        base=str(tiny_base),
        settings=SMALL,
    )
    weights = out / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the file is not the one"):
        runs.load_run(out)
    with pytest.raises(ModelError, match="not a finished run"):
        runs.load_run(tmp_path)


def test_wrong_settings_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    data = rows_file(tmp_path, "classification")
    with pytest.raises(UnknownNameError, match="did you mean 'learning_rate'"):
        recipe.finetune("classification", data, settings={"learningrate": 1})
    with pytest.raises(UsageError, match="epochs cannot be 'two'"):
        recipe.finetune("classification", data, settings={"epochs": "two"})
    with pytest.raises(UnknownNameError, match="did you mean 'quick'"):
        recipe.finetune("classification", data, profile="quik")
    with pytest.raises(ModelError, match="no model in this folder"):
        recipe.finetune("classification", data, base=str(tmp_path))


def test_the_embedded_base_is_whole_and_writes_english() -> None:
    from course_lib import files
    from course_lib.finetune import checkpoint
    from course_lib.finetune.generate import log_likelihood

    checkpoint.verify(files.assets_dir() / "base")
    model, tokenizer = load_base("embedded", task="language-modeling")
    said = log_likelihood(
        model,
        tokenizer,
        [
            ("Once upon a time there was a little", "girl who lived in the wood."),
            ("Once upon a time there was a little", "wood the in lived who girl."),
        ],
    )
    assert said[0] > said[1] + 5


def test_a_larger_base_gets_a_smaller_rate_unless_one_was_given() -> None:
    from course_lib.finetune.settings import fit_to_base, resolve

    config, _, resolved = resolve("classification", "cpu", {}, 0, 100)
    assert fit_to_base(config, resolved, 5_000_000).learning_rate == 1e-3
    assert fit_to_base(config, resolved, 135_000_000).learning_rate == 1e-4
    assert "135,000,000 parameters" in resolved["learning_rate"]["reason"]
    config, _, resolved = resolve("classification", "cpu", {"learning_rate": "0.002"}, 0, 100)
    assert fit_to_base(config, resolved, 135_000_000).learning_rate == 0.002
    assert resolved["learning_rate"] == {"value": 0.002, "reason": "given"}


def test_a_head_on_a_frozen_base_gets_a_larger_rate() -> None:
    from course_lib.finetune.settings import fit_to_base, resolve

    config, _, resolved = resolve("classification", "cpu", {"freeze": "base"}, 0, 100)
    assert fit_to_base(config, resolved, 5_000_000).learning_rate == pytest.approx(1e-2)
    assert "for a head alone" in resolved["learning_rate"]["reason"]
    config, _, resolved = resolve("classification", "cpu", {"freeze": "2"}, 0, 100)
    assert fit_to_base(config, resolved, 5_000_000).learning_rate == 1e-3


@pytest.mark.parametrize("head", ["question-answering-span", "classification", "completion"])
@pytest.mark.parametrize("saved", ["embedded", "question-answering-span"])
def test_every_head_starts_from_the_body_of_the_base(tmp_path: Path, head: str, saved: str) -> None:
    body = load_base("embedded", task="language-modeling")[0].base_model.state_dict()
    base = saved
    if saved != "embedded":  # a file whose body has another name
        base = str(tmp_path / "span")
        model, tokenizer = load_base("embedded", task=saved)
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
    found = load_base(base, task=head, labels=("a", "b"))[0].base_model.state_dict()
    assert all(torch.equal(found[name], weights) for name, weights in body.items())
    fresh = load_base("embedded", task=head, labels=("a", "b"), from_scratch=True)[0]
    assert not torch.equal(fresh.get_input_embeddings().weight, body["embed_tokens.weight"])


def test_a_run_does_not_depend_on_what_this_process_did_before(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.3}))
    data, losses = rows_file(tmp_path, "completion"), []
    for n in range(2):  # the second is told the base's figures from memory
        out = tmp_path / f"run{n}"
        run = recipe.finetune("completion", data, base=str(base), settings=SMALL, seed=3, out=out)
        losses.append((out / "history.jsonl").read_text())
        torch.rand(n + 1)
        assert run["metrics"]["before"]["chrf"] >= 0
    assert losses[0] == losses[1]


def test_a_base_measured_before_is_remembered_for_its_rows_only(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = load("language-modeling", rows_file(tmp_path, "language-modeling")).train
    loaded = load_base(str(tiny_base), task="language-modeling")
    for part in (rows, rows, rows[:3]):
        found = untrained(str(tiny_base), "language-modeling", part)
        assert found == evaluate.language_modeling(*loaded, part).metrics
        found["loss"] = 0.0  # a caller's changes stay its own
