"""Looking into a model at one text: token probabilities, attention, text vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from course_lib.errors import DataError, ModelError, UsageError
from course_lib.finetune.batch import plain_batches
from course_lib.finetune.model import context_of
from course_lib.finetune.prepare import classification
from course_lib.finetune.records import Example

BUDGET = 8192  # padded tokens in a forward pass


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text, as a language model expected it.

    Attributes:
        text: what it stands for; a part of a character shows as U+FFFD.
        probability: what the model gave it after the tokens before it; the first token
            follows the end-of-text token, which opens every text in pre-training.
        rank: 1 when it was the model's first choice.
        entropy: of the whole distribution, in bits: how open the model was.
        alternatives: the likeliest tokens there and their probabilities.
    """

    text: str
    probability: float
    rank: int
    entropy: float
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Attention:
    """Where each position looks: ``weights`` float32 ``[layer, head, seq, seq]``.

    The last axis sums to 1; position ``i`` looks at ``j`` up to ``i``. ``tokens`` are the
    ``seq`` tokens as the model reads them, a classifier's closing words included.
    """

    tokens: tuple[str, ...]
    weights: np.ndarray


def _ids(model: Any, tokenizer: Any, text: str, *, special: bool, room: int = 0) -> list[int]:
    """Encode one text; refuse an empty one and one beyond the context."""
    ids = list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
    if not text.strip() or not ids:
        raise DataError("an empty text", next_step="give at least one word")
    if len(ids) + room > context_of(model):
        raise DataError(
            "the text is longer than the model's context",
            got=f"{len(ids)} tokens",
            expected=f"at most {context_of(model) - room}",
            next_step="shorten it",
        )
    return ids


@torch.no_grad()
def token_probabilities(
    model: Any, tokenizer: Any, text: str, *, alternatives: int = 5
) -> list[Token]:
    """Give each token of a text with its probability, rank and the likeliest alternatives.

    Args:
        model: a language model, as ``load_base(..., task="language-modeling")`` gives.
        tokenizer: its tokenizer.
        text: what to read.
        alternatives: how many to give at each place.

    Raises:
        ModelError: for a model without next-token probabilities, such as a classifier.
        DataError: for a text that is empty or longer than the context.
        UsageError: for a number of alternatives below 1 or beyond the vocabulary.
    """
    if model.get_output_embeddings() is None:
        raise ModelError(
            "this model gives no next-token probabilities",
            got=type(model).__name__,
            next_step='load a language model, such as load_base(task="language-modeling")',
        )
    if not 1 <= alternatives <= model.config.vocab_size:
        most = f"1 to {model.config.vocab_size}"
        raise UsageError("this many alternatives", got=str(alternatives), expected=most)
    ids = _ids(model, tokenizer, text, special=False, room=1)
    batch = torch.tensor([[tokenizer.eos_token_id, *ids]], device=model.device)
    logits = model.eval()(input_ids=batch).logits[0, :-1].double().cpu()
    table = torch.log_softmax(logits, -1)
    best = table.topk(alternatives, -1)
    out = []
    for place, token in enumerate(ids):
        row = table[place]
        likely = zip(best.indices[place].tolist(), best.values[place].tolist(), strict=True)
        out.append(
            Token(
                tokenizer.decode([token]),
                math.exp(float(row[token])),
                1 + int((row > row[token]).sum()),
                float(-(row.exp() * row).sum() / math.log(2)),
                tuple((tokenizer.decode([i]), math.exp(v)) for i, v in likely),
            )
        )
    return out


@torch.no_grad()
def next_tokens(
    model: Any, tokenizer: Any, text: str, *, count: int = 10
) -> list[tuple[str, float]]:
    """Give the likeliest tokens after a text, ``(token, probability)``, the likeliest first.

    Args:
        model, tokenizer, text: as :func:`token_probabilities` takes them.
        count: how many; beyond the vocabulary, all.

    Raises:
        ModelError: for a model without next-token probabilities, such as a classifier.
        DataError: for a text that is empty or longer than the context.
    """
    if model.get_output_embeddings() is None:
        raise ModelError("this model gives no next-token probabilities", got=type(model).__name__)
    ids = _ids(model, tokenizer, text, special=False, room=1)
    batch = torch.tensor([[tokenizer.eos_token_id, *ids]], device=model.device)
    row = model.eval()(input_ids=batch).logits[0, -1].double().softmax(-1).cpu()
    best = row.topk(min(count, len(row)))
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [(tokenizer.decode([i]), p) for i, p in found]


@torch.no_grad()
def attention(model: Any, tokenizer: Any, text: str) -> Attention:
    """Give the attention of every layer and head over one text.

    The model computes it the plain ("eager") way for this one call: the fast ways never hold
    the weights. What a head looks at is not by itself why a model decides (Jain & Wallace 2019).

    Args:
        model: any model with attention, whatever its head.
        tokenizer: its tokenizer.
        text: what to read.

    Raises:
        DataError: for a text that is empty or longer than the context.
        ModelError: for a model that gives no attention.
    """
    ids = _ids(model, tokenizer, text, special=True)
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
        batch = torch.tensor([ids], device=model.device)
        found = model.eval()(input_ids=batch, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    if not found or found[0] is None:
        raise ModelError("this model gives no attention", got=type(model).__name__)
    weights = torch.stack([layer[0] for layer in found]).float().cpu().numpy()
    return Attention(tuple(tokenizer.decode([i]) for i in ids), weights)


def head_of(found: Attention, layer: int, head: int) -> np.ndarray:
    """Give one head's attention, ``[seq, seq]``; layers and heads count from 0, below to above.

    Raises:
        UsageError: for a layer or head that is not there, with how many there are.
    """
    layers, heads = found.weights.shape[:2]
    for name, place, count in (("layer", layer, layers), ("head", head, heads)):
        if not 0 <= place < count:
            raise UsageError(
                f"there is no {name} {place}", got=f"{count} {name}s", expected=f"0 to {count - 1}"
            )
    return np.asarray(found.weights[layer, head])


@torch.no_grad()
def embed(model: Any, tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Give one vector a text: the mean of the last hidden states, float32 ``[texts, hidden]``.

    Args:
        model: a base or a fine-tuned model, whatever its head.
        tokenizer: its tokenizer.
        texts: what to read; one beyond the context loses its end.

    Raises:
        DataError: for no texts, or an empty one, naming its place.
    """
    empty = [i + 1 for i, t in enumerate(texts) if not t.strip()]
    if empty or not len(texts):
        raise DataError("an empty text", where=f"text {empty[0]}" if empty else "the texts")
    rows = [Example(id=str(i), text=t) for i, t in enumerate(texts)]
    data = classification(rows, tokenizer, context_of(model), [])
    out = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    for places, batch in plain_batches(data, budget=BUDGET, pad_id=tokenizer.pad_token_id):
        inputs = {k: batch[k].to(model.device) for k in ("input_ids", "attention_mask")}
        hidden = model.eval().base_model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"][:, :, None].to(hidden.dtype)
        out[places] = ((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy()
    return out
