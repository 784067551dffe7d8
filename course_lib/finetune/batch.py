"""Prepared rows to optimizer steps: shuffled, bucketed by length, within a token budget.

An optimizer step is a list of micro-batches of padded tensors. The next-token shift
and the mask of uncounted tokens happen here, once, for every causal task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from course_lib.finetune.loss import IGNORE
from course_lib.finetune.records import Prepared

Batch = dict[str, torch.Tensor]
CAUSAL = ("language-modeling", "question-answering", "completion")


def collate(data: Prepared, rows: Sequence[int], pad_id: int) -> Batch:
    """Pad rows on the right to the longest of them.

    Returns:
        ``input_ids`` and ``attention_mask``, int64 ``[batch, seq]``, and ``labels``:
        causal tasks ``[batch, seq]`` already shifted, so that position ``t`` holds the
        token to predict after reading ``t`` (IGNORE where not counted); token
        classification ``[batch, seq]``; classification ``[batch]``; span ``[batch, 2]``.
    """
    longest = int(max(data.offsets[r + 1] - data.offsets[r] for r in rows))
    ids = torch.full((len(rows), longest), pad_id)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    per_token = len(data.labels) == len(data.ids) and data.task not in (
        "classification",
        "question-answering-span",
    )
    width = longest if per_token else len(data.labels) // len(data)
    labels = torch.full((len(rows), width), IGNORE)
    for place, row in enumerate(rows):
        start, end = int(data.offsets[row]), int(data.offsets[row + 1])
        ids[place, : end - start] = torch.from_numpy(data.ids[start:end].astype(np.int64))
        mask[place, : end - start] = 1
        if not per_token:
            found = data.labels[row * width : (row + 1) * width]
            labels[place] = torch.from_numpy(found.astype(np.int64))
        elif data.task in CAUSAL:
            found = data.labels[start + 1 : end]
            labels[place, : end - start - 1] = torch.from_numpy(found.astype(np.int64))
        else:
            found = data.labels[start:end]
            labels[place, : end - start] = torch.from_numpy(found.astype(np.int64))
    if data.task == "classification":
        labels = labels[:, 0]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def pack(lengths: np.ndarray, rows: Sequence[int], budget: int) -> list[list[int]]:
    """Group rows by length so that no group's padded rectangle exceeds ``budget`` tokens.

    A row longer than the budget gets a group of its own.
    """
    groups: list[list[int]] = []
    for row in sorted(rows, key=lambda r: int(lengths[r])):
        group = groups[-1] if groups else None
        if group is not None and int(lengths[row]) * (len(group) + 1) <= budget:
            group.append(row)
        else:
            groups.append([row])
    return groups


class Steps(Sequence[list[list[int]]]):
    """Optimizer steps of an epoch, each a list of micro-batches of row numbers.

    Args:
        lengths: of all rows in tokens.
        steps: the row numbers of each step.
        budget: padded tokens a micro-batch may hold.
    """

    def __init__(self, lengths: np.ndarray, steps: list[np.ndarray], budget: int) -> None:
        self.lengths, self.steps, self.budget = lengths, steps, budget

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, place: Any) -> Any:
        """Give the micro-batches of one step, or a list of several steps."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return pack(self.lengths, self.steps[place].tolist(), self.budget)


def epoch_steps(data: Prepared, *, batch_size: int, budget: int, seed: int, epoch: int) -> Steps:
    """Plan one epoch.

    Rows are shuffled by ``(seed, epoch)``, then sorted by length within windows of 16
    steps, cut into steps of ``batch_size`` rows, and the steps shuffled again: rows of
    like length meet, yet the order stays random. The last step may be smaller.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(data))
    lengths = data.lengths
    window = batch_size * 16
    steps: list[np.ndarray] = []
    for start in range(0, len(order), window):
        near = order[start : start + window]
        near = near[np.argsort(lengths[near], kind="stable")]
        steps += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return Steps(lengths, [steps[i] for i in rng.permutation(len(steps))], budget)


def plain_batches(data: Prepared, *, budget: int, pad_id: int) -> Iterator[tuple[list[int], Batch]]:
    """Yield ``(row numbers, batch)`` over all rows, by length, for evaluation."""
    for group in pack(data.lengths, range(len(data)), budget):
        yield group, collate(data, group, pad_id)


def counted(batch: Batch) -> int:
    """Give how many labels of a batch are counted (rows for classification, two a span row)."""
    return int((batch["labels"] != IGNORE).sum())
