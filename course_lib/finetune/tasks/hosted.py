"""Chat data for a hosted fine-tune: written, checked line by line, counted, priced.

The chat format is JSON Lines: one example a line, ``{"messages": [{"role": ..., "content":
...}, ...]}``, and the model learns what the assistant says. Services differ in their limits and
change their prices, so both are arguments here and never constants.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError, UsageError
from course_lib.finetune.records import Example

ROLES = ("system", "user", "assistant")
MESSAGE_KEYS = {"role", "content", "name", "weight"}
MOST_LINE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChatReport:
    """What a chat file holds and what is wrong with it.

    Attributes:
        examples: the sound examples, in order.
        problems: one ``file:line: what`` for each fault; empty when the file can be sent.
    """

    examples: tuple[Mapping[str, Any], ...]
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.problems


@dataclass(frozen=True, slots=True)
class PriceForecast:
    """Tokens a hosted fine-tune reads over all epochs, and what that costs."""

    trained_tokens: int
    cost: float


def chat_example(message: str, reply: str, *, system: str = "") -> dict[str, Any]:
    """Give one training example in the chat format; no system message when ``system`` is empty."""
    turns = [("system", system), ("user", message), ("assistant", reply)]
    return {"messages": [{"role": r, "content": c.strip()} for r, c in turns if c.strip()]}


def write_chat_jsonl(rows: Iterable[Example], path: Path | str, *, system: str = "") -> int:
    """Write rows with text and target as chat examples, one a line.

    Args:
        rows: as ``data.load("completion", ...)`` gives them.
        path: the file to write.
        system: the same system message for every example; none when empty.

    Returns:
        How many were written.
    """
    made = [chat_example(r.text, str(r.target), system=system) for r in rows]
    files.write_text(path, "".join(json.dumps(m, ensure_ascii=False) + "\n" for m in made))
    return len(made)


def validate_chat_jsonl(path: Path | str, *, fewest: int = 10) -> ChatReport:
    """Check a chat file before it is sent, and name every fault with its line.

    Args:
        path: the JSON Lines file.
        fewest: examples the service asks for; look it up there.

    Returns:
        The sound examples, and one line for each fault: of the encoding, the JSON, the
        messages, an example given twice, or too few examples.

    Raises:
        DataError: when there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no such file", where=str(path), next_step="check the spelling")
    sound: list[Mapping[str, Any]] = []
    problems: list[str] = []
    first_at: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"{path.name}:{number}"
        faults, value = _faults(line, where)
        if not faults:
            same = json.dumps(value["messages"], sort_keys=True)
            if same in first_at:
                faults = [f"{where}: the same example as in line {first_at[same]}"]
            else:
                first_at[same] = number
                sound.append(value)
        problems += faults
    if len(sound) < fewest:
        problems.append(f"{path.name}: {len(sound)} sound examples, at least {fewest} are needed")
    return ChatReport(tuple(sound), tuple(problems))


def count_tokens(
    examples: Iterable[Mapping[str, Any]], count: Callable[[str], int], *, a_message: int = 4
) -> int:
    """Count the tokens of chat examples.

    A service counts with its own tokenizer, and adds a few tokens a message for the roles:
    with another tokenizer the result is an estimate.

    Args:
        examples: as in ``ChatReport.examples``.
        count: text to its number of tokens.
        a_message: tokens added for each message.
    """
    return sum(count(m["content"]) + a_message for e in examples for m in e["messages"])


def price_forecast(tokens: int, *, epochs: int, price_per_million: float) -> PriceForecast:
    """Forecast what a hosted fine-tune costs that is charged by trained tokens.

    Args:
        tokens: of the file, once through.
        epochs: passes over it.
        price_per_million: what the service charges for a million trained tokens *today*; read
            it on the page of its prices.

    Raises:
        UsageError: for a price or a number that cannot be.
    """
    if tokens < 0 or epochs < 1:
        raise UsageError("tokens and epochs cannot be less than 0 and 1", got=f"{tokens}, {epochs}")
    if not (math.isfinite(price_per_million) and price_per_million >= 0):
        raise UsageError(
            "the price is not a number of 0 or more",
            got=str(price_per_million),
            next_step="look it up on the service's page of prices and fill it in",
        )
    return PriceForecast(tokens * epochs, tokens * epochs * price_per_million / 1e6)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as handle:
        number = 0
        while line := handle.readline(MOST_LINE_BYTES + 1):
            number += 1
            yield number, line


def _faults(line: bytes, where: str) -> tuple[list[str], Any]:
    """Give the faults of one line, each beginning with ``where``, and what it holds."""
    if len(line) > MOST_LINE_BYTES:
        return [f"{where}: the line is longer than {MOST_LINE_BYTES:,} bytes"], None
    try:
        text = files.decode_utf8(line, where=where).strip()
        if not text:
            return [f"{where}: an empty line"], None
        value = files.parse_json(text, where=where)
    except DataError as error:
        return [f"{where}: {error.problem.replace('line 1 column', 'column')}"], None
    if not isinstance(value, dict):
        return [f"{where}: not an object but {_kind(value)}"], None
    if "messages" not in value:
        got = ", ".join(map(repr, value)) or "nothing"
        return [f"{where}: no 'messages'; got {got}"], None
    messages = value["messages"]
    if not isinstance(messages, list) or not messages:
        return [f"{where}: 'messages' must be a list of messages; got {_kind(messages)}"], None
    found = [f for i, m in enumerate(messages, 1) for f in _of_message(m, i)]
    found = found or _of_order([m["role"] for m in messages])
    return [f"{where}: {fault}" for fault in found], value


def _of_message(message: Any, place: int) -> list[str]:
    if not isinstance(message, dict):
        return [f"message {place} is not an object but {_kind(message)}"]
    found = [f"message {place} has the unknown key {k!r}" for k in message if k not in MESSAGE_KEYS]
    if message.get("role") not in ROLES:
        expected = ", ".join(ROLES)
        found.append(f"message {place}: role {message.get('role')!r}; expected {expected}")
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        found.append(f"message {place}: 'content' must be a text that is not empty")
    return found


def _of_order(roles: Sequence[str]) -> list[str]:
    found = []
    if "system" in roles[1:]:
        found.append(f"a system message at place {roles.index('system', 1) + 1}; only the first")
    if "user" not in roles:
        found.append("no message by 'user': there is nothing to reply to")
    if "assistant" not in roles:
        found.append("no message by 'assistant': there is nothing to learn")
    elif roles[-1] != "assistant":
        found.append(f"the last message is by {roles[-1]!r}; expected 'assistant'")
    return found


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    if isinstance(value, list) and not value:
        return "an empty list"
    return names.get(type(value), "null" if value is None else "a number")
