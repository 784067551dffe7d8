"""The plain records the rooms exchange. Frozen, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TASKS = (
    "classification",
    "language-modeling",
    "question-answering",
    "completion",
    "token-classification",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One row of any task; the fields a task does not use stay empty.

    Attributes:
        id: unique in its set, such as the row's own id or ``"train:17"``.
        text: classification and language modeling: the text; question answering:
            the passage; completion: the prompt.
        label: classification: the class name.
        question: question answering: the question.
        answers: question answering: every accepted answer; empty when the passage
            does not answer the question.
        answer_starts: character offset of each answer in ``text``.
        target: completion: the text to write.
        turns: completion from chats: ``(role, content)`` pairs instead of text and target.
        tokens: token classification: the words.
        tags: token classification: one IOB2 tag a word.
        group: rows of one group never lie in two splits (such as a passage).
    """

    id: str
    text: str = ""
    label: str | None = None
    question: str = ""
    answers: tuple[str, ...] = ()
    answer_starts: tuple[int, ...] = ()
    target: str | None = None
    turns: tuple[tuple[str, str], ...] = ()
    tokens: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Splits:
    """A data set cut into three, with what was decided on the way.

    Attributes:
        task: one of ``TASKS``.
        name: the set's name, path or Hub id, as it goes into ``run.json``.
        sha256: digest of the bytes it was read from.
        train, validation, test: sequences of examples (they may be lazy).
        labels: sorted class names or tags; empty for other tasks.
        notes: one sentence for each guess or cut ("column 'body' taken as the text").
        columns: role (``text``, ``label``) to column, of those that were named.
    """

    task: str
    name: str
    sha256: str
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Encoded rows, flat: row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        task: one of ``TASKS``.
        ids: token ids, int32 ``[tokens]`` (memory-mapped when large).
        labels: int32. One a token (``IGNORE`` = -100 where not counted), the
            label of a position being the token or tag *at* that position;
            classification: one a row; span head: two a row, start and end token.
        offsets: int64 ``[rows + 1]``.
        cut: rows shortened to the context; dropped: rows left out.
        facts: whatever evaluation needs to go back from tokens to text, by row.
    """

    task: str
    ids: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    cut: int = 0
    dropped: int = 0
    facts: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row in tokens, int64 ``[rows]``."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of the training loop; ``recipe`` fills them and records why.

    Attributes:
        epochs: passes over the training rows; ``max_steps`` > 0 ends earlier.
        batch_size: rows in an optimizer step.
        tokens_per_batch: padded tokens a forward pass may hold; a step's rows are
            spread over as many passes as that takes (gradient accumulation).
        schedule: ``linear``, ``cosine`` or ``constant``, after ``warmup_share`` of the steps.
        freeze: ``none``, ``base`` (train the head alone) or a number of lower layers.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``float64``.
        patience: evaluations without gain before stopping early; 0 = never.
        eval_every_steps: 0 = once an epoch.
        closing: classification: put after every text, so that the last token, from which
            the class is read, is one where the topic is expected.
        head_init: classification: ``words`` starts each class from the embedding of its
            name's words, ``random`` from noise.
        class_weights: classification: ``balanced`` weighs a row's training loss by
            rows / (classes * rows of its class), mean 1 over the rows; ``none`` by 1.
    """

    epochs: int = 6
    max_steps: int = 0
    batch_size: int = 16
    tokens_per_batch: int = 4096
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_share: float = 0.1
    schedule: str = "linear"
    clip_norm: float = 1.0
    freeze: str = "none"
    precision: str = "auto"
    patience: int = 0
    eval_every_steps: int = 0
    save_every_seconds: float = 60.0
    seed: int = 0
    closing: str = ""
    head_init: str = "words"
    class_weights: str = "none"


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training did: optimizer steps, tokens seen, wall seconds, peak bytes, history rows."""

    steps: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    history: tuple[Mapping[str, float], ...] = ()
    stopped_early: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model measured on a split.

    Attributes:
        metrics: flat map such as ``{"accuracy": 0.91, "f1_macro": 0.90}``; an
            interval lies beside its metric as ``accuracy_interval: [low, high]``.
        predictions: one map a row: ``id``, ``prediction``, ``gold`` and, where the
            task has them, ``probabilities``.
    """

    metrics: Mapping[str, Any]
    predictions: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)
