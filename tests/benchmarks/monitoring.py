"""Drift monitoring on the shop's stream: how soon it is noticed, how often for nothing.

    python tests/benchmarks/monitoring.py --run runs/tickets --streams 200

RUN is a classifier fine-tuned on support_tickets (without it one is trained first, about two
minutes on four cores). The reference is the first 250 rows of the stream; drift is planted at
row 501. Undrifted streams have 500 rows: rows 251 to 500 of the stream, drawn with replacement
or reordered twice, beside that reference; and held-out tickets (test) beside held-out tickets
(validation). Prints each signal's delay and false alarms, and what the drift cost.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from course_lib import files
from course_lib.finetune import data
from course_lib.finetune.deploy.drift import Monitor, observe
from course_lib.finetune.deploy.drift_signals import embed
from course_lib.finetune.model import load_base
from course_lib.finetune.recipe import finetune

REFERENCE, PLANTED, LENGTH = 250, 500, 500
Rows = list[dict[str, Any]]


def first_alarms(monitor: Monitor, stream: Rows) -> dict[str, int]:
    """Give for each signal the row of its first alarm."""
    monitor.reset()
    found: dict[str, int] = {}
    for row in stream:
        if alarm := monitor.update(row):
            found |= dict.fromkeys(alarm.signals, alarm.row)
    return found


def undrifted(pool: Rows, kind: str, rng: np.random.Generator) -> Rows:
    """Give a stream of ``LENGTH`` rows of a pool: ``drawn`` with replacement or ``reordered``."""
    if kind == "drawn":
        return [pool[i] for i in rng.integers(0, len(pool), LENGTH)]
    turns = -(-LENGTH // len(pool))
    return [pool[i] for _ in range(turns) for i in rng.permutation(len(pool))][:LENGTH]


def count(monitor: Monitor, pool: Rows, kind: str, streams: int) -> tuple[dict[str, int], int]:
    """Give how many undrifted streams raised each signal, and how many any."""
    rng, found, any_of = np.random.default_rng(0), dict.fromkeys(monitor.limits, 0), 0
    for _ in range(streams):
        alarms = first_alarms(monitor, undrifted(pool, kind, rng))
        any_of += bool(alarms)
        for name in alarms:
            found[name] += 1
    return found, any_of


def table(window: int, rows: dict[str, Rows], known: list[str], streams: int, title: str) -> None:
    """Measure one window and print its table."""
    stream = rows["stream"]
    began = time.perf_counter()
    monitor = Monitor(stream[:REFERENCE], vocabulary=known, window=window)
    took = time.perf_counter() - began
    began = time.perf_counter()
    planted = first_alarms(monitor, stream[REFERENCE:])
    each = (time.perf_counter() - began) / (len(stream) - REFERENCE)
    tickets = Monitor(rows["validation"], vocabulary=known, window=window)
    late = stream[REFERENCE:PLANTED]
    columns = [
        count(monitor, late, "reordered", streams), count(monitor, late, "drawn", streams),
        count(tickets, rows["test"], "reordered", streams),
        count(tickets, rows["test"], "drawn", streams),
    ]  # fmt: skip
    print(f"\n**{title}, window {window}** (limits in {took:.1f} s, {1000 * each:.1f} ms a row)\n")
    print("| signal | limit | rows after the drift | stream reordered | stream drawn "
          "| tickets reordered | tickets drawn |")  # fmt: skip
    print("|---" * 7 + "|")
    for name, limit in monitor.limits.items():
        at = planted.get(name)
        delay = "not noticed" if at is None else f"{at + REFERENCE - PLANTED}"
        figures = " | ".join(f"{found[name]}" for found, _ in columns)
        print(f"| {name} | {limit:.4g} | {delay} | {figures} |")
    first = min(planted.values(), default=0) + REFERENCE - PLANTED
    figures = " | ".join(f"{n} of {streams}" for _, n in columns)
    print(f"| any | | {first if planted else 'not noticed'} | {figures} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", help="a classifier of support_tickets; default: trained now")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--windows", type=int, nargs="+", default=[100, 50])
    options = parser.parse_args()
    scratch = tempfile.TemporaryDirectory()
    run = options.run or str(Path(scratch.name) / "tickets")
    if not options.run:
        finetune("classification", "support_tickets", out=run)
    tickets = data.load("classification", "support_tickets")
    known = [r.text for r in tickets.train]
    stream = [r for _, r in files.read_jsonl(files.course_root() / "datasets/stream/stream.jsonl")]
    texts = {
        "stream": [str(r["text"]) for r in stream],
        "validation": [r.text for r in tickets.validation],
        "test": [r.text for r in tickets.test],
    }
    rows = {name: observe(run, found) for name, found in texts.items()}
    right = [r["intent"] == s["prediction"] for r, s in zip(stream, rows["stream"], strict=True)]
    sure = [max(r["probabilities"].values()) for r in rows["stream"]]
    parts = {"rows 1 to 500": slice(0, PLANTED), "rows 501 to 1,000": slice(PLANTED, None)}
    print("| | accuracy | mean confidence |\n|---|---|---|")
    for title, part in parts.items():
        print(f"| {title} | {np.mean(right[part]):.3f} | {np.mean(sure[part]):.3f} |")
    for window in options.windows:
        table(window, rows, known, options.streams, "Reference: stream rows 1 to 250")
    model, tokenizer = load_base("embedded", task="language-modeling")
    vectors = {name: embed(model, tokenizer, found) for name, found in texts.items()}
    other = {
        name: [{**r, "embedding": v} for r, v in zip(found, vectors[name], strict=True)]
        for name, found in rows.items()
    }
    table(
        options.windows[0],
        other,
        known,
        min(20, options.streams),
        "The same with the base's own embedding",
    )
    held_out = [*rows["validation"], *rows["test"]]
    monitor = Monitor(held_out, vocabulary=known, window=options.windows[0])
    print("\nWith held-out tickets as the reference of the stream, first alarms at row:",
          first_alarms(monitor, rows["stream"]))  # fmt: skip
    run_named = f" --run {Path(options.run).name}" if options.run else ""
    print(f"\n`python tests/benchmarks/monitoring.py{run_named} --streams {options.streams}`")
    scratch.cleanup()


if __name__ == "__main__":
    main()
