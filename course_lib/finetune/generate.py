"""Writing text with a model: prompts in, continuations out, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from course_lib.errors import DataError
from course_lib.finetune import prepare
from course_lib.finetune.batch import collate, pack
from course_lib.finetune.loss import IGNORE, token_nats
from course_lib.finetune.model import context_of
from course_lib.finetune.records import Example, Prepared

BUDGET = 8192  # padded tokens in a batch of prompts


@torch.no_grad()
def complete(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """Continue each prompt up to the end-of-text (or end-of-turn) token.

    Args:
        prompts: texts; one too long for the context loses its beginning.
        max_new_tokens: the longest continuation.
        temperature: 0 takes the likeliest token each time (greedy).
        top_k, top_p: keep the k likeliest tokens, or those that share probability p;
            0 and 1.0 keep all.
        repetition_penalty: above 1 makes tokens already there less likely.
        seed: of the sampling.
    """
    room = context_of(model) - max_new_tokens
    coded = [tokenizer(p, add_special_tokens=False)["input_ids"][-room:] for p in prompts]
    if any(not c for c in coded):
        raise DataError("an empty prompt", next_step="give each prompt at least one word")
    stops = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|end|>")]
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "do_sample": temperature > 0,
        "repetition_penalty": repetition_penalty,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": [s for s in stops if isinstance(s, int) and s >= 0],
    }
    if temperature > 0:
        options |= {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    device = next(model.parameters()).device
    out = [""] * len(prompts)
    torch.manual_seed(seed)
    order = sorted(range(len(coded)), key=lambda i: len(coded[i]))
    step = max(1, BUDGET // (len(coded[order[-1]]) + max_new_tokens)) if order else 1
    for start in range(0, len(order), step):
        group = order[start : start + step]
        ids, mask = _left_padded([coded[i] for i in group], tokenizer.pad_token_id)
        made = model.generate(input_ids=ids.to(device), attention_mask=mask.to(device), **options)
        for place, i in enumerate(group):
            out[i] = tokenizer.decode(made[place, ids.shape[1] :], skip_special_tokens=True).strip()
    return out


def _left_padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Give ids and mask ``[batch, longest]`` with the padding on the left."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def answers(
    model: Any, tokenizer: Any, rows: Sequence[Example], *, max_new_tokens: int = 24
) -> list[str]:
    """Answer passage questions; the answer ``none`` becomes an empty text."""
    data = prepare.question_answering(
        rows, tokenizer, context_of(model), answered=False, reserve=max_new_tokens
    )
    prompts = [
        tokenizer.decode(data.ids[data.offsets[i] : data.offsets[i + 1]]) for i in range(len(data))
    ]
    made = complete(model, tokenizer, prompts, max_new_tokens=max_new_tokens)
    first = [m.split("\n")[0].strip() for m in made]
    return ["" if m.lower().strip(" .") == prepare.NO_ANSWER else m for m in first]


def prompt_and_target(tokenizer: Any, row: Example) -> tuple[str, str]:
    """Give the text to continue and what should follow, for a pair or a dialogue's last turn."""
    if not row.turns:
        return row.text, str(row.target)
    messages = [{"role": r, "content": c} for r, c in row.turns]
    prompt = tokenizer.apply_chat_template(
        messages[:-1], tokenize=False, add_generation_prompt=True
    )
    return prompt, messages[-1]["content"]


@torch.no_grad()
def next_logits(model: Any, tokenizer: Any, text: str) -> tuple[np.ndarray, list[int]]:
    """Give the logits of the token after a text, float64 ``[vocabulary]``, and the text's ids.

    A text too long for the context loses its beginning, as in :func:`complete`.

    Raises:
        DataError: for an empty text.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][-context_of(model) :]
    if not ids:
        raise DataError("an empty prompt", next_step="give at least one word")
    device = next(model.parameters()).device
    found = model.eval()(input_ids=torch.tensor([ids], device=device)).logits[0, -1]
    return found.double().cpu().numpy(), list(ids)


@torch.no_grad()
def log_likelihood(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Give the summed log probability (nats) of each continuation after its prompt.

    A prompt that stands in several pairs is read once and its keys and values are kept for all
    of them, where the architecture keeps any.

    Args:
        pairs: ``(prompt, continuation)``; the continuation starts after one space, and a
            prompt too long for the context loses its beginning.
    """
    data = prepare.prompted(pairs, tokenizer, context_of(model), "completion", end=False)
    weight = model.get_output_embeddings().weight
    found = [0.0] * len(pairs)
    for length, prompts in _shared(data).items():
        rows = [row for sharing in prompts for row in sharing]
        owner = {row: sharing[0] for sharing in prompts for row in sharing}
        for group in pack(data.lengths, rows, BUDGET):
            batch = collate(data, group, tokenizer.pad_token_id)
            batch = {k: v.to(weight.device) for k, v in batch.items()}
            hidden = _read(model, batch["input_ids"], length, [owner[row] for row in group])
            nats = token_nats(hidden, weight, batch["labels"][:, -hidden.shape[1] :])
            for row, value in zip(group, nats.sum(1).tolist(), strict=True):
                found[row] = -value
    return found


def _shared(data: Prepared) -> dict[int, list[list[int]]]:
    """Group rows by the prompt they share, and these groups by the length of what is read once.

    That is the prompt but for its last token, from which the first token of the continuation
    is predicted; a prompt of one row alone is not worth a pass of its own: length 0.
    """
    same: dict[bytes, list[int]] = {}
    starts = []
    for row in range(len(data)):
        first, end = int(data.offsets[row]), int(data.offsets[row + 1])
        counted = data.labels[first:end] != IGNORE
        starts.append(max(0, int(counted.argmax()) - 1))
        same.setdefault(data.ids[first : first + starts[row]].tobytes(), []).append(row)
    found: dict[int, list[list[int]]] = {}
    for rows in same.values():
        found.setdefault(starts[rows[0]] if len(rows) > 1 else 0, []).append(rows)
    return found


def _read(model: Any, ids: torch.Tensor, length: int, owners: Sequence[int]) -> torch.Tensor:
    """Give the last hidden states after the first ``length`` tokens (of all, without a cache).

    Args:
        ids: ``[batch, seq]``, padded on the right.
        length: how many tokens rows of the same owner share.
        owners: one a row.
    """
    past: Any = None
    if length:
        places = {owner: place for place, owner in enumerate(dict.fromkeys(owners))}
        firsts = [owners.index(owner) for owner in places]
        read = model.base_model(input_ids=ids[firsts, :length], use_cache=True)
        past = getattr(read, "past_key_values", None)
    if not hasattr(past, "batch_select_indices"):
        return model.base_model(input_ids=ids).last_hidden_state  # type: ignore[no-any-return]
    past.batch_select_indices(torch.tensor([places[o] for o in owners], device=ids.device))
    return model.base_model(input_ids=ids[:, length:], past_key_values=past).last_hidden_state  # type: ignore[no-any-return]
