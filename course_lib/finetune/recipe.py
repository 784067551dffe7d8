"""The sole composer of a fine-tune: order, seed, device and run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from course_lib import files
from course_lib.errors import UsageError
from course_lib.finetune import adapt, baselines, checkpoint, data, evaluate, forecast, prepare
from course_lib.finetune import model as models
from course_lib.finetune import splits as cutting
from course_lib.finetune.cached import Reused, reuse
from course_lib.finetune.lineage import parents_of
from course_lib.finetune.precision import pick_precision
from course_lib.finetune.records import (
    Evaluation,
    Example,
    Prepared,
    Splits,
    TrainConfig,
    TrainResult,
)
from course_lib.finetune.settings import fit_to_base, resolve
from course_lib.finetune.train import OnStep, is_main_process, train

Say = Callable[[str], None]


def finetune(
    task: str,
    data_name: str,
    *,
    base: str = models.EMBEDDED,
    profile: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    text_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    from_scratch: bool = False,
    head: str = "auto",
    say: Say = lambda line: None,
    on_step: OnStep = lambda row: None,
) -> dict[str, Any]:
    """Fine-tune a base on a data set and measure it before and after.

    Args:
        task: one of ``records.TASKS``.
        data_name: what :func:`data.load` takes.
        base: ``embedded``, a folder, or a Hub id.
        profile: ``quick``, ``cpu`` or ``gpu``: sizes of the run, never another path.
        settings: overrule fields of ``TrainConfig``, or ``train_rows`` and ``test_rows``.
        out: the run folder; None for ``runs/TASK-DATA-SEED``.
        resume: go on from the newest checkpoint of that folder that verifies.
        text_column, label_column: overrule the guessed columns.
        seed: of the head, the order of rows and the cut of missing splits.
        from_scratch: same architecture, random weights.
        head: question answering only: ``generate`` (the default) or ``span``.
        say: gets one line for each thing worth telling.
        on_step: gets each step's history row and ``steps``, such as ``show.progress.bar()``.

    Returns:
        The content of ``run.json``; under torchrun, nothing in the processes but the first.

    Raises:
        CourseError: whatever is wrong with names, data, base, disk; nothing half-written.
        Stopped: after Ctrl-C; the run folder holds a checkpoint.
    """
    main = is_main_process()
    say = say if main else (lambda line: None)
    splits = data.load(task, data_name, text_column=text_column, label_column=label_column)
    list(map(say, splits.notes))
    kind = _kind(task, head)
    config, rows, resolved = resolve(kind, profile, settings or {}, seed, len(splits.train))
    config = _precision(config, resolved)
    plan = _Plan(kind, base, from_scratch, seed, config, resolved, _limit(splits, rows, seed))
    folder = Path(out or Path("runs") / f"{task}-{Path(data_name).stem}-{seed}")
    model, tokenizer, train_set, validation, adapter = _ready(plan, say)
    config = fit_to_base(config, resolved, models.count_parameters(model)[0])
    plan = dataclasses.replace(plan, config=config, trainable=models.count_parameters(model)[1])
    before = _before(plan, model, tokenizer) if main else {}
    work, pad = folder.parent / f".{folder.name}.work", tokenizer.pad_token_id
    options: dict[str, Any] = {"pad_id": pad, "out": work, "resume": resume, "on_step": on_step}
    result, expected = _learn(plan, model, (train_set, validation), say, **options)
    if not main:
        return {}
    adapt.finish(adapter, work / "adapter", models.base_name(base))
    found = evaluate.EVALUATORS[kind](model, tokenizer, plan.splits.test)
    run = _record(plan, model, train_set, result, before, found) | {"forecast": expected}
    _write(folder, work, run, found, model, tokenizer)
    return run


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What was settled before anything was loaded."""

    kind: str
    base: str
    from_scratch: bool
    seed: int
    config: TrainConfig
    resolved: dict[str, dict[str, Any]]
    splits: Splits
    trainable: int = 0


def _precision(config: TrainConfig, resolved: dict[str, dict[str, Any]]) -> TrainConfig:
    """Settle ``precision=auto`` by what this hardware computes fastest, and record it."""
    if config.precision != "auto":
        return config
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = pick_precision("auto", device)
    name = "bfloat16" if fast == torch.bfloat16 else "float32"
    resolved["precision"] = {"value": name, "reason": "what this hardware computes fastest"}
    return dataclasses.replace(config, precision=name)


def _ready(plan: _Plan, say: Say) -> tuple[Any, Any, Prepared, Prepared, Any]:
    """Load, freeze and adapt the model, encode and count all splits' rows, say what was cut."""
    parents_of(plan.base)  # a run's model that was changed is refused before it is trained
    dtype = torch.float64 if plan.config.precision == "float64" else torch.float32
    model, tokenizer = models.load_base(
        plan.base,
        task=plan.kind,
        labels=plan.splits.labels,
        seed=plan.seed,
        from_scratch=plan.from_scratch,
        dtype=dtype,
    )
    if plan.kind == "classification":
        models.close_texts(tokenizer, plan.config.closing)
        if plan.config.head_init == "words":
            models.head_from_words(model, tokenizer)
    models.freeze(model, plan.config.freeze)
    adapter = adapt.from_settings(model, plan.resolved, plan.seed)
    context = models.context_of(model)
    encoded = []
    for name in ("train", "validation", "test"):
        rows = getattr(plan.splits, name)
        part = prepare.encode(plan.kind, rows, tokenizer, context, plan.splits.labels)
        if part.cut or part.dropped:
            say(
                f"{name}: {part.cut} rows cut to the context of {context} tokens, "
                f"{part.dropped} left out"
            )
        encoded.append(part)
    cut, dropped = sum(p.cut for p in encoded), sum(p.dropped for p in encoded)
    counted = dataclasses.replace(encoded[0], cut=cut, dropped=dropped)
    return model, tokenizer, counted, encoded[1], adapter


def _learn(
    plan: _Plan, model: Any, parts: Sequence[Prepared], say: Say, **options: Any
) -> tuple[TrainResult, dict[str, float]]:
    """Forecast and train; with ``features=cached`` the frozen layers are run once before."""
    pad, mixed = options["pad_id"], plan.config.precision == "bfloat16"
    rows: Any = contextlib.nullcontext(Reused(parts[0], parts[1]))
    if plan.resolved["features"]["value"] == "cached":
        rows = reuse(model, parts[0], parts[1], pad_id=pad, mixed=mixed, say=say)
    with rows as kept:
        main = is_main_process()
        expected = forecast.announce(model, kept.train, plan.config, pad, say) if main else {}
        torch.manual_seed(plan.seed)  # dropout goes by it, whatever was measured before
        result = train(model, kept.train, kept.validation, plan.config, **options)
    return dataclasses.replace(result, seconds=result.seconds + kept.seconds), expected


def _record(
    plan: _Plan,
    model: Any,
    train_set: Prepared,
    result: TrainResult,
    before: Mapping[str, Any],
    found: Evaluation,
) -> dict[str, Any]:
    """Give the content of run.json, schema 1 of the design."""
    splits = plan.splits
    rows = {n: len(getattr(splits, n)) for n in ("train", "validation", "test")}
    return {
        "schema": 1,
        "task": splits.task,
        "head": plan.kind,
        "base": _base_facts(plan, model),
        "data": {
            "name": splits.name,
            "sha256": splits.sha256,
            "columns": dict(splits.columns),
            "rows": rows,
            "cut": train_set.cut,
            "dropped": train_set.dropped,
            "notes": list(splits.notes),
        },
        "settings": plan.resolved,
        "seed": plan.seed,
        "device": str(next(model.parameters()).device),
        "versions": _versions(),
        "steps": result.steps,
        "tokens": result.tokens,
        "seconds": round(result.seconds, 2),
        "peak_memory_bytes": result.peak_memory_bytes,
        "parents": [] if plan.from_scratch else parents_of(plan.base),
        "metrics": {
            "before": dict(before),
            "after": dict(found.metrics),
            "baselines": _baselines(plan.kind, splits),
        },
    }


def _base_facts(plan: _Plan, model: Any) -> dict[str, Any]:
    """Name the base, without a path of this machine, with its digest and size."""
    return {
        "name": models.base_name(plan.base),
        "sha256": models.base_sha256(models.base_path(plan.base)),
        "parameters": models.count_parameters(model)[0],
        "trainable": plan.trainable,
        "from_scratch": plan.from_scratch,
    }


def _kind(task: str, head: str) -> str:
    if head not in ("auto", "generate", "span") or (
        head == "span" and task != "question-answering"
    ):
        raise UsageError(
            f"the head {head!r} does not go with {task}",
            expected="auto; for question-answering also generate or span",
        )
    return f"{task}-span" if head == "span" else task


def _limit(splits: Splits, rows: Mapping[str, int], seed: int) -> Splits:
    """Keep a seeded sample of the rows, by label in turn, where a limit is set."""
    limited: dict[str, Any] = {}
    for name in ("train", "validation", "test"):
        part: Sequence[Example] = getattr(splits, name)
        most = rows.get(name, 0)
        limited[name] = cutting.sample(part, most, seed) if 0 < most < len(part) else part
    return dataclasses.replace(splits, **limited)


def _before(plan: _Plan, model: Any, tokenizer: Any) -> dict[str, Any]:
    """Measure the base before training: asked for its labels, or generating; never a new head."""
    kind, splits = plan.kind, plan.splits
    if plan.from_scratch or kind == "token-classification":
        return {}
    test = splits.test[:100]
    if kind == "classification":
        if len(splits.labels) > 20:
            return {}  # too many labels to score each for each row
        return baselines.label_likelihood(plan.base, test, splits)
    if kind == "question-answering-span":
        kind, model = "question-answering", None
    rows = splits.test if kind == "language-modeling" else test
    return baselines.untrained(plan.base, kind, rows, model, tokenizer)


def _baselines(kind: str, splits: Splits) -> dict[str, Any]:
    if kind == "classification":
        return baselines.classification_baselines(splits)
    if kind.startswith("question-answering"):
        return baselines.question_baselines(splits.test)
    return {}


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("torch", "transformers", "accelerate", "datasets", "scikit-learn")
    return {"python": platform.python_version(), **{n: version(n) for n in names}}


def _write(
    folder: Path, work: Path, run: Mapping[str, Any], found: Evaluation, model: Any, tokenizer: Any
) -> None:
    """Build the run folder under another name and put it in place whole."""
    import shutil

    with files.new_folder(folder) as temporary, models.quiet():
        model.save_pretrained(temporary / "model")
        tokenizer.save_pretrained(temporary / "model")
        checkpoint.write_manifest(temporary / "model")
        shutil.copy(work / "history.jsonl", temporary / "history.jsonl")
        for extra in ("tensorboard", "adapter"):
            if (work / extra).is_dir():
                shutil.copytree(work / extra, temporary / extra)
        lines = (json.dumps(p, ensure_ascii=False) + "\n" for p in found.predictions)
        files.write_text(temporary / "predictions.jsonl", "".join(lines))
        files.write_json(temporary / "run.json", run)
    shutil.rmtree(work, ignore_errors=True)
