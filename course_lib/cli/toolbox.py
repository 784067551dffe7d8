"""Search, comparison, preferences and small models: sweep, compare, lineage, dpo, shrink."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from course_lib.cli.arguments import parse_settings
from course_lib.cli.show import PROFILES, Command, say, show_json, show_table


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands to the parser."""
    search = command("sweep", run_sweep, "search settings of a fine-tune on validation rows")
    search.add_argument("task", metavar="TASK", help="as for finetune")
    search.add_argument("--data", required=True, help="as for finetune")
    search.add_argument("--space", required=True, metavar="YAML",
                        help="settings and their choices or ranges")  # fmt: skip
    search.add_argument("--method", choices=("tpe", "random", "grid"), default="tpe")
    search.add_argument("--trials", type=int, help="default: the grid's points, or 12")
    search.add_argument("--budget", type=int, default=0, help="training steps in all; 0: any")
    search.add_argument("--prune", choices=("median", "hyperband", "none"), default="median")
    search.add_argument("--jobs", type=int, default=1, help="trials side by side, one thread each")
    search.add_argument("--scheduler", default="", help="a Dask cluster, such as tcp://host:8786")
    search.add_argument("--storage", help="an Optuna storage; default: SQLite in the folder")
    search.add_argument("--base", default="embedded", help="embedded, a folder or a Hub id")
    search.add_argument("--profile", choices=PROFILES, default="cpu")
    search.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    search.add_argument("--out", metavar="DIR", help="default: under runs/")
    search.add_argument("--resume", action="store_true", help="go on with an interrupted search")
    search.add_argument("--seed", type=int, default=0)
    pair = command("compare", run_compare, "test runs against each other on the same test rows")
    pair.add_argument("run", metavar="RUN", nargs="+", help="two or more run folders")
    pair.add_argument("--metric", default="auto", help="default: the task's own")
    line = command("lineage", run_lineage, "name the runs a run stands on, each verified")
    line.add_argument("run", metavar="RUN", help="the run folder")
    learn = command("dpo", run_dpo, "learn preferences by direct preference optimisation")
    learn.add_argument("--data", required=True, help="pairs: prompt, chosen, rejected")
    learn.add_argument("--base", default="embedded", help="embedded, a run's model/ or a Hub id")
    learn.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    learn.add_argument("--out", metavar="DIR", help="the run folder (default: under runs/)")
    learn.add_argument("--seed", type=int, default=0)
    small = command("shrink", run_shrink, "write an int8 copy of a run")
    small.add_argument("run", metavar="RUN", help="the run folder")
    small.add_argument("--kind", choices=("dynamic", "weights"), default="dynamic")
    small.add_argument("--out", required=True, metavar="DIR")


def run_sweep(args: argparse.Namespace) -> int:
    """Search, then print the trials and the best one's test figures."""
    from course_lib import files
    from course_lib.finetune.search.sweep import sweep

    options = {"trials": args.trials} if args.trials else {}
    found = sweep(
        args.task, args.data, files.read_yaml(args.space), method=args.method, budget=args.budget,
        prune=args.prune, jobs=args.jobs, scheduler=args.scheduler, storage=args.storage,
        out=args.out, resume=args.resume, base=args.base, profile=args.profile,
        settings=parse_settings(args.set), seed=args.seed, say=say, **options,
    )  # fmt: skip
    if args.json:
        best = dict(found.best.settings) if found.best else None
        show_json({"best": best, "test": found.test})
        return 0
    print(found.markdown())
    show_table({"test": found.test or {}})
    return 0


def run_compare(args: argparse.Namespace) -> int:
    """Print one sentence for each pair of runs."""
    from dataclasses import asdict

    from course_lib.errors import UsageError
    from course_lib.finetune.compare import compare_all

    runs = {Path(run).name: run for run in args.run}
    if len(runs) < 2:
        raise UsageError("two or more runs of different names are needed", got=" ".join(args.run))
    found = compare_all(runs, metric=args.metric)
    if args.json:
        show_json([asdict(one) for one in found])
    else:
        print("\n".join(one.sentence() for one in found))
    return 0


def run_lineage(args: argparse.Namespace) -> int:
    """Print one line for each run that a run stands on; 1 when one could not be verified."""
    from course_lib.finetune.lineage import lineage

    found = lineage(args.run)
    if args.json:
        show_json(found)
    else:
        for one in found:
            state = "verified" if one["verified"] else "not found, so not verified"
            what = (
                f"{one['task']} on {one['data']}  {state}" if one.get("task") else "the first base"
            )
            print(f"{one['name']}  {what}")
    return 0 if all(one["verified"] for one in found if one.get("task")) else 1


def run_dpo(args: argparse.Namespace) -> int:
    """Learn preferences; print the win rate on held-out pairs."""
    from course_lib.finetune.feedback.dpo import dpo

    run = dpo(args.data, base=args.base, out=args.out, settings=parse_settings(args.set),
              seed=args.seed, say=say)  # fmt: skip
    if args.json:
        show_json(run)
    else:
        metrics = run["metrics"]
        show_table({"before": metrics["before"], "after": metrics["after"],
                    **metrics.get("baselines", {})})  # fmt: skip
    return 0


def run_shrink(args: argparse.Namespace) -> int:
    """Write an int8 copy of a run; print both sizes."""
    from course_lib.finetune.deploy import footprint, shrink

    shrink.shrink_run(args.run, args.out, kind=args.kind)
    sizes = {name: footprint.size_on_disk(run) for name, run in
             (("float", args.run), ("int8", args.out))}  # fmt: skip
    if args.json:
        show_json(sizes)
    else:
        print(", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items()))
    return 0
