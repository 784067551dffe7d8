"""int8 models: what is quantised, that they load again unchanged, and what they cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import files
from course_lib.errors import (
    CheckpointError,
    DataError,
    ModelError,
    UnknownNameError,
    UsageError,
)
from course_lib.finetune import data, evaluate, generate, recipe, runs, sources
from course_lib.finetune.deploy import footprint, shrink
from course_lib.finetune.records import Example

SMALL = {"epochs": 1, "train_rows": 40, "validation_rows": 16, "test_rows": 8}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run of the embedded base on a few course tickets."""
    out = tmp_path_factory.mktemp("shrink") / "tickets"
    recipe.finetune("classification", "support_tickets", out=out, settings=SMALL)
    return out


@pytest.fixture(scope="module")
def openings(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a file of the first words of course tickets and replies, for a small context."""
    path = tmp_path_factory.mktemp("shrink") / "openings.jsonl"
    lines = [
        {"prompt": row["text"][:40], "completion": row["reply"][:40]}
        for _, row in files.read_jsonl(sources.course_file("support_tickets", "test.jsonl"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in lines))
    return str(path)


@pytest.fixture(scope="module")
def writer(tiny_base: Path, openings: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run of a tiny base that writes."""
    out = tmp_path_factory.mktemp("shrink") / "replies"
    recipe.finetune("completion", openings, base=str(tiny_base), out=out, settings=SMALL)
    return out


@pytest.mark.parametrize("kind", shrink.KINDS)
def test_a_classifier_in_int8_is_smaller_and_nearly_as_it_was(
    classifier: Path, tmp_path: Path, kind: str
) -> None:
    import transformers

    small = tmp_path / "small"
    run = shrink.shrink_run(classifier, small, kind=kind)
    assert json.loads((small / "run.json").read_text()) == run
    # 4 layers of 7 projections; not the layer of the classes
    how = run["quantised"]
    assert (how["kind"], how["layers"], how["left_float"]) == (kind, 28, 1)
    assert (
        run["parents"][0]["name"] == run["base"]["name"] == "tickets"
        and run["metrics"]["after"] == {}
    )
    assert shrink.is_quantised(small) and not shrink.is_quantised(classifier)
    # 3.01 million of the 5.11 million numbers are in these layers: 3 bytes saved on each
    saved = footprint.size_on_disk(classifier) - footprint.size_on_disk(small)
    assert 8.9e6 < saved < 9.05e6
    assert not [p for p in (small / "model").iterdir() if p.suffix in (".bin", ".pt", ".pkl")]
    model, tokenizer = shrink.load_shrunk(small)
    texts = [r.text for r in data.load("classification", "support_tickets").test[:24]]
    ours = evaluate.class_probabilities(model, tokenizer, texts)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(small / "model")
    plain = evaluate.class_probabilities(theirs.eval(), tokenizer, texts)
    np.testing.assert_array_equal(ours, plain)
    float_model, _ = runs.load_run(classifier)
    before = evaluate.class_probabilities(float_model, tokenizer, texts)
    assert 0 < np.abs(ours - before).max() < 0.1
    assert float((ours.argmax(1) == before.argmax(1)).mean()) > 0.85
    assert runs.predict_run(small, texts[:1])[0]["prediction"] in model.config.label2id


def test_the_rounding_is_the_one_of_the_formula(classifier: Path, tmp_path: Path) -> None:
    """Each row of a weight is rounded to 255 steps of its largest number / 127.5."""
    shrink.shrink_run(classifier, tmp_path / "small", kind="weights")
    model, _ = shrink.load_shrunk(tmp_path / "small")
    was = runs.load_run(classifier)[0].model.layers[1].mlp.down_proj.weight.detach()
    now = model.model.layers[1].mlp.down_proj.weight.dequantize()
    step = was.abs().amax(1, keepdim=True) / 127.5
    assert float(((now - was).abs() / step).max()) <= 1.01
    assert float(((now - was).abs() / step).mean()) == pytest.approx(0.25, abs=0.02)
    table = model.get_input_embeddings().weight
    assert table.dtype == torch.float32
    assert torch.equal(table, runs.load_run(classifier)[0].get_input_embeddings().weight)


def test_comparing_pairs_the_rows(classifier: Path, tmp_path: Path) -> None:
    shrink.shrink_run(classifier, tmp_path / "small")
    rows = data.load("classification", "support_tickets").test[:24]
    found = footprint.compare(classifier, tmp_path / "small", rows, calls=30)
    both = found["float32"], found["int8"]
    assert found["metric"] == "accuracy" and found["rows"] == 24
    assert found["difference"] == pytest.approx(both[1]["value"] - both[0]["value"])
    low, high = found["difference_interval"]
    assert low <= found["difference"] <= high
    assert found["changed"] >= abs(found["difference"])
    assert both[1]["bytes"] < 0.6 * both[0]["bytes"]
    assert all(0 < b["median_ms"] <= b["p95_ms"] and b["calls"] == 30 for b in both)


def test_a_model_that_writes_keeps_its_tied_output_layer_in_float(
    writer: Path, openings: str, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    run = shrink.shrink_run(writer, small)
    assert run["quantised"]["layers"] == 14 and run["quantised"]["left_float"] == 1
    model, tokenizer = shrink.load_shrunk(small)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert generate.complete(model, tokenizer, ["where is my parcel"], max_new_tokens=4)
    rows = data.load("completion", openings).test[:6]
    found = footprint.compare(writer, small, rows, calls=30)
    assert found["metric"] == "nats a token" and "changed" not in found
    assert abs(found["difference"]) < 0.05 < found["float32"]["value"]


def test_bad_calls_are_named(classifier: Path, writer: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shrink.shrink_run(classifier, small, kind="weights")
    with pytest.raises(ModelError, match="this model is quantised already"):
        shrink.shrink_run(small, tmp_path / "again")
    with pytest.raises(UnknownNameError, match="unknown kind of quantisation 'int4'"):
        shrink.shrink_run(classifier, tmp_path / "again", kind="int4")
    with pytest.raises(ModelError, match="not a finished run"):
        shrink.shrink_run(tmp_path, tmp_path / "again")
    with pytest.raises(ModelError, match="this run is not quantised"):
        shrink.load_shrunk(classifier)
    assert not (tmp_path / "again").exists()
    rows = [Example(id="1", text="where is my parcel", label="order_status")]
    with pytest.raises(DataError, match="no rows to compare"):
        footprint.compare(classifier, small, [])
    with pytest.raises(UsageError, match="too few calls to time; got 5"):
        footprint.latency({}, ["a"], calls=5)
    with pytest.raises(DataError, match="no texts to time"):
        footprint.latency({}, [])
    weights = small / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: the file is not the one"):
        footprint.compare(classifier, small, rows)


def test_a_base_without_linear_layers_is_refused(writer: Path, tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from course_lib.finetune import checkpoint

    run = tmp_path / "run"
    shutil.copytree(writer, run)
    shape = GPT2Config(vocab_size=320, n_positions=64, n_embd=32, n_layer=1, n_head=2,
                       bos_token_id=0, eos_token_id=0)  # fmt: skip
    GPT2LMHeadModel(shape).save_pretrained(run / "model")
    checkpoint.write_manifest(run / "model")
    with pytest.raises(ModelError, match="no Linear layers to quantise; got GPT2LMHeadModel"):
        shrink.shrink_run(run, tmp_path / "small")


OLDER = """
import sys
from course_lib.errors import EnvironmentProblem
from course_lib.finetune.deploy import shrink
print(shrink.int8_range())
made = shrink.shrink_run(sys.argv[2], sys.argv[3])
print(made["quantised"]["range"])
shrink.load_shrunk(sys.argv[3])
try:
    shrink.load_shrunk(sys.argv[1])
except EnvironmentProblem as error:
    print(error)
"""


def test_a_processor_without_vnni_gets_half_the_range(writer: Path, tmp_path: Path) -> None:
    """oneDNN is held to AVX2 here, whose int8 sums overflow silently."""
    full, half = tmp_path / "full", tmp_path / "half"
    shrink.shrink_run(writer, full)
    facts = files.read_json(full / "run.json")
    files.write_json(full / "run.json", facts | {"quantised": {"kind": "dynamic", "range": "full"}})
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OLDER, str(full), str(writer), str(half)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    if said[0] == "full":  # a processor whose AVX2 path is exact, such as one with AVX-VNNI
        return
    assert said[:2] == ["reduced", "reduced"]
    assert "this processor overflows on this model's int8 products" in said[2]
    assert "expected a processor with VNNI" in said[2]
