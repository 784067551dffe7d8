"""The ways to fine-tune with fewer weights side by side: weights, memory, seconds, accuracy.

    OMP_NUM_THREADS=1 python tests/benchmarks/adapters.py --rows 200 --seeds 0 1 2

Every run is a process of its own, one after another, on support_tickets with the settings of
`course finetune classification`; accuracy is that on the test rows. A figure over several
seeds is the mean with lowest and highest. The second table gives the seconds of the ordinary
frozen run and the cached one on the same rows, for each number of frozen layers, taking turns.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from typing import Any

from course_lib.finetune import cached, data, prepare
from course_lib.finetune.model import close_texts, freeze, head_from_words, load_base
from course_lib.finetune.records import TrainConfig
from course_lib.finetune.splits import sample
from course_lib.finetune.tradeoffs import ways
from course_lib.finetune.train import train


def speed(rows: int, epochs: int, depth: str, repeats: int) -> list[str]:
    """Time frozen and cached in turn; give the cells of a row, and how far their losses part."""
    splits = data.load("classification", "support_tickets")
    taken = sample(splits.train, rows, 0)
    seconds: dict[Any, list[float]] = {train: [], cached.train_cached: []}
    losses: list[list[float]] = []
    for _ in range(repeats):
        for trainer, took in seconds.items():
            model, tokenizer = load_base(task="classification", labels=splits.labels)
            close_texts(tokenizer, prepare.TOPIC_PROMPT)
            head_from_words(model, tokenizer)
            freeze(model, depth)
            coded, held_out = (
                prepare.classification(part, tokenizer, 512, splits.labels)
                for part in (taken, splits.validation)
            )
            config = TrainConfig(epochs=epochs, batch_size=8, precision="float32")
            found = trainer(model, coded, held_out, config, pad_id=tokenizer.pad_token_id)
            took.append(found.seconds)
            losses.append([row["loss"] for row in found.history])
    plain, kept = seconds.values()
    ratios = [a / b for a, b in zip(plain, kept, strict=True)]
    apart = max(abs(a - b) for a, b in zip(losses[0], losses[1], strict=True))
    ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
    times = [f"{statistics.median(s):.1f}" for s in (plain, kept)]
    return [depth, *times, ratio, f"{apart:.0e}"]


def main() -> None:
    """Run both tables and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[200])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=["full", "frozen", "cached", "lora"])
    parser.add_argument("--freeze", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--depths", nargs="*", default=["1", "2", "3", "base"])
    parser.add_argument("--speed-rows", type=int, default=100)
    parser.add_argument("--speed-epochs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    print(f"`python {shlex.join(sys.argv)}`\n")
    if options.rows:
        settings = dict(pair.split("=", 1) for pair in options.set)
        found = ways.compare_ways(
            rows=options.rows, seeds=options.seeds, freeze=options.freeze, ways=options.ways,
            settings=settings,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
        print(ways.markdown(found), end="\n\n")
    if options.depths:
        print(f"{options.speed_rows} rows, {options.speed_epochs} epochs\n")
        print("| frozen | frozen, s | cached, s | times as fast | losses apart, at most |")
        print("|---|---|---|---|---|", flush=True)
    for depth in options.depths:
        cells = speed(options.speed_rows, options.speed_epochs, depth, options.repeats)
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
