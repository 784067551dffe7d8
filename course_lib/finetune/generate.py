"""Writing text with a model: prompts in, continuations out, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from course_lib.errors import DataError
from course_lib.finetune import prepare
from course_lib.finetune.batch import collate, pack
from course_lib.finetune.loss import fused_cross_entropy
from course_lib.finetune.model import context_of
from course_lib.finetune.records import Example

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

    Args:
        pairs: ``(prompt, continuation)``; the continuation starts after one space, and a
            prompt too long for the context loses its beginning.
    """
    data = prepare.prompted(pairs, tokenizer, context_of(model), "completion", end=False)
    device = next(model.parameters()).device
    weight = model.get_output_embeddings().weight
    found = [0.0] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: int(data.lengths[i]))
    for group in pack(data.lengths, order, BUDGET):
        batch = {k: v.to(device) for k, v in collate(data, group, tokenizer.pad_token_id).items()}
        hidden = model.base_model(input_ids=batch["input_ids"]).last_hidden_state
        for place, i in enumerate(group):
            found[i] = -float(fused_cross_entropy(hidden[place], weight, batch["labels"][place]))
    return found
