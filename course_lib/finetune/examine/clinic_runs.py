"""The small real runs behind the clinic: healthy ones, and the same with one thing changed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from course_lib.errors import UnknownNameError
from course_lib.finetune import data, evaluate, generate, prepare, splits
from course_lib.finetune import model as models
from course_lib.finetune.casebook import Curve
from course_lib.finetune.records import Example, Prepared
from course_lib.finetune.settings import PROFILES, fit_to_base, resolve
from course_lib.finetune.train import train

LABELS = ("account", "order_status", "product_question", "return_exchange")
# by profile: rows of a class, the longest message in words, passes over the rows
SIZES = {"quick": (3, 14, 5), "cpu": (20, 40, 5), "gpu": (20, 40, 5)}


@dataclass(frozen=True)
class Kit:
    """What all runs of one clinic share: profile, seed and base; hashable, for the cache."""

    profile: str
    seed: int
    base: str

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise UnknownNameError("profile", self.profile, PROFILES)

    @property
    def each(self) -> int:
        """Rows of a class."""
        return SIZES[self.profile][0]

    def rows(self, split: str, counts: Mapping[str, int] | None = None) -> list[Example]:
        """Give short tickets of a split: ``each`` of a class, or as many as ``counts`` says."""
        longest = SIZES[self.profile][1]
        found: list[Example] = []
        for label in LABELS:
            known = [r for r in getattr(_tickets(), split) if r.label == label]
            # held-out rows are few: where none is short enough, the shortest are taken
            fitting = sorted(known, key=lambda r: len(r.text.split()))
            short = [r for r in fitting if len(r.text.split()) <= longest]
            wanted = (counts or {}).get(label, self.each)
            pool = short if len(short) >= wanted else fitting[:wanted]
            found += splits.sample(pool, min(wanted, len(pool)), self.seed)
        return found


@dataclass(frozen=True)
class Learned:
    """A trained model, its tokenizer, its history, and how far its head moved at most."""

    model: Any
    tokenizer: Any
    curve: Curve
    head_moved: float = 0.0

    def accuracy(self, rows: Sequence[Example]) -> float:
        """Give the share of rows that a classifier gets right."""
        return float(evaluate.classification(self.model, self.tokenizer, rows).metrics["accuracy"])

    def called(self, rows: Sequence[Example]) -> list[str]:
        """Give the class a classifier calls each row."""
        found = evaluate.class_probabilities(self.model, self.tokenizer, [r.text for r in rows])
        return [LABELS[i] for i in found.argmax(1)]


@cache
def _tickets() -> Any:
    return data.load("classification", "support_tickets")


@cache
def _loaded(base: str, task: str, seed: int) -> tuple[Any, Any]:
    return models.load_base(base, task=task, labels=LABELS, seed=seed)


def _fresh(kit: Kit, task: str) -> tuple[Any, Any]:
    model, tokenizer = _loaded(kit.base, task, kit.seed)
    return copy.deepcopy(model), copy.deepcopy(tokenizer)


def _train(kit: Kit, kind: str, model: Any, rows: Prepared, pad: int, **own: Any) -> Curve:
    """Train in place without a validation split, so that the last weights stay."""
    rate, given = float(own.pop("rate", 1.0)), {"epochs": SIZES[kit.profile][2], "batch_size": 8}
    config, _, resolved = resolve(kind, "cpu", {**given, **own}, kit.seed, len(rows))
    config = fit_to_base(config, resolved, models.count_parameters(model)[0])
    config = dataclasses.replace(
        config, learning_rate=config.learning_rate * rate, precision="float32"
    )
    return train(model, rows, None, config, pad_id=pad).history


def classifier(
    kit: Kit, rows: Sequence[Example], *, dead_head: bool = False, **own: Any
) -> Learned:
    """Fine-tune a classifier of four intents.

    Args:
        kit: profile, seed and base.
        rows: training rows.
        dead_head: start the head from zeros and leave it out of training.
        own: settings that differ; ``rate`` multiplies the learning rate.
    """
    model, tokenizer = _fresh(kit, "classification")
    models.close_texts(tokenizer, prepare.TOPIC_PROMPT)
    models.head_from_words(model, tokenizer)
    head = [
        p for n, p in model.named_parameters() if not n.startswith(f"{model.base_model_prefix}.")
    ]
    if dead_head:
        for part in head:
            torch.nn.init.zeros_(part)
            part.requires_grad_(False)
    before = [p.detach().cpu().clone() for p in head]
    coded = prepare.classification(rows, tokenizer, models.context_of(model), LABELS)
    curve = _train(kit, "classification", model, coded, tokenizer.pad_token_id, **own)
    pairs = zip(head, before, strict=True)
    moved = max(float((p.detach().cpu() - b).abs().max()) for p, b in pairs)
    return Learned(model, tokenizer, curve, moved)


def prompt_of(row: Example) -> str:
    """Give what the writer reads before it writes a class."""
    return row.text + prepare.TOPIC_PROMPT


def name_of(label: str) -> str:
    """Give a class as it is written."""
    return label.replace("_", " ")


def answers(kit: Kit, tokenizer: Any, rows: Sequence[Example], *, masked: bool = True) -> Prepared:
    """Encode message and class name; without the mask every token is counted."""
    context = models.context_of(_loaded(kit.base, "completion", kit.seed)[0])
    pairs = [(prompt_of(r), name_of(str(r.label))) for r in rows]
    found = prepare.prompted(pairs, tokenizer, context, "completion")
    return found if masked else dataclasses.replace(found, labels=found.ids)


def writer(kit: Kit, rows: Sequence[Example], *, masked: bool = True) -> Learned:
    """Fine-tune a model that *writes* the class after the message."""
    model, tokenizer = _fresh(kit, "completion")
    coded = answers(kit, tokenizer, rows, masked=masked)
    return Learned(
        model, tokenizer, _train(kit, "completion", model, coded, tokenizer.pad_token_id)
    )


def likeliest(learned: Learned, rows: Sequence[Example]) -> float:
    """Give the share of rows whose right class name a writer finds likelier than the others."""
    pairs = [(prompt_of(r), name_of(label)) for r in rows for label in LABELS]
    found = generate.log_likelihood(learned.model, learned.tokenizer, pairs)
    best = np.reshape(found, (len(rows), len(LABELS))).argmax(1)
    return float(np.mean([LABELS[i] == r.label for i, r in zip(best, rows, strict=True)]))


def reader(kit: Kit, rows: Sequence[Example], *, own_words: bool = False) -> Learned:
    """Fine-tune a language model on the messages; with another tokenizer for ``own_words``."""
    model, tokenizer = _fresh(kit, "language-modeling")
    if own_words:
        texts = [r.text for r in _tickets().train]
        tokenizer = tokenizer.train_new_from_iterator(
            texts, vocab_size=len(tokenizer), show_progress=False
        )
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    coded = prepare.language_modeling(rows, tokenizer, 128)
    pad = tokenizer.pad_token_id
    return Learned(
        model, tokenizer, _train(kit, "language-modeling", model, coded, pad, batch_size=2)
    )


@torch.no_grad()
def write_batch(learned: Learned, prompts: Sequence[str], side: str) -> list[str]:
    """Let a writer continue prompts in one batch, padded on the given side."""
    model, tokenizer = learned.model, learned.tokenizer
    pad = tokenizer.pad_token_id
    rows = [tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    wide = max(map(len, rows))

    def fill(row: list[int], with_: int) -> list[int]:
        rest = [with_] * (wide - len(row))
        return rest + row if side == "left" else row + rest

    ids = torch.tensor([fill(r, pad) for r in rows], device=model.device)
    mask = torch.tensor([fill([1] * len(r), 0) for r in rows], device=model.device)
    with models.quiet():  # the library warns in its log; the owner did not read it
        made = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=pad
        )
    return [tokenizer.decode(m[wide:], skip_special_tokens=True).strip() for m in made]


@cache
def healthy_classifier(kit: Kit) -> Learned:
    """Give the classifier without a fault, trained once."""
    return classifier(kit, kit.rows("train"))


@cache
def healthy_writer(kit: Kit) -> Learned:
    """Give the writer without a fault, trained once."""
    return writer(kit, kit.rows("train"))


@cache
def healthy_reader(kit: Kit) -> Learned:
    """Give the language model with its own tokenizer, trained once."""
    return reader(kit, kit.rows("train"))
