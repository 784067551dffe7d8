"""Staged fine-tuning: does reading the handbook first help to sort tickets? With paired tests.

    OMP_NUM_THREADS=1 python tests/benchmarks/staged.py --seeds 1 2 3 --rows 200 --out runs/staged

Three routes to the intents of ``support_tickets`` from ``--rows`` labelled tickets (another
sample for each seed; all measured on the same test rows):

- task: the embedded base, then the task;
- domain, task: language modeling on ``shop_handbook`` (one stage for all seeds), then the task;
- mixed, task: language modeling on the handbook and the labelled tickets, each closed by
  "This is about" and its label, then the task.

Finished runs in ``--out`` are kept, so it can be run seed by seed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from course_lib.finetune import data, lineage, splits
from course_lib.finetune.compare import compare_all
from course_lib.finetune.prepare import TOPIC_PROMPT
from course_lib.finetune.staged import Stage, staged
from course_lib.finetune.tradeoffs.ensemble import ensemble, ensemble_gain, over_seeds

ROUTES = ("task", "domain, task", "mixed, task")
TICKETS, HANDBOOK = "support_tickets", "shop_handbook"


def mixed_data(folder: Path, rows: int, seed: int) -> str:
    """Write the handbook with a seed's labelled tickets among its training units."""
    handbook = data.load("language-modeling", HANDBOOK)
    tickets = splits.sample(data.load("classification", TICKETS).train, rows, seed)
    said = [f"{t.text}{TOPIC_PROMPT} {str(t.label).replace('_', ' ')}" for t in tickets]
    parts = {
        "train": [r.text for r in handbook.train] + said,
        "validation": [r.text for r in handbook.validation],
        "test": [r.text for r in handbook.test],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in parts.items():
        lines = (json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return str(folder)


def run_seed(out: Path, rows: int, seed: int, domain_epochs: int) -> None:
    """Run what is missing of the three routes for one seed."""
    task = Stage("classification", TICKETS, {"train_rows": rows})
    reading = {"epochs": domain_epochs}
    domain = Stage("language-modeling", HANDBOOK, reading)
    mixed = Stage("language-modeling", mixed_data(out / f"mix{seed}", rows, seed), reading)
    shared = out / "domain"
    staged([domain], shared, resume=True, say=print)
    base = str(shared / f"1-language-modeling-{HANDBOOK}" / "model")
    staged([task], out / f"task-{seed}", seed=seed, resume=True, say=print)
    staged([task], out / f"domain-{seed}", base=base, seed=seed, resume=True, say=print)
    staged([mixed, task], out / f"mixed-{seed}", seed=seed, resume=True, say=print)


def finished(out: Path, route: str, seed: int) -> Path:
    """Give the folder of a route's last run."""
    found = sorted((out / f"{route.split(',')[0]}-{seed}").glob("[0-9]-classification-*"))
    return found[-1]


def report(out: Path, seeds: list[int]) -> None:
    """Print the tables."""
    runs = {route: [finished(out, route, s) for s in seeds] for route in ROUTES}
    print(
        "\n| route | " + " | ".join(f"seed {s}" for s in seeds) + " | mean [95%] | lead over task |"
    )
    print("|---" * (len(seeds) + 3) + "|")
    for route, folders in runs.items():
        own = over_seeds(folders)
        lead = "" if route == "task" else over_seeds(folders, runs["task"])
        told = lead and f"{lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}], p = {lead.p:.2f}"
        cells = " | ".join(f"{v:.3f}" for v in own.values)
        print(f"| {route} | {cells} | {own.mean:.3f} [{own.low:.3f}, {own.high:.3f}] | {told} |")
    kept = [lineage.run_facts(r)["metrics"]["baselines"]["tfidf_logreg"] for r in runs["task"]]
    found = [k["accuracy"] for k in kept]
    print(f"| TF-IDF | {' | '.join(f'{v:.3f}' for v in found)} | {sum(found) / len(found):.3f} | |")
    print("\nRoutes on the same seed, Holm over the three comparisons:\n")
    for place, seed in enumerate(seeds):
        for compared in compare_all({route: folders[place] for route, folders in runs.items()}):
            print(f"- seed {seed}: {compared.sentence()}")
    if len(seeds) > 1:
        print("\nEnsembles over the seeds:\n")
        for route, folders in runs.items():
            for how in ("average", "vote"):
                gain = ensemble_gain(folders, how=how)
                print(f"- {route}, {how}: {gain.sentence()}; any right {gain.any_right:.3f}")
        everything = [folder for folders in runs.values() for folder in folders]
        whole = ensemble(everything).metrics
        low, high = whole["accuracy_interval"]
        print(f"- all {len(everything)} runs: {whole['accuracy']:.3f} [{low:.3f}, {high:.3f}]")
    print("\nLineage of the last run of 'domain, task':\n")
    for entry in lineage.lineage(runs["domain, task"][-1], look_in=[out / "domain"]):
        print(f"- {entry['name']}: {entry.get('data', 'base')}, verified {entry['verified']}")


def main() -> None:
    """Run, print, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--domain-epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/staged"))
    parser.add_argument("--report", action="store_true", help="print what is there, run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    for seed in [] if options.report else options.seeds:
        run_seed(options.out, options.rows, seed, options.domain_epochs)
    report(options.out, options.seeds)
    print(f"\n{time.monotonic() - began:.0f} s, one thread")


if __name__ == "__main__":
    main()
