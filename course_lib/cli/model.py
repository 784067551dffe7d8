"""The practitioner's commands: pretrain, finetune, evaluate, predict, experiment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from course_lib.cli.arguments import parse_settings, texts_to_predict
from course_lib.cli.show import PROFILES, Command, number, say, show_json, show_table

TASK_NAMES = (
    "classification, language-modeling, question-answering, completion or token-classification"
)


def add(command: Command, argv: Sequence[str]) -> None:
    """Add this module's commands; ``pretrain`` loads its settings only when called."""
    pretrain = command(
        "pretrain", run_pretrain, "pre-train a base model on a folder of text or a Hub data set"
    )
    if "pretrain" in argv[:2]:
        _pretrain_options(pretrain)
    _run_commands(command)
    compare = command(
        "experiment", run_experiment, "run what is missing of a comparison over seeds"
    )
    compare.add_argument("name", metavar="NAME", help="as in notebooks/experiments/NAME.yaml")
    compare.add_argument("--data", help="your copy of a data set that is not shipped")
    compare.add_argument("--base", default="embedded", help="embedded, a model folder or a Hub id")
    compare.add_argument("--jobs", type=int, default=1, metavar="N",
                         help="runs side by side, one thread each")  # fmt: skip


def _run_commands(command: Command) -> None:
    """Add finetune, evaluate and predict."""
    tune = command("finetune", run_finetune, "fine-tune a base model on a data set")
    tune.add_argument("task", metavar="TASK", help=TASK_NAMES)
    tune.add_argument(
        "--data", required=True, help="a file, a folder, a course data set's name or a Hub id"
    )
    tune.add_argument("--base", default="embedded", help="embedded, a model folder or a Hub id")
    tune.add_argument("--profile", choices=PROFILES, default="cpu")
    tune.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="a training setting; may be repeated")  # fmt: skip
    tune.add_argument("--out", metavar="DIR", help="the run folder (default: under runs/)")
    tune.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    tune.add_argument("--text-column", metavar="NAME", help="default: guessed, and said")
    tune.add_argument("--label-column", metavar="NAME",
                      help="of the label or target; default: guessed, and said")  # fmt: skip
    tune.add_argument("--head", choices=("auto", "generate", "span"), default="auto",
                      help="question answering: write the answer, or point at it")  # fmt: skip
    tune.add_argument("--from-scratch", action="store_true",
                      help="random weights in the base's architecture, to compare")  # fmt: skip
    tune.add_argument("--seed", type=int, default=0)
    measure = command("evaluate", run_evaluate, "measure a fine-tuned model on a data set")
    measure.add_argument("run", metavar="RUN", help="the run folder")
    measure.add_argument("--data", required=True, help="as for finetune")
    predict = command("predict", run_predict, "predict with a fine-tuned model")
    predict.add_argument("run", metavar="RUN", help="the run folder")
    predict.add_argument("text", metavar="TEXT", nargs="*", help="default: standard input")
    predict.add_argument("--file", metavar="FILE", help="one text a line, or .jsonl with 'text'")


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    """Add one option for each field of ``PretrainConfig``."""
    import dataclasses

    from course_lib.finetune.pretraining.decoder import PretrainConfig

    kinds: dict[str, Any] = {"int": int, "float": float, "str": str}
    for field in dataclasses.fields(PretrainConfig):
        option = "--" + field.name.replace("_", "-")
        kind = field.type if isinstance(field.type, str) else field.type.__name__
        if field.default is dataclasses.MISSING:
            parser.add_argument(option, required=True, metavar="PATH")
        elif kind == "bool":
            parser.add_argument(option, action=argparse.BooleanOptionalAction,
                                default=field.default)  # fmt: skip
        else:
            parser.add_argument(option, type=kinds[kind], default=field.default,
                                metavar=kind.upper(), help="default: %(default)s")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


def run_pretrain(args: argparse.Namespace) -> int:
    """Pre-train a base model and print its validation figures."""
    from dataclasses import fields

    from course_lib.finetune.pretraining.decoder import PretrainConfig
    from course_lib.finetune.pretraining.pretrain import pretrain

    values = {f.name: getattr(args, f.name) for f in fields(PretrainConfig)}

    def report(row: dict[str, float]) -> None:
        if row["step"] % 50 == 0 or "val_loss" in row:
            say("  ".join(f"{k} {v:.6g}" for k, v in row.items()))

    final = pretrain(PretrainConfig(**values), resume=args.resume, say=say, on_step=report)
    if args.json:
        show_json(final)
    else:
        show_table({"validation": final})
    return 0


def run_finetune(args: argparse.Namespace) -> int:
    """Fine-tune a base model on a data set; print before, after and the baselines."""
    from course_lib.errors import UnknownNameError
    from course_lib.finetune.records import TASKS

    if args.task not in TASKS:
        raise UnknownNameError("task", args.task, TASKS)
    settings = parse_settings(args.set)
    from course_lib.finetune.recipe import finetune
    from course_lib.show.progress import bar

    run = finetune(
        args.task, args.data, base=args.base, profile=args.profile, settings=settings,
        out=args.out, resume=args.resume, text_column=args.text_column,
        label_column=args.label_column, seed=args.seed, head=args.head,
        from_scratch=args.from_scratch, say=say,
        **({"on_step": bar()} if os.environ.get("RANK", "0") == "0" else {}),  # torchrun's
    )  # fmt: skip
    if not run:
        return 0  # one of torchrun's other processes
    if args.json:
        show_json(run)
        return 0
    metrics = run["metrics"]
    show_table(
        {"before": metrics["before"], "after": metrics["after"], **metrics.get("baselines", {})}
    )
    if "out" in run or args.out:
        print(f"run folder: {run.get('out', args.out)}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Measure a finished run on a data set."""
    from course_lib.finetune.runs import evaluate_run

    found = evaluate_run(args.run, args.data)
    if args.json:
        show_json({"metrics": dict(found.metrics), "predictions": list(found.predictions)})
        return 0
    show_table({"measured": found.metrics})
    for name, value in found.metrics.items():
        if name.endswith("_interval"):
            print(f"{name} {number(value)}")
    return 0


def run_predict(args: argparse.Namespace) -> int:
    """Predict for texts from the arguments, a file or standard input."""
    texts = texts_to_predict(args.text, args.file)
    from course_lib.finetune.runs import predict_run

    rows = predict_run(args.run, texts)
    if args.json:
        show_json(rows)
        return 0
    for text, row in zip(texts, rows, strict=True):
        probabilities = row.get("probabilities") or {}
        sure = probabilities.get(row["prediction"]) if isinstance(probabilities, dict) else None
        share = f"{sure:.3f}\t" if sure is not None else ""
        print(f"{row['prediction']}\t{share}{text}")
    return 0


def run_experiment(args: argparse.Namespace) -> int:
    """Run what is missing of an experiment and print its table."""
    from course_lib.finetune import experiment

    cells = experiment.run_experiment(
        args.name, data=args.data, base=args.base, jobs=args.jobs, say=say
    )
    if args.json:
        show_json([vars(c) for c in cells])
        return 0
    metric = experiment.read_definition(args.name)["metric"]
    print(experiment.markdown(cells, percent=metric not in experiment.NO_SHARES))
    return 0
