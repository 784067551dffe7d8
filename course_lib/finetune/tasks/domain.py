"""A language model in and out of its domain: the loss of single texts, and what changed.

``evaluate.language_modeling`` packs texts end to end, as training does. Here every text stands
on its own, so that texts can be resampled and two models compared on the same ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.finetune.batch import collate, pack
from course_lib.finetune.flat import Rows
from course_lib.finetune.generate import complete
from course_lib.finetune.loss import IGNORE, fused_cross_entropy
from course_lib.finetune.model import context_of
from course_lib.metrics import RESAMPLES

BUDGET = 8192  # padded tokens in a forward pass


@dataclass(frozen=True, slots=True)
class TextLoss:
    """The loss of one text: nats in all, over how many tokens and how many UTF-8 bytes."""

    nats: float
    tokens: int
    bytes: int


@torch.no_grad()
def text_losses(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[TextLoss]:
    """Measure each text on its own; the end-of-text token stands before it and is not counted.

    A text beyond the model's context is read in pieces, each after an end-of-text token.

    Args:
        model: a language model.
        tokenizer: its tokenizer.
        texts: what to read; none empty.

    Raises:
        DataError: for an empty text.
    """
    rows, room, start = Rows("language-modeling"), context_of(model) - 1, tokenizer.eos_token_id
    counts = [0] * len(texts)
    for place, text in enumerate(texts):
        ids = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if not ids:
            raise DataError("an empty text", where=f"text {place + 1}")
        counts[place] = len(ids)
        for at in range(0, len(ids), room):
            piece = ids[at : at + room]
            rows.add([start, *piece], [IGNORE, *piece], place)
    data = rows.done()
    nats = [0.0] * len(texts)
    weight = model.eval().get_output_embeddings().weight
    for group in pack(data.lengths, range(len(data)), BUDGET):
        batch = collate(data, group, tokenizer.pad_token_id)
        batch = {name: part.to(weight.device) for name, part in batch.items()}
        hidden = model.base_model(input_ids=batch["input_ids"]).last_hidden_state
        for place, row in enumerate(group):
            loss = fused_cross_entropy(hidden[place], weight, batch["labels"][place])
            nats[data.facts[row]] += float(loss)
    return [
        TextLoss(n, count, len(text.encode()))
        for n, count, text in zip(nats, counts, texts, strict=True)
    ]


def perplexity(losses: Iterable[TextLoss]) -> float:
    """Give e to the power of the mean loss of a token over all texts."""
    found = list(losses)
    return math.exp(math.fsum(one.nats for one in found) / sum(one.tokens for one in found))


def bits_per_byte(losses: Iterable[TextLoss]) -> float:
    """Give the loss of all texts in bits, shared out over their bytes."""
    found = list(losses)
    return math.fsum(o.nats for o in found) / math.log(2) / sum(o.bytes for o in found)


def change(
    before: Sequence[TextLoss], after: Sequence[TextLoss], *, seed: int = 0
) -> tuple[float, float, float]:
    """Give how many times higher the perplexity is after than before, with its 95% interval.

    Paired bootstrap: texts are resampled, each with both its losses.

    Args:
        before, after: two models' losses on the same texts with the same tokenizer.
        seed: of the resampling.

    Returns:
        The ratio after / before and the interval's ends; below 1 the text became likelier.

    Raises:
        UsageError: when the two were not measured on the same tokens.
    """
    tokens = np.array([one.tokens for one in before], dtype=float)
    if [one.tokens for one in after] != [one.tokens for one in before]:
        raise UsageError("the two were not measured on the same texts cut into the same tokens")
    gap = np.array([b.nats - a.nats for a, b in zip(before, after, strict=True)])
    picks = np.random.default_rng(seed).integers(0, len(gap), (RESAMPLES, len(gap)))
    drawn = gap[picks].sum(1) / tokens[picks].sum(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return math.exp(gap.sum() / tokens.sum()), math.exp(low), math.exp(high)


def general_texts() -> list[str]:
    """Give 24 short passages of general English, written for the course by one hand."""
    text = files.read_text(files.assets_dir() / "general_english.txt")
    return [part.strip() for part in text.split("\n\n") if not part.startswith("#")]


def own_writing(
    model: Any, tokenizer: Any, count: int, *, max_new_tokens: int = 200, seed: int = 0
) -> list[str]:
    """Let a model write texts from nothing, at temperature 1: what it now finds likely.

    Mixed into a fine-tune they hold it near what it knew, without its pre-training text
    (pseudorehearsal, Robins 1995).

    Args:
        model: a language model.
        tokenizer: its tokenizer.
        count: how many texts.
        max_new_tokens: the longest text.
        seed: of the sampling.
    """
    prompts = [tokenizer.eos_token] * count
    made = complete(
        model, tokenizer, prompts, max_new_tokens=max_new_tokens, temperature=1.0, seed=seed
    )
    return [text for text in made if text.strip()]


def text_folder(folder: Path | str, **splits: Sequence[str]) -> str:
    """Write texts as a data set of your own, one JSON Lines file a split; give its path.

    Args:
        folder: where; an older one of that name is replaced.
        splits: the texts of ``train``, ``validation`` and ``test``.
    """
    with files.new_folder(folder) as temporary:
        for name, texts in splits.items():
            lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
            files.write_text(temporary / f"{name}.jsonl", "".join(lines))
    return str(folder)
