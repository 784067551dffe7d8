"""A DPO step with TRL: from a base or a run folder and preference pairs to a run folder."""

from __future__ import annotations

import copy
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import ModelError
from course_lib.finetune import checkpoint, lineage, runs
from course_lib.finetune import model as models
from course_lib.finetune.feedback import preference
from course_lib.finetune.feedback import ratings as feedback
from course_lib.finetune.feedback.dpo_step import Say, Step, resolve
from course_lib.finetune.history import History
from course_lib.finetune.records import Evaluation
from course_lib.finetune.train import OnStep, peak_memory


def dpo(
    data: str,
    *,
    base: str = models.EMBEDDED,
    out: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    chat: bool | None = None,
    seed: int = 0,
    say: Say = lambda line: None,
    on_step: OnStep = lambda row: None,
) -> dict[str, Any]:
    """Tune a model towards the better replies of preference pairs.

    All weights are trained, in float32, against a frozen copy of the model as it came. The
    weights kept are those of the epoch of the lowest validation loss; the untrained model
    (a loss of ln 2) stands as epoch 0.

    Args:
        data: what :func:`feedback.load_pairs` takes, such as ``preferences``.
        base: ``embedded``, a Hub id, a model folder, or the run folder of a model that writes.
        out: the run folder; None for ``runs/dpo-DATA-SEED``.
        settings: overrule ``dpo_step.SETTINGS``.
        chat: as in :func:`preference.encode_pairs`; say False after a fine-tune on plain
            prompts and targets, so that the model meets the format it knows.
        seed: of the order of pairs and the cut of missing splits.
        say: gets one line for each thing worth telling, with a forecast after three steps.
        on_step: gets each step's history row and ``steps``.

    Returns:
        The content of ``run.json``: ``metrics.after`` as :func:`preference.win_rate` gives it
        for the test pairs, ``before`` the same for the untrained model (0.5 by definition).

    Raises:
        DataError: for pairs that are missing, empty, identical or too long for the context.
        ModelError: for a base that does not write text.
        UsageError: for a setting that is unknown or out of range.
        Stopped: after Ctrl-C; nothing is kept.
    """
    found = feedback.load_pairs(data, seed=seed)
    list(map(say, found.notes))
    resolved = resolve(settings or {})
    values = {name: entry["value"] for name, entry in resolved.items()}
    model, tokenizer, parents = _start(base, seed)
    coded = _encode(found, values["train_rows"], tokenizer, models.context_of(model), chat, say)
    reference = copy.deepcopy(model).requires_grad_(False)
    step = Step(model, reference, tokenizer, coded, values, seed, say, on_step)
    step.train()
    run = _record(found, coded, base, model, resolved, seed, parents, step)
    run["metrics"], after = _measure(coded, model, reference, tokenizer)
    folder = Path(out or Path("runs") / f"dpo-{Path(data).stem}-{seed}")
    _write(folder, run, step.history, after, model, tokenizer)
    return run


def _start(base: str, seed: int) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Load a base, or a run's verified model; its tokenizer and the runs before."""
    run = _run_folder(base)
    if run is None:
        return (*models.load_base(base, task="completion", seed=seed), [])
    facts = files.read_json(run / "run.json")
    if models.HEADS.get(facts["head"]) != "AutoModelForCausalLM":
        raise ModelError(
            "preferences need a model that writes text",
            where=str(run),
            got=f"a run with the head {facts['head']}",
            next_step="give a run of completion or language-modeling, or a base",
        )
    model, tokenizer = runs.load_run(run)
    return model, tokenizer, lineage.parents_of(str(run / "model"))


def _run_folder(base: str) -> Path | None:
    """Give the run folder that ``base`` names, itself or by its model; None for other bases."""
    run = Path(base).expanduser().resolve()
    run = run.parent if run.name == "model" else run
    return run if (run / "run.json").is_file() else None


def _encode(
    found: feedback.PairSplits,
    limit: int,
    tokenizer: Any,
    context: int,
    chat: bool | None,
    say: Say,
) -> dict[str, preference.EncodedPairs]:
    """Encode the pairs of each split and say what was cut."""
    coded = {}
    for name in ("train", "validation", "test"):
        pairs = getattr(found, name)
        pairs = pairs[:limit] if limit and name == "train" else pairs
        coded[name] = part = preference.encode_pairs(pairs, tokenizer, context, chat=chat)
        if part.cut or part.dropped:
            say(f"{name}: {part.cut} prompts cut to {context} tokens, {part.dropped} pairs out")
    return coded


def _measure(
    coded: Mapping[str, preference.EncodedPairs], model: Any, reference: Any, tokenizer: Any
) -> tuple[dict[str, Any], Evaluation]:
    """Give the metrics of run.json, and the tuned model's evaluation on the test pairs."""
    test = coded["test"]
    theirs = preference.log_probs(reference, tokenizer, test)
    before = preference.compare_log_probs(test, theirs, theirs)
    after = preference.compare_log_probs(test, preference.log_probs(model, tokenizer, test), theirs)
    return {
        "before": dict(before.metrics),
        "after": dict(after.metrics),
        "baselines": preference.pair_baselines(coded["train"].pairs, test.pairs),
    }, after


def _record(
    found: feedback.PairSplits,
    coded: Mapping[str, preference.EncodedPairs],
    base: str,
    model: Any,
    resolved: Mapping[str, Any],
    seed: int,
    parents: list[dict[str, Any]],
    step: Step,
) -> dict[str, Any]:
    """Give the content of run.json, schema 1 of the design, but for the metrics."""
    train = coded["train"].rows
    tokens = sum(
        len(r["prompt_ids"]) * 2 + len(r["chosen_ids"]) + len(r["rejected_ids"]) for r in train
    )
    return {
        "schema": 1,
        "task": "preference",
        "head": "completion",
        "base": _base_facts(base, model),
        "data": {
            "name": found.name,
            "sha256": found.sha256,
            "rows": {n: len(part.pairs) for n, part in coded.items()},
            "cut": sum(part.cut for part in coded.values()),
            "dropped": sum(part.dropped for part in coded.values()),
            "notes": list(found.notes),
        },
        "settings": dict(resolved),
        "seed": seed,
        "device": str(next(model.parameters()).device),
        "versions": _versions(),
        "steps": step.steps,
        "tokens": tokens * int(resolved["epochs"]["value"]),
        "seconds": round(step.seconds, 2),
        "peak_memory_bytes": peak_memory(next(model.parameters()).device),
        "parents": parents,
        "kept_epoch": step.kept_epoch,
        "forecast": {"seconds": round(step.forecast, 1)},
    }


def _base_facts(base: str, model: Any) -> dict[str, Any]:
    """Name the base, without a path of this machine, with its digest and size."""
    total, trained = models.count_parameters(model)
    run = _run_folder(base)
    local = base != models.EMBEDDED and Path(base).expanduser().is_dir()
    return {
        "name": run.name if run else Path(base).name if local else base,
        "sha256": models.base_sha256(str(run / "model") if run else models.base_path(base)),
        "parameters": total,
        "trainable": trained,
        "from_scratch": False,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "transformers", "accelerate", "datasets", "trl")
    return {"python": platform.python_version(), **{n: version(n) for n in names}}


def _write(
    folder: Path,
    run: Mapping[str, Any],
    history: list[dict[str, float]],
    found: Evaluation,
    model: Any,
    tokenizer: Any,
) -> None:
    """Build the run folder under another name and put it in place whole."""
    with files.new_folder(folder) as temporary, models.quiet():
        model.save_pretrained(temporary / "model")
        tokenizer.save_pretrained(temporary / "model")
        checkpoint.write_manifest(temporary / "model")
        with History(temporary) as log:
            for row in history:
                log.write(row)
        lines = (json.dumps(p, ensure_ascii=False) + "\n" for p in found.predictions)
        files.write_text(temporary / "predictions.jsonl", "".join(lines))
        files.write_json(temporary / "run.json", run)
