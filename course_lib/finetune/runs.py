"""A finished run: load its verified model, measure it, apply it to texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib.errors import DataError, UnknownNameError, UsageError
from course_lib.finetune import checkpoint, data, evaluate, generate
from course_lib.finetune import model as models
from course_lib.finetune.lineage import run_facts
from course_lib.finetune.records import Evaluation, Example, Splits

SPLITS = ("train", "validation", "test")


def load_run(run: Path | str) -> tuple[Any, Any]:
    """Load the model and tokenizer of a run folder, verified against its manifest.

    Raises:
        ModelError: when the folder is not a finished run.
        CheckpointError: when a file of the model was changed.
    """
    facts = run_facts(run)
    checkpoint.verify(Path(run) / "model")
    return models.load_base(str(Path(run) / "model"), task=facts["head"])


def evaluate_run(run: Path | str, data_name: str, split: str = "test") -> Evaluation:
    """Measure a finished run on a split of a data set of its task.

    Args:
        run: the run folder.
        data_name: as for a fine-tune. Columns that were named for the run are taken here too,
            where the data has them.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        DataError: when the data has labels the model never learned.
        UsageError: for an unknown split, or a run that preferences were learned in.
    """
    facts = run_facts(run)
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if facts["task"] == "preference":
        raise UsageError(
            "a preference run is measured against its reference",
            where=str(run),
            next_step="use course_lib.finetune.feedback.preference.win_rate, or read its run.json",
        )
    model, tokenizer = load_run(run)
    splits = _load(facts, data_name)
    known = set(getattr(model.config, "label2id", None) or {})
    if splits.labels and facts["task"] == "classification" and not set(splits.labels) <= known:
        raise DataError(
            "the data has labels this model never learned",
            where=data_name,
            got=", ".join(sorted(set(splits.labels) - known)),
            expected=", ".join(sorted(known)),
        )
    return evaluate.EVALUATORS[facts["head"]](model, tokenizer, getattr(splits, split))


def _load(facts: Mapping[str, Any], name: str) -> Splits:
    columns = facts["data"].get("columns", {})
    named = {f"{role}_column": column for role, column in columns.items()}
    try:
        return data.load(facts["task"], name, **named)
    except UnknownNameError:
        if not named:
            raise
        return data.load(facts["task"], name)  # other data, with columns of its own


def predict_run(run: Path | str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Apply a finished run to texts.

    Args:
        run: the run folder.
        texts: for question answering each is ``question<TAB>passage``.

    Returns:
        One map a text: ``prediction``, and ``probabilities`` for a classifier.
    """
    facts = run_facts(run)
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
