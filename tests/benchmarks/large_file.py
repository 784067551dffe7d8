"""Peak memory of fine-tuning on a large JSON Lines file.

    python tests/benchmarks/large_file.py --megabytes 2000

Writes the file (random words, labels from their first word) to a temporary folder, then
fine-tunes on it for a few steps through the public function, and prints the peak memory
of the process beside the size of the file.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

WORDS = ["parcel", "zip", "jacket", "cancel", "order", "boots", "size", "card", "tent", "lamp"]


def write(path: Path, size: int, length: int) -> int:
    """Write about ``size`` bytes of rows of ``length`` words; give their number."""
    rng, rows, written = random.Random(0), 0, 0
    with open(path, "w", encoding="utf-8") as handle:
        while written < size:
            words = rng.choices(WORDS, k=length)
            line = json.dumps({"text": f"{rows} " + " ".join(words), "label": words[0]}) + "\n"
            handle.write(line)
            rows, written = rows + 1, written + len(line)
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--task", default="language-modeling")
    options = parser.parse_args()
    from course_lib.finetune.recipe import finetune
    from course_lib.finetune.train import peak_memory

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = write(path, options.megabytes * 10**6, options.words)
        began = time.monotonic()
        run = finetune(
            options.task,
            str(path),
            settings={"max_steps": 10, "validation_rows": 200, "test_rows": 200},
            out=Path(folder) / "run",
            say=print,
        )
        megabytes = path.stat().st_size / 1e6
        print(f"{rows:,} rows, {megabytes:,.0f} MB on disk, {run['steps']} steps")
        print(f"{time.monotonic() - began:,.0f} s from file to run folder")
        import torch

        peak = peak_memory(torch.device("cpu")) / 1e6
        print(f"peak memory {peak:,.0f} MB, {peak / megabytes:.2f} of the file")


if __name__ == "__main__":
    main()
