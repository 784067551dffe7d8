"""What stands behind an answer: a span head's probabilities, and when to say nothing.

views = span_views(model, tokenizer, validation)
cut = best_cut(cuts([v.answer for v in views], [v.lead for v in views], gold))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from course_lib import metrics
from course_lib.errors import UsageError
from course_lib.finetune import prepare
from course_lib.finetune.batch import plain_batches
from course_lib.finetune.evaluate import BUDGET, leading_span
from course_lib.finetune.model import context_of
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Example

KINDS = ("who", "where", "when", "why", "how", "which", "what")
QUANTITIES = ("much", "many", "long", "far", "often", "old", "soon", "high", "large")


@dataclass(frozen=True, slots=True)
class SpanView:
    """What a span head makes of one question.

    Attributes:
        answer: the likeliest piece of the passage, also where silence is likelier still.
        lead: by how much it beats "no answer", in logits; below 0 the head says nothing.
        words: of each word of the passage its text and the probabilities that the answer
            starts and ends with it.
        none: the two probabilities of "no answer". With the words' and what lies on the
            question and on blanks they sum to 1.
    """

    answer: str
    lead: float
    words: tuple[tuple[str, float, float], ...]
    none: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Cut:
    """What is reached when only an answer that leads by more than ``threshold`` is given.

    Attributes:
        threshold: in logits.
        f1: over all questions; ``f1_answerable`` and ``f1_unanswerable`` over each kind,
            NaN where there is none.
        answered: share of the questions that get an answer.
    """

    threshold: float
    f1: float
    f1_answerable: float
    f1_unanswerable: float
    answered: float


@torch.no_grad()
def span_views(model: Any, tokenizer: Any, rows: Sequence[Example]) -> list[SpanView]:
    """Look at a span head's work on questions; their accepted answers are not read.

    Args:
        model: with a span head, as ``load_run`` gives for a run with ``head="span"``.
        tokenizer: its tokenizer.
        rows: questions with their passages; a passage beyond the context loses its end.
    """
    bare = [Example(id=r.id, text=r.text, question=r.question) for r in rows]
    data = prepare.question_answering_span(bare, tokenizer, context_of(model))
    objective = Objective(model.eval(), data.task)
    device = next(model.parameters()).device
    found: dict[int, SpanView] = {}
    for group, batch in plain_batches(data, budget=BUDGET, pad_id=tokenizer.pad_token_id):
        scores = objective.scores({k: v.to(device) for k, v in batch.items()})
        for place, row in enumerate(group):
            starts, ends = (s[place].double().cpu() for s in scores)
            found[row] = _view(rows[row].text, starts, ends, *data.facts[row])
    return [found[i] for i in range(len(rows))]


def _view(
    text: str,
    starts: torch.Tensor,
    ends: torch.Tensor,
    first: int,
    offsets: Sequence[tuple[int, int]],
) -> SpanView:
    chances = [torch.softmax(s, -1).numpy() for s in (starts, ends)]
    none = (float(chances[0][0]), float(chances[1][0]))
    if not offsets:
        return SpanView("", -np.inf, (), none)
    (begin, end), lead = leading_span(starts, ends, first, len(offsets))
    words = [(m.start(), m.group()) for m in re.finditer(r"\S+", text)]
    sums = np.zeros((2, len(words)))
    for place, (a, b) in enumerate(offsets):
        a += len(text[a:b]) - len(text[a:b].lstrip())
        if a < b:  # a token of blanks alone belongs to no word
            word = sum(at <= a for at, _ in words) - 1
            sums[:, word] += [c[first + place] for c in chances]
    return SpanView(
        text[offsets[begin][0] : offsets[end][1]].strip(),
        lead,
        tuple((w, float(s), float(e)) for (_, w), s, e in zip(words, *sums, strict=True)),
        none,
    )


def cuts(
    answers: Sequence[str], leads: Sequence[float], gold: Sequence[Sequence[str]]
) -> list[Cut]:
    """Measure every threshold that makes a difference, from answering all to answering none.

    Choose one on validation rows, never on the rows that are reported.

    Args:
        answers: the likeliest answer to each question.
        leads: by how much it beats saying nothing, in logits.
        gold: accepted answers; empty where the passage does not answer.

    Raises:
        UsageError: when there are no rows.
    """
    if not answers:
        raise UsageError("there are no answers to choose a threshold on")
    order = np.unique(np.asarray(leads, dtype=float))
    edges = [order[0] - 1.0, *((order[1:] + order[:-1]) / 2), order[-1] + 1.0]
    return [cut_at(answers, leads, gold, float(edge)) for edge in edges]


def cut_at(
    answers: Sequence[str],
    leads: Sequence[float],
    gold: Sequence[Sequence[str]],
    threshold: float,
) -> Cut:
    """Measure one threshold; arguments as for :func:`cuts`."""
    said = apply_threshold(answers, leads, threshold)
    best = [
        max(metrics.answer_f1(s, a) for a in accepted or [""])
        for s, accepted in zip(said, gold, strict=True)
    ]
    f1 = np.array(best)
    has = np.array([bool(accepted) for accepted in gold])
    some, none = (float(f1[at].mean()) if at.any() else float("nan") for at in (has, ~has))
    return Cut(threshold, float(f1.mean()), some, none, float(np.mean([bool(s) for s in said])))


def apply_threshold(answers: Sequence[str], leads: Sequence[float], threshold: float) -> list[str]:
    """Keep the answers that lead by more than ``threshold``; the others become empty."""
    return [a if lead > threshold else "" for a, lead in zip(answers, leads, strict=True)]


def best_cut(found: Sequence[Cut], by: str = "f1") -> Cut:
    """Give the cut that does best, of equals the one that answers most.

    Args:
        found: cuts measured on validation rows.
        by: ``f1`` over all questions, or ``balanced``, the mean over the two kinds, which
            does not reward silence for being the safer half of a guess.

    Raises:
        UsageError: for another measure.
    """
    if by not in ("f1", "balanced"):
        raise UsageError("unknown measure", got=by, expected="f1 or balanced")

    def value(cut: Cut) -> float:
        return cut.f1 if by == "f1" else (cut.f1_answerable + cut.f1_unanswerable) / 2

    return max(found, key=lambda cut: (value(cut), cut.answered))


def kind_of(row: Example) -> str:
    """Name the kind of a question: ``unanswerable``, else its question word.

    ``how`` before a quantity is ``how much``; a question without such a word is ``other``.
    """
    if not row.answers:
        return "unanswerable"
    words: list[str] = re.findall(r"\w+", row.question.lower())
    for place, word in enumerate(words):
        if word == "how" and place + 1 < len(words) and words[place + 1] in QUANTITIES:
            return "how much"
        if word in KINDS:
            return word
    return "other"
