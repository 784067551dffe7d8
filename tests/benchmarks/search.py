"""Grid, random and TPE search on the same number of trials, and what pruning saves.

    python tests/benchmarks/search.py [--data support_tickets] [--trials 12] [--seeds 0 1 2]

The course's base takes seconds a trial; so that hundreds fit into minutes, the default base is
a Llama of 2 layers x 32 with random weights, made here, and the task is language modeling, whose
loss tells close settings apart. ``--base embedded`` and ``--task`` measure what you like. Values
are of the validation rows; the test rows are not looked at. With --out, sweeps are kept and a
later call goes on with them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from course_lib.finetune import data
from course_lib.finetune.search.sweep import METHODS
from course_lib.finetune.search.sweep_compare import Comparison, compare_methods

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True, "points": 4},
    "batch_size": [2, 4, 8],
}
UNBOUNDED = 10**9  # steps; the number of trials is what bounds each sweep


def tiny(folder: Path, name: str) -> str:
    """Write a base of 2 layers x 32 with a tokenizer of the data's training texts."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    from course_lib.finetune.pretraining.tokenizer import train_tokenizer

    texts = [row.text for row in data.load("language-modeling", name).train]
    tokenizer = train_tokenizer(texts, vocab_size=512, context=64)
    set_seed(0)
    shape = LlamaConfig(
        vocab_size=512, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", default="language-modeling")
    parser.add_argument("--data", default="support_tickets")
    parser.add_argument("--base", default="tiny")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        base = tiny(Path(temporary), given.data) if given.base == "tiny" else given.base
        found = {prune: search(given, base, prune) for prune in ("none", "median")}
    show(given, found)
    print(f"\n{time.monotonic() - began:.0f} s")


def search(given: argparse.Namespace, base: str, prune: str) -> Comparison:
    """Run every method and seed with one kind of pruning."""
    rows: dict[str, Any] = {"train_rows": given.rows, "validation_rows": 24}
    return compare_methods(
        given.task, given.data, SPACE, budget=UNBOUNDED, trials=given.trials,
        methods=METHODS[::-1] if prune == "none" else METHODS[1::-1], seeds=given.seeds,
        base=base, prune=prune,
        out=given.out and given.out / prune, settings=rows | {"epochs": given.epochs},
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip


def show(given: argparse.Namespace, found: dict[str, Comparison]) -> None:
    """Print best values after a quarter, half and all of the trials, and what pruning saved."""
    whole, pruned = found["none"], found["median"]
    counts = sorted({max(1, given.trials // 4), max(1, given.trials // 2), given.trials})
    shared = min(curve[-1][1] for curve in whole.curves.values())
    print(f"`python tests/benchmarks/search.py {' '.join(sys.argv[1:])}`\n")
    print(f"Best {whole.metric.replace('_', ' ')} so far, mean over seeds and 95% interval:\n")
    print(whole.markdown(counts, by="trials"))
    print("\nThe same by training steps, all trials together:\n")
    print(whole.markdown([shared // 4, shared // 2, shared], by="steps"))
    print("\nWith median pruning, over all seeds:\n")
    print("| method | trials ended early | steps without | steps with | best without | best with |")
    print("|---|---|---|---|---|---|")
    for method in METHODS[1::-1]:
        ended = sum(n for (m, _), n in pruned.pruned.items() if m == method)
        steps = [
            sum(curve[-1][1] for (m, _), curve in c.curves.items() if m == method)
            for c in (whole, pruned)
        ]
        best = [
            ", ".join(f"{v:.4f}" for v in c.at(method, UNBOUNDED, "trials"))
            for c in (whole, pruned)
        ]
        trials = given.trials * len(given.seeds)
        print(
            f"| {method} | {ended} of {trials} | {steps[0]} | {steps[1]} | {best[0]} | {best[1]} |"
        )


if __name__ == "__main__":
    main()
