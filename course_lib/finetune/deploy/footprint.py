"""What a quantised model costs and brings: size on disk, latency, and quality on the same rows."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib import files, metrics
from course_lib.errors import DataError, UsageError
from course_lib.finetune import evaluate, generate, prepare, runs
from course_lib.finetune import model as models
from course_lib.finetune.batch import plain_batches
from course_lib.finetune.deploy.shrink import load_shrunk
from course_lib.finetune.loss import IGNORE, fused_cross_entropy
from course_lib.finetune.records import Example

LEAST_CALLS = 30


def size_on_disk(run: Path | str) -> int:
    """Give the bytes of a run's weights (its safetensors files)."""
    return sum(p.stat().st_size for p in (Path(run) / "model").glob("*.safetensors"))


def latency(
    calls_by_name: Mapping[str, Callable[[str], object]],
    texts: Sequence[str],
    *,
    calls: int = 50,
    warm_up: int = 5,
) -> dict[str, dict[str, float]]:
    """Time functions of one text side by side: each text goes to all of them in turn.

    Taking turns spreads what else the machine does over all of them alike.

    Args:
        calls_by_name: what to time.
        texts: gone through again from the start when they are fewer than ``calls``.
        calls: timed calls of each, at least 30; warm_up: calls before, not counted.

    Returns:
        For each name ``median_ms``, ``p95_ms`` (the 95th percentile) and ``calls``.

    Raises:
        UsageError: for fewer than 30 calls; a 95th percentile of less means nothing.
        DataError: without texts.
    """
    if calls < LEAST_CALLS:
        raise UsageError("too few calls to time", got=str(calls), expected=f"{LEAST_CALLS} or more")
    if not texts:
        raise DataError("there are no texts to time a model on")
    seconds: dict[str, list[float]] = {name: [] for name in calls_by_name}
    for place in range(warm_up + calls):
        for name, call in calls_by_name.items():
            began = time.perf_counter()
            call(texts[place % len(texts)])
            seconds[name].append(time.perf_counter() - began)
    return {
        name: {
            "median_ms": float(np.median(found[warm_up:])) * 1e3,
            "p95_ms": float(np.quantile(found[warm_up:], 0.95)) * 1e3,
            "calls": calls,
        }
        for name, found in seconds.items()
    }


def compare(
    run: Path | str, small: Path | str, rows: Sequence[Example], *, calls: int = 50
) -> dict[str, Any]:
    """Measure a quantised run against the run it was made from, on the same rows.

    A classifier is measured by accuracy and timed on one text at a time; a model that writes
    by nats a token of each row's target, and timed on writing 16 tokens after its prompt.

    Args:
        run, small: the two run folders.
        rows: of the run's task; held-out ones.
        calls: see :func:`latency`.

    Returns:
        ``metric`` (its name), ``rows``, ``float32`` and ``int8``: maps with ``value``,
        ``bytes``, ``median_ms``, ``p95_ms``, ``calls``; ``difference`` (int8 minus float32)
        with the 95% bootstrap ``difference_interval`` over paired rows; for a classifier
        ``changed``, the share of rows with another prediction.

    Raises:
        DataError: without rows.
        UsageError: for a head other than these.
        ModelError, EnvironmentProblem: as :func:`shrink.load_shrunk`.
    """
    head = files.read_json(Path(run) / "run.json")["head"]
    causal = models.HEADS.get(head) == "AutoModelForCausalLM"
    if not rows:
        raise DataError("there are no rows to compare the models on")
    if not causal and head != "classification":
        raise UsageError("only classifiers and models that write can be compared", got=head)
    pairs = {"float32": runs.load_run(run), "int8": load_shrunk(small)}
    per_row: dict[str, np.ndarray] = {}
    timed: dict[str, Callable[[str], object]] = {}
    guesses = []
    for name, (model, tokenizer) in pairs.items():
        if causal:
            per_row[name] = _row_nats(model, tokenizer, head, rows)
            timed[name] = functools.partial(_write_some, model, tokenizer)
        else:
            found = evaluate.classification(model, tokenizer, rows).predictions
            guesses.append([p["prediction"] for p in found])
            per_row[name] = np.array([float(p["gold"] == p["prediction"]) for p in found])
            timed[name] = functools.partial(_classify, model, tokenizer)
    texts = [generate.prompt_and_target(pairs["int8"][1], r)[0] if causal else r.text for r in rows]
    speed = latency(timed, texts, calls=calls)
    paired = per_row["int8"] - per_row["float32"]
    result: dict[str, Any] = {
        "metric": "nats a token" if causal else "accuracy",
        "rows": len(paired),
        "difference": float(paired.mean()),
        "difference_interval": list(metrics.bootstrap_interval(paired.tolist())),
    }
    for name, folder in (("float32", run), ("int8", small)):
        value = {"value": float(per_row[name].mean()), "bytes": size_on_disk(folder)}
        result[name] = value | speed[name]
    if guesses:
        result["changed"] = float(np.mean([a != b for a, b in zip(*guesses, strict=True)]))
    return result


def _classify(model: Any, tokenizer: Any, text: str) -> object:
    return evaluate.class_probabilities(model, tokenizer, [text])


def _write_some(model: Any, tokenizer: Any, text: str) -> object:
    return generate.complete(model, tokenizer, [text], max_new_tokens=16)


@torch.no_grad()
def _row_nats(model: Any, tokenizer: Any, head: str, rows: Sequence[Example]) -> np.ndarray:
    """Give the mean loss of each encoded row's counted tokens, float64 ``[rows]``."""
    data = prepare.encode(head, rows, tokenizer, models.context_of(model), ())
    weight, found = model.get_output_embeddings().weight, np.zeros(len(data))
    for group, batch in plain_batches(data, budget=8192, pad_id=tokenizer.pad_token_id):
        hidden = model.base_model(input_ids=batch["input_ids"]).last_hidden_state
        for place, row in enumerate(group):
            labels = batch["labels"][place]
            nats = float(fused_cross_entropy(hidden[place], weight, labels))
            found[row] = nats / max(1, int((labels != IGNORE).sum()))
    return found
