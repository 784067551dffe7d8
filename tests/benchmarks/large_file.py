"""Peak memory of fine-tuning on a large JSON Lines file.

    python tests/benchmarks/large_file.py --megabytes 2000

Writes the file (random words, labels from their first word) to a temporary folder, then
fine-tunes on it for a few steps through the public function, and prints the peak memory
beside the size of the file: what the process holds (anonymous memory), and with it the
pages of its memory-mapped files, which the system takes back when it needs the room.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
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


class Watch(threading.Thread):
    """Samples this process's memory: peaks of what it holds and of all that is resident."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.held = self.resident = 0

    def run(self) -> None:
        """Sample five times a second until the process ends."""
        while True:
            text = Path("/proc/self/status").read_text()
            lines = dict(line.split(":", 1) for line in text.splitlines())
            self.held = max(self.held, int(lines["RssAnon"].split()[0]) * 1024)
            self.resident = max(self.resident, int(lines["VmRSS"].split()[0]) * 1024)
            time.sleep(0.2)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--task", default="language-modeling")
    options = parser.parse_args()
    from course_lib.finetune.recipe import finetune

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = write(path, options.megabytes * 10**6, options.words)
        began, watch = time.monotonic(), Watch()
        watch.start()
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
        for what, peak in (("held", watch.held), ("held and mapped", watch.resident)):
            print(f"{what}: {peak / 1e6:,.0f} MB at the peak, {peak / 1e6 / megabytes:.2f} "
                  "of the file")  # fmt: skip


if __name__ == "__main__":
    main()
