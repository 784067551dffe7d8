"""A modified Kneser-Ney 5-gram on a pre-training run's own tokens, to compare a base with.

    python tests/benchmarks/ngram.py RUN/tokens --out ngram.json

Interpolated modified Kneser-Ney smoothing (Chen & Goodman 1999): raw counts at the highest
order, numbers of distinct left neighbours below, three discounts an order estimated from
the counts of counts. Trained on all of ``train.bin``, measured on every token of ``val.bin``
that has four before it. Needs about 120 bytes of memory a training token.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

VOCABULARY = 8192


class Order:
    """The n-grams of one order: sorted keys ``context id * VOCABULARY + word``."""

    def __init__(self, keys: np.ndarray, counts: np.ndarray) -> None:
        self.keys, self.counts = keys, counts
        contexts = keys // VOCABULARY
        self.contexts, starts = np.unique(contexts, return_index=True)
        n = [int((counts == i).sum()) for i in range(1, 5)]
        self.discounts = np.array([0.0, 0.5, 1.0, 1.5])  # where counts of counts are missing
        if min(n) > 0:
            y = n[0] / (n[0] + 2 * n[1])
            self.discounts[1:] = [i - (i + 1) * y * n[i] / n[i - 1] for i in (1, 2, 3)]
        self.totals = np.add.reduceat(counts, starts).astype(float)
        cut = self.discounts[np.minimum(counts, 3)]
        self.left_over = np.add.reduceat(cut, starts) / self.totals

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Give the place of each key, -1 where it was never seen."""
        return place(self.keys, keys)

    def probability(self, context: np.ndarray, word: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Interpolate this order's estimate with ``lower``'s; unseen contexts give ``lower``."""
        at = np.where(context >= 0, place(self.contexts, context), -1)
        seen = at >= 0
        found = np.where(seen, self.find(context * VOCABULARY + word), -1)
        count = np.where(found >= 0, self.counts[found], 0)
        own = (count - self.discounts[np.minimum(count, 3)]).clip(0) / self.totals[at]
        return np.where(seen, own + self.left_over[at] * lower, lower)


def place(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Give where each of ``wanted`` lies in sorted ``keys``, -1 where it does not."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def train(ids: np.ndarray, highest: int = 5) -> list[Order]:
    """Count all orders; the id of a context is its place among the n-grams one order down."""
    orders: list[Order] = []
    context = np.zeros(len(ids), dtype=np.int64)  # of the words before each position
    raw: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for n in range(1, highest + 1):
        keys = context[n - 1 :] * VOCABULARY + ids[n - 1 :]
        unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        raw.append((unique, inverse, counts))
        shifted = np.zeros(len(ids), dtype=np.int64)
        shifted[n:] = inverse[:-1] if n <= len(ids) else 0
        context = shifted
    for n in range(1, highest + 1):
        unique, inverse, counts = raw[n - 1]
        if n < highest:  # distinct left neighbours: one for each distinct (n+1)-gram ending so
            longer, longer_inverse, _ = raw[n]
            first = np.zeros(len(longer), dtype=np.int64)
            first[longer_inverse] = inverse[1:]
            counts = np.bincount(first, minlength=len(unique)).clip(1)
        orders.append(Order(unique, counts))
    return orders


def measure(orders: list[Order], ids: np.ndarray) -> tuple[float, float]:
    """Give the loss in nats a token and the number of tokens measured."""
    highest = len(orders)
    positions = np.arange(highest - 1, len(ids))
    total = 0.0
    for chunk in np.array_split(positions, max(1, len(positions) // 100_000)):
        estimate = np.full(len(chunk), 1 / VOCABULARY)
        for n, order in enumerate(orders, start=1):
            context = np.zeros(len(chunk), dtype=np.int64)
            for back in range(n - 1):  # ids of the context, longest first, one order at a time
                word = ids[chunk - (n - 1) + back]
                found = orders[back].find(context * VOCABULARY + word)
                context = np.where(context >= 0, found, -1)
            estimate = order.probability(context, ids[chunk], estimate)
        total -= float(np.log(estimate).sum())
    return total / len(positions), len(positions)


def main() -> None:
    """Train, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--order", type=int, default=5)
    options = parser.parse_args()
    ids = {
        split: np.fromfile(options.tokens / f"{split}.bin", dtype="<u2").astype(np.int64)
        for split in ("train", "val")
    }
    orders = train(ids["train"], options.order)
    nats, tokens = measure(orders, ids["val"])
    facts = json.loads((options.tokens / "facts.json").read_text())["val"]
    found = {
        "loss": nats,
        "perplexity": float(np.exp(nats)),
        "bits_per_byte": nats / np.log(2) * facts["tokens"] / facts["bytes"],
    }
    for name, value in found.items():
        print(f"{name} {value:.4f}")
    print(
        f"order {options.order}, {len(ids['train']):,} training and {tokens:,.0f} measured tokens"
    )
    if options.out:
        name = f"modified Kneser-Ney {options.order}-gram"
        options.out.write_text(json.dumps({name: found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
