"""The map of tasks: of each set its task, its rows, the model loaded for it, the usual metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from course_lib.finetune import data
from course_lib.finetune.model import HEADS
from course_lib.finetune.records import Example

# task, set of the course, usual metrics
COURSE = (
    ("classification", "support_tickets", "accuracy, F1"),
    ("language-modeling", "shop_handbook", "perplexity, bits per byte"),
    ("question-answering", "handbook_qa", "exact match, token F1"),
    ("token-classification", "entities", "entity F1"),
    ("completion", "summaries", "ROUGE"),
    ("completion", "phrases_en_fr", "BLEU, chrF"),
)


@dataclass(frozen=True)
class Place:
    """A set on the map.

    Attributes:
        task: one of ``records.TASKS``.
        name: of the set.
        holds: the fields its rows fill.
        loaded: the class of transformers that the base is loaded with.
        metrics: what is usually measured.
    """

    task: str
    name: str
    holds: tuple[str, ...]
    loaded: str
    metrics: str


def places(sets: Sequence[tuple[str, str, str]] = COURSE) -> list[Place]:
    """Look up where sets lie on the map, from their first training rows.

    Args:
        sets: ``(task, what data.load takes, usual metrics)`` of each.

    Raises:
        CourseError: whatever is wrong with a set.
    """
    found = []
    for task, name, metrics in sets:
        splits = data.load(task, name)
        row = splits.train[0]
        holds = [f.name for f in fields(Example) if f.name not in ("id", "group")]
        filled = tuple(n for n in holds if getattr(row, n))
        found.append(Place(task, splits.name, filled, HEADS[task], metrics))
    return found


def markdown(found: Sequence[Place]) -> str:
    """Give the map as a Markdown table."""
    lines = ["| task | set | a row holds | loaded as | usual metrics |", "|---|---|---|---|---|"]
    lines += [
        f"| {p.task} | {p.name} | {', '.join(p.holds)} | {p.loaded} | {p.metrics} |" for p in found
    ]
    return "\n".join(lines)
