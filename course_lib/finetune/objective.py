"""What is minimised: a model with its loss as one module, so that DDP sees all of it."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from course_lib.finetune import loss
from course_lib.finetune.batch import CAUSAL, Batch
from course_lib.finetune.records import Prepared


class Objective(torch.nn.Module):
    """A model and its summed loss.

    Args:
        model: a transformers model with the head of ``task``.
        task: as in ``Prepared.task``.
        weights: of the classes in the loss that is trained on, ``[classes]``; None for 1 each.
            What :meth:`judged` gives stays unweighted.
    """

    weights: torch.Tensor | None

    def __init__(self, model: Any, task: str, weights: torch.Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Give the loss summed over the counted labels of ``batch``, in nats, a scalar.

        A span row counts twice, start and end, so that the mean is the mean of both as
        in transformers' span heads.
        """
        labels = batch["labels"]
        if self.task in CAUSAL:
            hidden = self.model.base_model(input_ids=batch["input_ids"]).last_hidden_state
            weight = self.model.get_output_embeddings().weight
            return loss.fused_cross_entropy(
                hidden.reshape(-1, hidden.shape[-1]), weight, labels.reshape(-1)
            )
        if self.task == "question-answering-span":
            start, end = self.scores(batch)
            return _summed(start, labels[:, 0]) + _summed(end, labels[:, 1])
        return _summed(self.scores(batch), labels, self.weights)

    def judged(self, batch: Batch) -> tuple[torch.Tensor, int | None]:
        """Give the summed loss, and how many labels the highest score gets right.

        The second is None where text is produced: there the loss says more.
        """
        if self.task in CAUSAL:
            return self(batch), None
        found, labels = self.scores(batch), batch["labels"]
        if self.task == "question-answering-span":
            ends = list(zip(found, labels.unbind(1), strict=True))
            hits = sum(int((scores.argmax(-1) == right).sum()) for scores, right in ends)
            return _summed(*ends[0]) + _summed(*ends[1]), hits
        return _summed(found, labels), int((found.argmax(-1) == labels).sum())

    def scores(self, batch: Batch) -> Any:
        """Give a head's logits: ``[batch, classes]``, ``[batch, seq, tags]``, or for spans a
        pair of ``[batch, seq]`` with padding at minus infinity."""
        found = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        if self.task != "question-answering-span":
            return found.logits
        padding = batch["attention_mask"] == 0
        low = torch.finfo(found.start_logits.dtype).min
        return (
            found.start_logits.masked_fill(padding, low),
            found.end_logits.masked_fill(padding, low),
        )


def balanced_weights(data: Prepared, classes: int) -> torch.Tensor:
    """Give rows / (classes there are * rows of the class) for each class, float32 ``[classes]``.

    scikit-learn's ``class_weight="balanced"`` (King and Zeng 2001): the mean over the rows is 1,
    so a step's loss, divided by its rows, keeps its scale.
    """
    rows = torch.bincount(torch.as_tensor(data.labels, dtype=torch.long), minlength=classes)
    return len(data) / (int((rows > 0).sum()) * rows.clamp(min=1).float())


def _summed(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return functional.cross_entropy(
        wide.reshape(-1, wide.shape[-1]),
        labels.reshape(-1),
        None if weights is None else weights.to(wide.dtype),
        ignore_index=loss.IGNORE,
        reduction="sum",
    )
