"""Tags on words and on tokens: how they are laid, how sure a model is, and how they slip."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib import metrics
from course_lib.finetune import evaluate, prepare
from course_lib.finetune.batch import plain_batches
from course_lib.finetune.compare import Scored, predictions_of
from course_lib.finetune.evaluate import BUDGET
from course_lib.finetune.lineage import run_facts
from course_lib.finetune.loss import IGNORE
from course_lib.finetune.model import context_of, load_base
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Evaluation, Example, Prepared, Splits, TrainConfig
from course_lib.finetune.splits import sample
from course_lib.finetune.train import OnStep, train

_WORD = re.compile(  # an order number, a number, a word with its apostrophe, a mark
    r"[^\W\d_]+-\d+|\d+(?:[.,:]\d+)*[^\W\d_]*|[^\W_]+(?:['\u2019][^\W_]+)*|\S"
)


def split_words(text: str) -> tuple[str, ...]:
    """Cut a text into words, numbers and single marks, as the set ``entities`` keeps them."""
    return tuple(_WORD.findall(text))


@torch.no_grad()
def tag_words(model: Any, tokenizer: Any, words: Sequence[str]) -> list[tuple[str, str, float]]:
    """Give ``(word, tag, probability)`` of each word a token classifier has room for.

    Args:
        model: with a token classification head, such as ``load_run`` gives.
        tokenizer: its tokenizer.
        words: a text in words, such as :func:`split_words` gives.
    """
    if not words:
        return []
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    row = Example(id="0", tokens=tuple(words), tags=(labels[0],) * len(words))
    data = prepare.token_classification([row], tokenizer, context_of(model), labels)
    objective, device = Objective(model.eval(), data.task), next(model.parameters()).device
    for _, batch in plain_batches(data, budget=BUDGET, pad_id=tokenizer.pad_token_id):
        logits = objective.scores({k: v.to(device) for k, v in batch.items()})[0].cpu()
        sure = torch.softmax(logits[batch["labels"][0] != IGNORE].double(), -1)
        best = sure.max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(w, labels[i], p) for w, (i, p) in zip(words, pairs, strict=False)]
    return []


def laid(data: Prepared, row: int, tokenizer: Any, labels: Sequence[str]) -> list[tuple[str, str]]:
    """Give ``(token, tag)`` of an encoded row; a token that carries no tag has an empty one."""
    start, end = int(data.offsets[row]), int(data.offsets[row + 1])
    pairs = zip(data.ids[start:end], data.labels[start:end], strict=True)
    return [(tokenizer.decode([int(i)]), labels[t] if t != IGNORE else "") for i, t in pairs]


def recall_by_type(system: Scored) -> dict[str, tuple[float, int]]:
    """Give for each type of entity the share that was found, and how many there were.

    Args:
        system: an evaluation or a run folder of a token classification.
    """
    there: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    for row in predictions_of(system):
        gold, said = set(metrics.entities(row["gold"])), set(metrics.entities(row["prediction"]))
        there.update(kind for kind, _, _ in gold)
        hit.update(kind for kind, _, _ in gold & said)
    return {kind: (hit[kind] / count, count) for kind, count in sorted(there.items())}


def slipped(data: Prepared) -> Prepared:
    """Lay each row's tags on its tokens from the left, one a token, as if no word were split.

    The classic fault: after the first word of several tokens every tag lies too far left. For
    showing what it does; the rows' tags themselves stay in order and none is lost.
    """
    labels = np.full_like(data.labels, IGNORE)
    for row in range(len(data)):
        start, end = int(data.offsets[row]), int(data.offsets[row + 1])
        tags = data.labels[start:end]
        tags = tags[tags != IGNORE]
        labels[start : start + len(tags)] = tags
    return dataclasses.replace(data, labels=labels)


def retrain_slipped(
    run: Path | str,
    splits: Splits,
    *,
    base: str = "embedded",
    on_step: OnStep = lambda row: None,
) -> Evaluation:
    """Train a tagger once more with every setting of a run, but with slipped tags.

    Its epochs are chosen on validation rows that slipped too, as the fault would have it. It
    is then measured as any tagger: a word's tag is read at the word's last token.

    Args:
        run: the run folder of a token classification.
        splits: the data set of that run.
        base: the base that run began with.
        on_step: as for ``finetune``.

    Raises:
        ModelError: when the folder is not a finished run.
    """
    facts = run_facts(run)
    given = {name: setting["value"] for name, setting in facts["settings"].items()}
    fields = {f.name: given[f.name] for f in dataclasses.fields(TrainConfig)}
    config = TrainConfig(**{**fields, "betas": tuple(fields["betas"])})
    kind, seed = "token-classification", int(facts["seed"])
    model, tokenizer = load_base(base, task=kind, labels=splits.labels, seed=seed)
    parts = []
    for name in ("train", "validation", "test"):
        rows, most = getattr(splits, name), int(given[f"{name}_rows"])
        parts.append(sample(rows, most, seed) if 0 < most < len(rows) else rows)
    coded = [
        slipped(prepare.encode(kind, part, tokenizer, context_of(model), splits.labels))
        for part in parts[:2]
    ]
    train(model, coded[0], coded[1], config, pad_id=tokenizer.pad_token_id, on_step=on_step)
    return evaluate.token_classification(model, tokenizer, parts[2])
