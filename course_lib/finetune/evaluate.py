"""A model measured on a split: predictions and metrics, whatever the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from course_lib import metrics
from course_lib.finetune import generate, prepare
from course_lib.finetune.batch import collate, pack, plain_batches
from course_lib.finetune.loss import IGNORE
from course_lib.finetune.model import context_of
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Evaluation, Example

BUDGET = 8192  # padded tokens in a forward pass without gradients


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device  # type: ignore[no-any-return]


@torch.no_grad()
def class_probabilities(model: Any, tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Give each text's class probabilities, float64 ``[texts, classes]``."""
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    rows = [Example(id=str(i), text=t) for i, t in enumerate(texts)]
    data = prepare.classification(rows, tokenizer, context_of(model), labels)
    objective = Objective(model.eval(), data.task)
    out = np.zeros((len(texts), len(labels)))
    for group, batch in plain_batches(data, budget=BUDGET, pad_id=tokenizer.pad_token_id):
        logits = objective.scores({k: v.to(_device(model)) for k, v in batch.items()})
        out[group] = torch.softmax(logits.double(), -1).cpu().numpy()
    return out


def classification(model: Any, tokenizer: Any, rows: Sequence[Example]) -> Evaluation:
    """Measure a classifier: accuracy, macro precision, recall, F1 and mean loss."""
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    found = class_probabilities(model, tokenizer, [r.text for r in rows])
    guesses = [labels[i] for i in found.argmax(1)]
    gold = [str(r.label) for r in rows]
    measured = metrics.classification(gold, guesses)
    at_gold = [found[i, labels.index(g)] if g in labels else 0.0 for i, g in enumerate(gold)]
    measured["loss"] = float(-np.log(np.maximum(at_gold, 1e-300)).mean())
    predictions = tuple(
        {
            "id": r.id,
            "gold": g,
            "prediction": p,
            "probabilities": {n: round(float(v), 6) for n, v in zip(labels, row, strict=True)},
        }
        for r, g, p, row in zip(rows, gold, guesses, found, strict=True)
    )
    return Evaluation(measured, predictions)


@torch.no_grad()
def language_modeling(model: Any, tokenizer: Any, rows: Sequence[Example]) -> Evaluation:
    """Measure loss, perplexity, bits per byte and next-token accuracy on packed text."""
    data = prepare.language_modeling(rows, tokenizer, context_of(model))
    nats = 0.0
    tokens = right = 0
    for group in pack(data.lengths, range(len(data)), 2048):
        batch = collate(data, group, tokenizer.pad_token_id)
        ids, labels = (batch[k].to(_device(model)) for k in ("input_ids", "labels"))
        logits = model(input_ids=ids).logits.float().reshape(-1, model.config.vocab_size)
        flat = labels.reshape(-1)
        nats += float(
            torch.nn.functional.cross_entropy(logits, flat, ignore_index=IGNORE, reduction="sum")
        )
        right += int((logits.argmax(-1) == flat).sum())
        tokens += int((flat != IGNORE).sum())
    size = sum(int(f) for f in data.facts)
    return Evaluation(metrics.language_model(nats, tokens, right, size))


def question_answering(model: Any, tokenizer: Any, rows: Sequence[Example]) -> Evaluation:
    """Measure generated answers: exact match and F1 by the SQuAD rules."""
    guesses = generate.answers(model, tokenizer, rows)
    return _answers(rows, guesses)


@torch.no_grad()
def question_answering_span(model: Any, tokenizer: Any, rows: Sequence[Example]) -> Evaluation:
    """Measure a span head: the best start before end within 30 tokens, token 0 for none."""
    bare = [Example(id=r.id, text=r.text, question=r.question) for r in rows]
    data = prepare.question_answering_span(bare, tokenizer, context_of(model))
    objective = Objective(model.eval(), data.task)
    guesses = [""] * len(rows)
    for group, batch in plain_batches(data, budget=BUDGET, pad_id=tokenizer.pad_token_id):
        starts, ends = objective.scores({k: v.to(_device(model)) for k, v in batch.items()})
        for place, row in enumerate(group):
            first, spans = data.facts[row]
            span = best_span(starts[place].cpu(), ends[place].cpu(), first, len(spans))
            if span:
                text = rows[row].text[spans[span[0]][0] : spans[span[1]][1]]
                guesses[row] = text.strip()
    return _answers(rows, guesses)


def best_span(
    starts: torch.Tensor, ends: torch.Tensor, first: int, count: int, longest: int = 30
) -> tuple[int, int] | None:
    """Give the likeliest passage span as token places, or None for "no answer" (token 0).

    Args:
        starts, ends: logits ``[seq]``.
        first: the passage's first token; count: its number of tokens.
        longest: tokens a span may hold.
    """
    if not count:
        return None
    span, lead = leading_span(starts, ends, first, count, longest)
    return None if lead < 0 else span


def leading_span(
    starts: torch.Tensor, ends: torch.Tensor, first: int, count: int, longest: int = 30
) -> tuple[tuple[int, int], float]:
    """Give the likeliest passage span and its lead over "no answer", in logits.

    Args:
        starts, ends, first, count, longest: as for :func:`best_span`; ``count`` at least 1.
    """
    s, e = starts[first : first + count].double(), ends[first : first + count].double()
    table = s[:, None] + e[None, :]
    allowed = torch.ones_like(table).triu().tril(longest - 1).bool()
    table = table.masked_fill(~allowed, -torch.inf)
    best = int(table.argmax())
    lead = float(table.flatten()[best]) - float(starts[0].double() + ends[0].double())
    return (best // count, best % count), lead


def _answers(rows: Sequence[Example], guesses: Sequence[str]) -> Evaluation:
    groups = [r.group or r.id for r in rows]
    measured = metrics.question_answering(guesses, [r.answers for r in rows], groups)
    predictions = tuple(
        {"id": r.id, "gold": list(r.answers), "prediction": g, "group": passage}
        for r, g, passage in zip(rows, guesses, groups, strict=True)
    )
    return Evaluation(measured, predictions)


def completion(model: Any, tokenizer: Any, rows: Sequence[Example]) -> Evaluation:
    """Measure written texts against their targets: BLEU, chrF, ROUGE, exact match."""
    pairs = [generate.prompt_and_target(tokenizer, row) for row in rows]
    longest = max(len(tokenizer(t)["input_ids"]) for _, t in pairs)
    guesses = generate.complete(
        model, tokenizer, [p for p, _ in pairs], max_new_tokens=min(128, longest + 16)
    )
    predictions = tuple(
        {"id": r.id, "gold": t, "prediction": g}
        for r, (_, t), g in zip(rows, pairs, guesses, strict=True)
    )
    return Evaluation(metrics.generation(guesses, [t for _, t in pairs]), predictions)


@torch.no_grad()
def token_classification(model: Any, tokenizer: Any, rows: Sequence[Example]) -> Evaluation:
    """Measure tags by entity (seqeval); words beyond the context count as ``O``."""
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    data = prepare.token_classification(rows, tokenizer, context_of(model), labels)
    objective = Objective(model.eval(), data.task)
    guesses: list[list[str]] = [["O"] * len(r.tokens) for r in rows]
    for group, batch in plain_batches(data, budget=BUDGET, pad_id=tokenizer.pad_token_id):
        logits = objective.scores({k: v.to(_device(model)) for k, v in batch.items()})
        chosen = logits.argmax(-1).cpu()
        for place, row in enumerate(group):
            at = chosen[place][batch["labels"][place] != IGNORE]
            guesses[row][: len(at)] = [labels[int(i)] for i in at]
    measured = metrics.tagging([r.tags for r in rows], guesses)
    predictions = tuple(
        {"id": r.id, "gold": list(r.tags), "prediction": g}
        for r, g in zip(rows, guesses, strict=True)
    )
    return Evaluation(measured, predictions)


EVALUATORS = {
    "classification": classification,
    "language-modeling": language_modeling,
    "question-answering": question_answering,
    "question-answering-span": question_answering_span,
    "completion": completion,
    "token-classification": token_classification,
}
