"""int8 against float32 on a classifier of tickets: size, latency one text at a time, accuracy.

    OMP_NUM_THREADS=1 python tests/benchmarks/shrink.py --train-rows 600 --epochs 4 --calls 100

Fine-tunes the embedded base on ``support_tickets``, quantises it in both ways and measures
all of the test rows. The calls of the models take turns, so that other work on the machine
falls on all alike. The bfloat16 row is the same model stored in half the bytes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from course_lib.finetune import data, evaluate, runs
from course_lib.finetune.deploy import footprint, shrink
from course_lib.finetune.model import quiet
from course_lib.finetune.recipe import finetune


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-rows", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the run folders here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if not (folder / "float" / "run.json").is_file():
            finetune(
                "classification", "support_tickets", out=folder / "float", seed=options.seed,
                settings={"train_rows": options.train_rows, "epochs": options.epochs}, say=print,
            )  # fmt: skip
        rows = data.load("classification", "support_tickets").test
        print(f"int8 products of this processor: {shrink.int8_range()} range")
        print(f"threads: {torch.get_num_threads()}, test rows: {len(rows)}\n")
        print("| model | MB | median ms | 95% ms | accuracy | difference, paired | changed |")
        print("|---|---|---|---|---|---|---|")
        for kind in shrink.KINDS:
            shrink.shrink_run(folder / "float", folder / kind, kind=kind)
            found = footprint.compare(folder / "float", folder / kind, rows, calls=options.calls)
            low, high = found["difference_interval"]
            for name, extra in (
                ("float32", "| |"),
                ("int8", f"{found['difference']:+.1%} [{low:+.1%}, {high:+.1%}] "
                 f"| {found['changed']:.1%} |"),
            ):  # fmt: skip
                f = found[name]
                label = name if name == "float32" else f"int8, {kind}"
                print(
                    f"| {label} | {f['bytes'] / 1e6:.1f} | {f['median_ms']:.1f} "
                    f"| {f['p95_ms']:.1f} | {f['value']:.1%} | {extra}"
                )
        model, tokenizer = runs.load_run(folder / "float")
        half = model.to(torch.bfloat16)
        with quiet():
            half.save_pretrained(folder / "half" / "model")
        size = footprint.size_on_disk(folder / "half")
        halved = evaluate.classification(half.float(), tokenizer, rows).metrics["accuracy"]
        print(f"| bfloat16 on disk only | {size / 1e6:.1f} | | | {halved:.1%} | | |")
        done = json.loads((folder / "dynamic" / "run.json").read_text())["quantised"]
        print(f"\n{done['layers']} Linear layers quantised, {done['left_float']} left float")


if __name__ == "__main__":
    main()
