"""Dialogues to tokens: the template that marks the turns, and which tokens the assistant wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from course_lib.errors import DataError

Messages = Sequence[dict[str, str]]


def coded(tokenizer: Any, messages: Messages) -> tuple[list[int], list[int]]:
    """Give a dialogue's token ids, and 1 for each token of the assistant's turns, else 0.

    A template says by ``{% generation %}`` what the assistant writes. Of one that does not,
    whatever a turn adds to the dialogue up to it counts.

    Args:
        tokenizer: a fast one with a chat template (see ``chat_base``).
        messages: maps with ``role`` and ``content``.

    Raises:
        DataError: when a template without that mark writes earlier turns anew for a later one.
    """
    if "generation %}" in str(tokenizer.chat_template).replace("-%}", " %}"):
        found = tokenizer.apply_chat_template(
            list(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return list(found["input_ids"]), list(found["assistant_masks"])
    text, spans = _spans(tokenizer, list(messages))
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    mask = [int(any(a < end and b > start for start, end in spans))
            for a, b in found["offset_mapping"]]  # fmt: skip
    return list(found["input_ids"]), mask


def _spans(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    """Give the whole dialogue as text, and where in it the assistant's turns stand."""

    def say(upto: int, more: bool) -> str:
        return str(
            tokenizer.apply_chat_template(
                messages[:upto], tokenize=False, add_generation_prompt=more
            )
        )

    whole, spans = say(len(messages), False), []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, after = say(place, True), say(place + 1, False)
        if not (after.startswith(before) and whole.startswith(after)):
            raise DataError(
                "this chat template writes a turn otherwise once another follows, so the "
                "assistant's words cannot be found",
                next_step="mark them in the template with {% generation %} and {% endgeneration %}",
            )
        spans.append((len(before), len(after)))
    return whole, spans
