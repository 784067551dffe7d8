"""Domain adaptation: perplexity in and out of the domain, before and after.

    python tests/benchmarks/domain.py --data FOLDER --general FILE --seeds 3 --out domain.json

Fine-tunes the embedded base on a folder's training text through the public function and
measures its test text and a general text (one file, such as the validation text of the
pre-training corpus) with the base as it came and with the fine-tuned model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from course_lib.finetune import data, evaluate
from course_lib.finetune.experiment import mean_interval
from course_lib.finetune.model import load_base
from course_lib.finetune.recipe import finetune
from course_lib.finetune.runs import load_run


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--general", required=True)
    parser.add_argument("--general-rows", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in options.set)
    general = data.load("language-modeling", options.general).train[: options.general_rows]

    def perplexity(model: Any, tokenizer: Any) -> float:
        found = evaluate.language_modeling(model, tokenizer, general)
        return float(found.metrics["perplexity"])

    base = perplexity(*load_base("embedded", task="language-modeling"))
    rows = []
    for seed in range(1, options.seeds + 1):
        for arm, scratch in (("fine-tuned", False), ("from scratch", True)):
            with tempfile.TemporaryDirectory() as folder:
                run = finetune(
                    "language-modeling", options.data, seed=seed, settings=settings,
                    from_scratch=scratch, out=Path(folder) / "run",
                )  # fmt: skip
                after = perplexity(*load_run(Path(folder) / "run"))
            rows.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "domain_before": run["metrics"]["before"].get("perplexity"),
                    "domain_after": run["metrics"]["after"]["perplexity"],
                    "general_before": None if scratch else base,
                    "general_after": after,
                    "settings": {k: v["value"] for k, v in run["settings"].items()},
                }
            )
            print({k: v for k, v in rows[-1].items() if k != "settings"}, flush=True)
    for arm in ("fine-tuned", "from scratch"):
        for where in ("domain_after", "general_after"):
            values = [row[where] for row in rows if row["arm"] == arm]
            if len(values) > 1:
                mean, low, high = mean_interval(values)
                print(f"{arm}, {where}: {mean:.1f} [{low:.1f}, {high:.1f}]")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
