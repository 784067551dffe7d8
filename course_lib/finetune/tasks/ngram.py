"""The cheap baseline of language modeling: count which token follows the few before it.

Interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999): raw counts at the highest
order, numbers of distinct left neighbours below, three discounts an order estimated from the
counts of counts, and the uniform distribution below the lowest order, so that no token is ever
impossible. It counts whatever numbers it is given: a model's token ids, or bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from course_lib.errors import UsageError
from course_lib.finetune.tasks.domain import TextLoss

CHUNK = 100_000  # positions measured at a time


class NGram:
    """A smoothed n-gram model over the numbers ``0 .. vocabulary - 1``.

    Args:
        ids: the training text as one stream, with a separator between texts.
        vocabulary: how many different numbers there are.
        order: the longest n-gram: ``order - 1`` numbers are looked back on.

    Raises:
        UsageError: for an order below 1, a stream shorter than that, or numbers beyond
            the vocabulary.
    """

    def __init__(self, ids: Sequence[int] | np.ndarray, vocabulary: int, order: int = 3) -> None:
        stream = np.asarray(ids, dtype=np.int64)
        if order < 1 or len(stream) < order + 1:
            raise UsageError(
                "this n-gram cannot be counted", got=f"order {order}, {len(stream)} numbers",
                expected="an order of at least 1 and a text longer than that",
            )  # fmt: skip
        if stream.min() < 0 or stream.max() >= vocabulary:
            raise UsageError(
                "a number beyond the vocabulary", got=str(int(stream.max())),
                expected=f"0 to {vocabulary - 1}",
            )  # fmt: skip
        self.vocabulary = vocabulary
        self.orders = _count(stream, vocabulary, order)

    def losses(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Give the loss in nats of every number after the first, float64 ``[len(ids) - 1]``.

        Near the beginning, where fewer than ``order - 1`` numbers stand before, the orders
        that fit are used.
        """
        stream = np.asarray(ids, dtype=np.int64)
        positions = np.arange(1, len(stream))
        if not len(positions):
            return np.zeros(0)
        parts = np.array_split(positions, -(-len(positions) // CHUNK))
        return np.concatenate([self._losses(stream, part) for part in parts])

    def _losses(self, stream: np.ndarray, at: np.ndarray) -> np.ndarray:
        estimate = np.full(len(at), 1 / self.vocabulary)
        for n, order in enumerate(self.orders, start=1):
            context = np.where(at >= n - 1, 0, -1)  # -1: not seen, or not that much before it
            for back in range(n - 1):  # the context's id, its oldest number first
                number = stream[np.maximum(at - (n - 1) + back, 0)]
                found = _place(self.orders[back].keys, context * self.vocabulary + number)
                context = np.where(context >= 0, found, -1)
            estimate = order.probability(context, stream[at], estimate, self.vocabulary)
        return np.asarray(-np.log(estimate))


class TextNGram:
    """An n-gram over texts: of a tokenizer's tokens, or of bytes.

    Args:
        texts: the training texts; a separator is put between them.
        order: the longest n-gram.
        tokenizer: whose tokens are counted, its end-of-text token being the separator; None
            counts UTF-8 bytes, with the zero byte as the separator.
    """

    def __init__(self, texts: Iterable[str], order: int, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer
        self.separator = 0 if tokenizer is None else int(tokenizer.eos_token_id)
        stream = [self.separator]
        for text in texts:
            stream += [*self._ids(text), self.separator]
        self.model = NGram(stream, 256 if tokenizer is None else len(tokenizer), order)

    def _ids(self, text: str) -> list[int]:
        if self.tokenizer is None:
            return list(text.encode())
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def text_losses(self, texts: Iterable[str]) -> list[TextLoss]:
        """Measure each text on its own, as ``domain.text_losses`` does; tokens may be bytes."""
        found = []
        for text in texts:
            losses = self.model.losses([self.separator, *self._ids(text)])
            found.append(TextLoss(float(losses.sum()), len(losses), len(text.encode())))
        return found


class _Order:
    """The n-grams of one order: sorted keys ``context id * vocabulary + number``."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray, vocabulary: int) -> None:
        self.keys, self.counts = keys, counts
        self.contexts, starts = np.unique(keys // vocabulary, return_index=True)
        n = [int((counts == i).sum()) for i in range(1, 5)]
        self.discounts = np.array([0.0, 0.5, 1.0, 1.5])  # where counts of counts are missing
        if min(n) > 0:
            y = n[0] / (n[0] + 2 * n[1])
            own = [i - (i + 1) * y * n[i] / n[i - 1] for i in (1, 2, 3)]
            self.discounts[1:] = np.clip(own, 0, [1, 2, 3])
        self.totals = np.add.reduceat(counts, starts).astype(float)
        cut = self.discounts[np.minimum(counts, 3)]
        self.left_over = np.add.reduceat(cut, starts) / self.totals

    def probability(
        self, context: np.ndarray, number: np.ndarray, lower: np.ndarray, vocabulary: int
    ) -> np.ndarray:
        """Interpolate this order's estimate with ``lower``'s; unseen contexts give ``lower``."""
        at = np.where(context >= 0, _place(self.contexts, context), -1)
        seen = at >= 0
        found = np.where(seen, _place(self.keys, context * vocabulary + number), -1)
        count = np.where(found >= 0, self.counts[found], 0)
        own = (count - self.discounts[np.minimum(count, 3)]).clip(0) / self.totals[at]
        return np.asarray(np.where(seen, own + self.left_over[at] * lower, lower))


def _place(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Give where each of ``wanted`` lies in sorted ``keys``, -1 where it does not."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _count(ids: np.ndarray, vocabulary: int, highest: int) -> list[_Order]:
    """Count all orders; the id of a context is its place among the n-grams one order down."""
    context = np.zeros(len(ids), dtype=np.int64)  # of the numbers before each position
    raw: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for n in range(1, highest + 1):
        keys = context[n - 1 :] * vocabulary + ids[n - 1 :]
        unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        raw.append((unique, inverse, counts))
        context = np.zeros(len(ids), dtype=np.int64)
        context[n:] = inverse[:-1]
    orders = []
    for n, (unique, inverse, counts) in enumerate(raw, start=1):
        if n < highest:  # distinct left neighbours: one for each distinct (n+1)-gram ending so
            longer, longer_inverse, _ = raw[n]
            first = np.zeros(len(longer), dtype=np.int64)
            first[longer_inverse] = inverse[1:]
            counts = np.bincount(first, minlength=len(unique)).clip(1)
        orders.append(_Order(unique, counts, vocabulary))
    return orders
