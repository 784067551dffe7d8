"""What can be counted in text that a model wrote: repeats, copies, and how surprising it is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from course_lib.errors import DataError
from course_lib.finetune.generate import log_likelihood

COPY = 8  # words in a row that hardly two writers choose by chance


def words(text: str) -> list[str]:
    """Give a text's words in lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", text.lower())


def repeated(texts: Iterable[str], n: int = 3) -> float:
    """Give the share of word n-grams that stood earlier in the same text; 0 is no repeat.

    One minus this is *distinct-n* (Li et al. 2016), counted within each text. It grows with
    the length of a text, so compare texts of equal length.
    """
    seen = total = 0
    for text in texts:
        runs = _runs(words(text), n)
        total += len(runs)
        seen += len(runs) - len(set(runs))
    return seen / total if total else 0.0


def copied(texts: Iterable[str], source: Iterable[str], n: int = COPY) -> float:
    """Give the share of words that lie in a run of ``n`` or more words copied from a source.

    Args:
        texts: what was written.
        source: the texts that may have been copied from.
        n: the shortest run that counts as a copy.
    """
    known = {run for text in source for run in _runs(words(text), n)}
    inside = total = 0
    for text in texts:
        found = words(text)
        marked = [False] * len(found)
        for place, run in enumerate(_runs(found, n)):
            if run in known:
                marked[place : place + n] = [True] * n
        inside += sum(marked)
        total += len(found)
    return inside / total if total else 0.0


def opening(text: str, count: int) -> tuple[str, str]:
    """Split a text after its first ``count`` words, keeping its line ends.

    Raises:
        DataError: when it has no more words than that.
    """
    ends = [m.end() for m in re.finditer(r"\S+", text)]
    if len(ends) <= count:
        raise DataError("too short a text", got=f"{len(ends)} words", expected=f"over {count}")
    cut = ends[count - 1]
    return text[:cut], text[cut:].strip()


def shortened(tokenizer: Any, text: str, tokens: int) -> str:
    """Give the first ``tokens`` tokens of a text, to lay beside a continuation of that length."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def surprise(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> float:
    """Give the perplexity of continuations after their prompts, at temperature 1.

    Args:
        model: a language model.
        tokenizer: its tokenizer.
        pairs: ``(prompt, continuation)``; empty continuations are left out.

    Raises:
        DataError: when no continuation is left.
    """
    kept = [(prompt, more) for prompt, more in pairs if more.strip()]
    if not kept:
        raise DataError("nothing was written")
    nats = -math.fsum(log_likelihood(model, tokenizer, kept))
    coded = tokenizer([" " + more.strip() for _, more in kept], add_special_tokens=False)
    return math.exp(nats / sum(len(ids) for ids in coded["input_ids"]))


def _runs(found: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
