"""The sole composer of a fine-tune: order, seed, device and run folder."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from course_lib import files
from course_lib.errors import DataError, ModelError, UsageError
from course_lib.finetune import baselines, checkpoint, data, evaluate, forecast, generate, prepare
from course_lib.finetune import model as models
from course_lib.finetune.pretrain import pick_precision
from course_lib.finetune.records import Evaluation, Example, Prepared, Splits
from course_lib.finetune.settings import resolve
from course_lib.finetune.train import train

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

    Returns:
        The content of ``run.json``.

    Raises:
        CourseError: whatever is wrong with names, data, base, disk; nothing half-written.
        Stopped: after Ctrl-C; the run folder holds a checkpoint.
    """
    splits = data.load(task, data_name, text_column=text_column, label_column=label_column)
    for note in splits.notes:
        say(note)
    kind = _kind(task, head)
    config, rows, resolved = resolve(kind, profile, settings or {}, seed, len(splits.train))
    splits = _limit(splits, rows, seed)
    folder = Path(out or Path("runs") / f"{task}-{Path(data_name).stem}-{seed}")
    if (folder / "run.json").is_file() and not resume:
        say(f"{folder} holds an earlier run; it is replaced when this one is done")
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    model, tokenizer = models.load_base(
        base, task=kind, labels=splits.labels, seed=seed, from_scratch=from_scratch, dtype=dtype
    )
    models.freeze(model, config.freeze)
    context = models.context_of(model)
    train_set, validation = (
        encode(kind, part, tokenizer, context, splits.labels)
        for part in (splits.train, splits.validation)
    )
    for part, name in ((train_set, "training"), (validation, "validation")):
        if part.cut or part.dropped:
            say(
                f"{name}: {part.cut} rows cut to the context of {context} tokens, "
                f"{part.dropped} left out"
            )
    before = _before(kind, base, model, tokenizer, splits, from_scratch)
    forecast.announce(model, train_set, config, tokenizer.pad_token_id, say)
    precision = pick_precision("auto", next(model.parameters()).device)
    if config.precision == "auto":
        name = {torch.bfloat16: "bfloat16"}.get(precision, "float32")
        config = dataclasses.replace(config, precision=name)
        resolved["precision"] = {"value": name, "reason": "what this hardware computes fastest"}
    work = folder.parent / f".{folder.name}.work"
    result = train(
        model, train_set, validation, config, pad_id=tokenizer.pad_token_id, out=work, resume=resume
    )
    found = evaluate.EVALUATORS[kind](model, tokenizer, splits.test)
    total, trainable = models.count_parameters(model)
    path = models.base_path(base)
    run: dict[str, Any] = {
        "schema": 1,
        "task": task,
        "head": kind,
        "base": {
            "name": base
            if base == models.EMBEDDED
            else Path(path).name
            if Path(path).is_dir()
            else base,
            "sha256": models.base_sha256(path, model),
            "parameters": total,
            "trainable": trainable,
            "from_scratch": from_scratch,
        },
        "data": {
            "name": splits.name,
            "sha256": splits.sha256,
            "rows": {
                "train": len(splits.train),
                "validation": len(splits.validation),
                "test": len(splits.test),
            },
            "cut": train_set.cut,
            "dropped": train_set.dropped,
            "notes": list(splits.notes),
        },
        "settings": resolved,
        "seed": seed,
        "device": str(next(model.parameters()).device),
        "versions": _versions(),
        "steps": result.steps,
        "tokens": result.tokens,
        "seconds": round(result.seconds, 2),
        "peak_memory_bytes": result.peak_memory_bytes,
        "parents": [],
        "metrics": {
            "before": before,
            "after": dict(found.metrics),
            "baselines": _baselines(kind, splits),
        },
    }
    _write(folder, work, run, found, model, tokenizer)
    return run


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
        limited[name] = _sample(part, most, seed) if 0 < most < len(part) else part
    return dataclasses.replace(splits, **limited)


def _sample(part: Sequence[Example], count: int, seed: int) -> list[Example]:
    import random

    rng = random.Random(seed)
    cells: dict[str, list[int]] = {}
    for place, row in enumerate(part):
        cells.setdefault(row.label or "", []).append(place)
    for cell in cells.values():
        rng.shuffle(cell)
    turns = [(i, rng.random(), place) for cell in cells.values() for i, place in enumerate(cell)]
    return [part[place] for place in sorted(p for _, _, p in sorted(turns)[:count])]


def encode(
    kind: str, rows: Sequence[Example], tokenizer: Any, context: int, labels: Sequence[str]
) -> Prepared:
    """Encode examples for a kind of head (see ``prepare``)."""
    if kind in ("classification", "token-classification"):
        maker = prepare.classification if kind == "classification" else prepare.token_classification
        return maker(rows, tokenizer, context, labels)
    if kind == "completion":
        if rows and rows[0].turns:
            return prepare.chats(rows, tokenizer, context)
        return prepare.prompted(((r.text, r.target) for r in rows), tokenizer, context, kind)
    makers = {
        "language-modeling": prepare.language_modeling,
        "question-answering": prepare.question_answering,
        "question-answering-span": prepare.question_answering_span,
    }
    return makers[kind](rows, tokenizer, context)


def _before(
    kind: str, base: str, model: Any, tokenizer: Any, splits: Splits, from_scratch: bool
) -> dict[str, Any]:
    """Measure the base before training: asked for its labels, or generating; never a new head."""
    if from_scratch or kind == "token-classification":
        return {}
    test = splits.test[:100]
    if kind == "classification":
        if len(splits.labels) > 20:
            return {}  # too many labels to score each for each row
        return baselines.label_likelihood(base, test, splits)
    if kind == "question-answering-span":
        model, tokenizer = models.load_base(base, task="question-answering")
        kind = "question-answering"
    rows = splits.test if kind == "language-modeling" else test
    return dict(evaluate.EVALUATORS[kind](model, tokenizer, rows).metrics)


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

    with files.new_folder(folder) as temporary:
        model.save_pretrained(temporary / "model")
        tokenizer.save_pretrained(temporary / "model")
        checkpoint.write_manifest(temporary / "model")
        shutil.copy(work / "history.jsonl", temporary / "history.jsonl")
        lines = (json.dumps(p, ensure_ascii=False) + "\n" for p in found.predictions)
        files.write_text(temporary / "predictions.jsonl", "".join(lines))
        files.write_json(temporary / "run.json", run)
    shutil.rmtree(work, ignore_errors=True)


def load_run(run: Path | str) -> tuple[Any, Any]:
    """Load the model and tokenizer of a run folder, verified against its manifest.

    Raises:
        ModelError: when the folder is not a finished run.
        CheckpointError: when a file of the model was changed.
    """
    facts = _facts(run)
    checkpoint.verify(Path(run) / "model")
    return models.load_base(str(Path(run) / "model"), task=facts["head"])


def _facts(run: Path | str) -> dict[str, Any]:
    if not (Path(run) / "run.json").is_file():
        raise ModelError(
            "not a finished run",
            where=str(run),
            expected="a folder with run.json",
            next_step="give the folder named by --out when it was fine-tuned, "
            "or finish the run with --resume",
        )
    facts: dict[str, Any] = files.read_json(Path(run) / "run.json")
    return facts


def evaluate_run(run: Path | str, data_name: str) -> Evaluation:
    """Measure a finished run on the test split of a data set of its task."""
    facts = _facts(run)
    model, tokenizer = load_run(run)
    splits = data.load(facts["task"], data_name)
    known = set(getattr(model.config, "label2id", None) or {})
    if splits.labels and facts["task"] == "classification" and not set(splits.labels) <= known:
        raise DataError(
            "the data has labels this model never learned",
            where=data_name,
            got=", ".join(sorted(set(splits.labels) - known)),
            expected=", ".join(sorted(known)),
        )
    return evaluate.EVALUATORS[facts["head"]](model, tokenizer, splits.test)


def predict_run(run: Path | str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Apply a finished run to texts.

    Args:
        run: the run folder.
        texts: for question answering each is ``question<TAB>passage``.

    Returns:
        One map a text: ``prediction``, and ``probabilities`` for a classifier.
    """
    facts = _facts(run)
    model, tokenizer = load_run(run)
    kind = facts["head"]
    if kind == "classification":
        found = evaluate.class_probabilities(model, tokenizer, texts)
        labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
        return [
            {
                "prediction": labels[int(row.argmax())],
                "probabilities": {n: float(v) for n, v in zip(labels, row, strict=True)},
            }
            for row in found
        ]
    if kind == "token-classification":
        rows = [
            Example(id=str(i), tokens=tuple(t.split()), tags=("O",) * len(t.split()))
            for i, t in enumerate(texts)
        ]
        tagged = evaluate.token_classification(model, tokenizer, rows).predictions
        return [{"prediction": p["prediction"]} for p in tagged]
    if kind.startswith("question-answering"):
        rows = [_question(i, t) for i, t in enumerate(texts)]
        answered = evaluate.EVALUATORS[kind](model, tokenizer, rows).predictions
        return [{"prediction": p["prediction"]} for p in answered]
    return [{"prediction": t} for t in generate.complete(model, tokenizer, list(texts))]


def _question(place: int, text: str) -> Example:
    question, tab, passage = text.partition("\t")
    if not tab:
        raise UsageError(
            "a question needs its passage",
            where=f"text {place + 1}",
            expected="question<TAB>passage on one line",
        )
    return Example(id=str(place), text=passage, question=question)
