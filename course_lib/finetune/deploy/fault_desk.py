"""The assistant that the faults of deployment happen to: tuned on tickets and replies."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from course_lib.finetune import generate, prepare, sources, splits
from course_lib.finetune import model as models
from course_lib.finetune.chat_base import chat_base
from course_lib.finetune.loss import IGNORE
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Example
from course_lib.finetune.settings import fit_to_base, resolve
from course_lib.finetune.train import train, validate

# by profile: training rows, passes over them, held-out rows
SIZES = {"quick": (16, 2, 4), "cpu": (96, 3, 24), "gpu": (96, 3, 24)}


@dataclass(frozen=True)
class Desk:
    """An assistant tuned on tickets and replies, the same before tuning, and held-out chats."""

    model: Any
    before: Any
    tokenizer: Any
    chats: tuple[Example, ...]
    profile: str

    def loss(self, model: Any, tokenizer: Any, first: int = 0) -> float:
        """Give the loss of the held-out chats' real replies, nats a token.

        Args:
            model: of the assistant's architecture.
            tokenizer: with the chat template to use.
            first: count only so many tokens of a reply; 0 for all, without the end mark.
        """
        coded = prepare.chats(self.chats, tokenizer, models.context_of(model))
        ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|end|>")]
        labels = np.where(np.isin(coded.labels, ends), IGNORE, coded.labels)
        for start, end in zip(coded.offsets[:-1], coded.offsets[1:], strict=True):
            counted = np.flatnonzero(labels[start:end] != IGNORE) + start
            labels[counted[first or len(counted) :]] = IGNORE
        coded = dataclasses.replace(coded, labels=labels)
        device = next(model.parameters()).device
        return validate(Objective(model, "completion"), coded, tokenizer.pad_token_id, device)[0]

    def replies(self, model: Any, tokenizer: Any, most: int = 16) -> list[str]:
        """Let a model answer four held-out messages."""
        prompts = [generate.prompt_and_target(tokenizer, c)[0] for c in self.chats[:4]]
        return generate.complete(model, tokenizer, prompts, max_new_tokens=most)


@cache
def desk(profile: str, seed: int, base: str) -> Desk:
    """Give the assistant, tuned once for each profile, seed and base."""
    rows, epochs, held_out = SIZES[profile]
    parts = sources.find("support_tickets").parts
    chats = {
        name: splits.sample([_chat(row) for _, row in parts[name]], count, seed)
        for name, count in (("train", rows), ("validation", held_out))
    }
    with tempfile.TemporaryDirectory() as folder:
        path = chat_base(base, folder)
        model, tokenizer = models.load_base(path, task="completion", seed=seed)
        before, _ = models.load_base(path, task="completion", seed=seed)
    coded = prepare.chats(chats["train"], tokenizer, models.context_of(model))
    given = {"epochs": epochs, "batch_size": 8}
    config, _, resolved = resolve("completion", "cpu", given, seed, rows)
    config = fit_to_base(config, resolved, models.count_parameters(model)[0])
    config = dataclasses.replace(config, precision="float32")
    train(model, coded, None, config, pad_id=tokenizer.pad_token_id)
    device = next(model.parameters()).device
    return Desk(model, before.to(device), tokenizer, tuple(chats["validation"]), profile)


def _chat(row: dict[str, Any]) -> Example:
    turns = (("user", str(row["text"])), ("assistant", str(row["reply"])))
    return Example(id=str(row["id"]), text=str(row["text"]), label="chat", turns=turns)
