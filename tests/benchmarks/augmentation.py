"""Does augmentation or balancing help a classifier of the shop's tickets?

    python tests/benchmarks/augmentation.py [--data support_tickets] [--rows 200] [--seeds 3]
        [--finetune synonyms typos] [--steps 100]

Prints three tables, all on the validation rows: augmentation with TF-IDF, augmentation with a
fine-tune of the base (the methods named by --finetune; none by default), and balancing of a
long-tailed sample. The test rows are not read.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import fmean

from course_lib.finetune import data
from course_lib.finetune.experiment import mean_interval
from course_lib.finetune.records import Splits
from course_lib.finetune.text import augment, gain, words


def augmentation(
    splits: Splits, methods: list[str], model: str, rows: int, seeds: range, steps: int
) -> None:
    """Print accuracy and macro F1 with and without each method."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    found = gain.measure_augmentation(
        splits, methods, rows=rows, seeds=list(seeds), model=model, steps=steps, say=say
    )
    about = f", {steps} steps" if model == "finetune" and steps else ""
    print(f"\n**Augmentation, {model}{about}**, {rows} rows, {len(seeds)} seeds, share 1.0\n")
    print("| method | added | words changed | accuracy | macro F1 | difference [95%] | verdict |")
    print("|---|---|---|---|---|---|---|")
    before, f1 = (100 * fmean(v) for v in (found[0].without, found[0].f1_without))
    print(f"| none | 0 | | {before:.1f} | {f1:.1f} | | |")
    for g in found:
        print(
            f"| {g.method} | {g.report['added']} | {g.report['words_changed']:.1%} "
            f"| {100 * fmean(g.with_copies):.1f} | {100 * fmean(g.f1_with):.1f} "
            f"| {100 * g.difference:+.1f} [{100 * g.low:+.1f}, {100 * g.high:+.1f}] | {g.verdict} |"
        )
    print(f"\n{time.monotonic() - began:.0f} s")


def written(splits: Splits, rows: int) -> None:
    """Print what the judge accepts of what the base itself writes."""
    from course_lib.finetune.splits import sample

    part = sample(splits.train, rows, 0)
    print("\n**Written by the base**: what reached the judge, and what it accepted\n")
    print("| method | asked | empty | copies | another label | kept | acceptance | by chance |")
    print("|---|---|---|---|---|---|---|---|")
    for method in ("paraphrase", "synthesis"):
        r = augment.augment(part, method, share=0.4, seed=0).report["written"]
        print(
            f"| {method} | {r['asked']} | {r['empty']} | {r['copies']} | {r['another_label']} "
            f"| {r['kept']} | {r['acceptance']:.1%} | {1 / len(splits.labels):.1%} |"
        )


def balancing(splits: Splits, features: str, ratio: float, seeds: range) -> None:
    """Print accuracy, macro F1 and recall of the rarer classes for each way."""
    found = gain.measure_balancing(splits, ratio=ratio, features=features, seeds=list(seeds))
    print(f"\n**Balancing, {features}**, long tail 1:{ratio:g}, {len(seeds)} seeds\n")
    print("| way | rows | accuracy | macro F1 | recall of the rarer half | F1 over none [95%] |")
    print("|---|---|---|---|---|---|")
    for row in found:
        pairs = zip(row["f1_by_seed"], found[0]["f1_by_seed"], strict=True)
        mean, low, high = mean_interval([100 * (a - b) for a, b in pairs])
        over = f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]" if row is not found[0] else ""
        print(
            f"| {row['way']} | {row['rows']:.0f} | {100 * row['accuracy']:.1f} "
            f"| {100 * row['f1_macro']:.1f} | {100 * row['recall_rare']:.1f} | {over} |"
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="support_tickets")
    parser.add_argument("--label-column", default="intent")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ratio", type=float, default=20.0)
    parser.add_argument("--finetune", nargs="*", default=[], choices=augment.METHODS)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    splits = data.load("classification", options.data, label_column=options.label_column)
    seeds = range(options.seeds)
    print("`python tests/benchmarks/augmentation.py " + " ".join(sys.argv[1:]) + "`")
    if options.finetune:
        augmentation(
            splits, options.finetune, "finetune", options.rows, seeds, options.steps
        )  # fmt: skip
        return
    augmentation(splits, list(words.EDITS), "tfidf", options.rows, seeds, 0)
    written(splits, options.rows)
    for features in gain.FEATURES:
        balancing(splits, features, options.ratio, seeds)


if __name__ == "__main__":
    main()
