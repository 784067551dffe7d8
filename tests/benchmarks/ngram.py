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

from course_lib.finetune.tasks.ngram import NGram

VOCABULARY = 8192


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
    losses = NGram(ids["train"], VOCABULARY, options.order).losses(ids["val"])
    whole = losses[options.order - 2 :] if options.order > 1 else losses
    nats, tokens = float(whole.mean()), len(whole)
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
