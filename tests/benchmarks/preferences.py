"""Preference tuning: fine-tune on replies, then a DPO step; the win rate on held-out pairs.

    python tests/benchmarks/preferences.py --sft-rows 300 --sft-epochs 3 --epochs 3 --seed 0

First the embedded base is fine-tuned on ticket and reply of ``support_tickets``, written as
dialogues in the chat template; then ``dpo`` tunes it on ``preferences``. Settings are the
defaults of the library, tuned on no split; the table gives the test pairs, one seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.finetune import sources
from course_lib.finetune.feedback.dpo import dpo
from course_lib.finetune.recipe import finetune


def write_dialogues(folder: Path) -> None:
    """Write support_tickets as dialogues of a customer and the desk, a file for each split."""
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        path = sources.course_file("support_tickets", f"{split}.jsonl")
        lines = []
        for _, row in files.read_jsonl(path):
            turns = (("user", row["text"]), ("assistant", row["reply"]))
            messages = [{"role": role, "content": content} for role, content in turns]
            lines.append(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def share(found: dict[str, Any], name: str) -> str:
    """Give a share with its interval in percent."""
    low, high = found[f"{name}_interval"]
    return f"{found[name]:.1%} [{low:.1%}, {high:.1%}]"


def main() -> None:
    """Train twice, print the table, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sft-rows", type=int, default=300)
    parser.add_argument("--sft-epochs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the run folders here")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        sft = {"train_rows": options.sft_rows, "validation_rows": 60, "test_rows": 4}
        if options.sft_epochs and not (folder / "sft" / "run.json").is_file():
            write_dialogues(Path(temporary) / "dialogues")
            finetune(
                "completion", str(Path(temporary) / "dialogues"), out=folder / "sft",
                settings=sft | {"epochs": options.sft_epochs}, seed=options.seed, say=print,
            )  # fmt: skip
        middle = time.monotonic()
        settings = {"epochs": options.epochs, **dict(s.split("=", 1) for s in options.set)}
        run = dpo(
            "preferences", base=str(folder / "sft") if options.sft_epochs else "embedded",
            out=folder / "dpo", settings=settings, seed=options.seed, say=print,
        )  # fmt: skip
        rows = [row for _, row in files.read_jsonl(folder / "dpo" / "history.jsonl")]
    print("validation:", [{k: round(r[k], 4) for k in ("step", "loss", "validation_loss",
          "validation_win_rate")} for r in rows if "validation_loss" in r])  # fmt: skip
    metrics = run["metrics"]
    print("\n| model | win rate | by token | likelier alone | margin, nats | loss, better reply |")
    print("|---|---|---|---|---|---|")
    for name, found in (("before DPO", metrics["before"]), ("after DPO", metrics["after"])):
        print(
            f"| {name} | {share(found, 'win_rate')} | {share(found, 'win_rate_normalised')} "
            f"| {share(found, 'likelier')} | {found['margin']:.2f} | {found['chosen_nats']:.2f} |"
        )
    for name, found in metrics["baselines"].items():
        print(f"| {name} | {share(found, 'win_rate')} | | | | |")
    print(
        f"\n{metrics['after']['pairs']} test pairs, weights of epoch {run['kept_epoch']}; "
        f"fine-tuning {middle - began:.0f} s, DPO {time.monotonic() - middle:.0f} s"
    )
    if options.out:
        options.out.write_text(json.dumps(run, indent=2) + "\n")


if __name__ == "__main__":
    main()
