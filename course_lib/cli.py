"""The command ``course``: arguments, printing and exit codes; the work is done elsewhere.

Results go to standard output, progress and errors to standard error. With
``--json`` the output is one JSON value. Exit codes: 0 done, 1 some inputs
failed, 2 wrong usage, 3 environment, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import __version__, arguments
from course_lib.errors import CourseError, Stopped, StorageError

PROFILES = ("quick", "cpu", "gpu")


def say(line: str) -> None:
    """Print a line of progress to standard error."""
    print(line, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """Print a result as JSON to standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def number(value: Any) -> str:
    """Give a metric as text: four decimals, an interval as ``[low, high]``."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(number(v) for v in value) + "]"
    return str(value)


def show_table(columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Print metrics as a table: one row a metric, one column a model."""
    names = sorted({k for c in columns.values() for k in c if not k.endswith("_interval")})
    if not names:
        return
    wide = max(map(len, names))
    widths = {c: max(len(c), 10) for c in columns}
    print(" " * wide + "".join(f"  {c:>{widths[c]}}" for c in columns))
    for name in names:
        cells = (number(v[name]) if name in v else "-" for v in columns.values())
        pairs = zip(cells, widths.values(), strict=True)
        print(f"{name:<{wide}}" + "".join(f"  {cell:>{w}}" for cell, w in pairs))


def run_doctor(args: argparse.Namespace) -> int:
    """Print what the machine has; 3 when something the course needs is missing."""
    from course_lib import doctor

    found = doctor.examine()
    if args.json:
        show_json(found.as_dict())
        return 3 if found.problems else 0
    gib = 2**30
    packages = ", ".join(f"{k} {v or 'missing'}" for k, v in found.packages.items())
    for name, value in (
        ("Python", found.python), ("system", found.system), ("packages", packages),
        ("device", f"{found.device or 'none'} {found.device_name}"), ("cores", found.cores),
        ("memory", f"{found.memory / gib:.1f} GiB, {found.memory_free / gib:.1f} free"),
        ("disk", f"{found.disk_free / gib:.1f} GiB free"),
        ("course", found.course or "not found"), ("base model", found.base or "missing"),
    ):  # fmt: skip
        print(f"{name:<11}{value}")
    for line in found.notes:
        print(f"note       {line}")
    for line in found.problems:
        print(f"PROBLEM    {line}")
    if not found.problems:
        print("ready")
    return 3 if found.problems else 0


def run_lab(args: argparse.Namespace) -> int:
    """Bring the working copy up to date and open it in JupyterLab."""
    import signal
    import webbrowser

    from course_lib import files, workspace

    root = files.course_root()
    work = Path(args.work or os.environ.get("COURSE_WORK") or root / "work")
    copied = workspace.copy_lessons(root / "notebooks", work.resolve())
    counts = ("new", "updated", "kept", "same", "kept_older")
    say("lessons: " + ", ".join(f"{len(getattr(copied, c))} {c}" for c in counts[:3]))
    for name in copied.kept_older:
        say(f"{name}: you changed it, so it stays; the newer version is notebooks/{name}")
    result: dict[str, Any] = {name: list(getattr(copied, name)) for name in counts}
    result["work"] = str(copied.folder)
    if args.copy_only:
        if args.json:
            show_json(result)
        return 0
    first = sorted(p.name for p in work.glob("*.ipynb"))[0]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends JupyterLab too
    lab = workspace.Lab(copied.folder, port=args.port, first=first)
    try:
        lab.wait_until_ready()
        if args.json:
            show_json(result | {"address": lab.address})
        else:
            print(f"Your lessons are at {lab.address}\nCtrl-C stops JupyterLab.")
        sys.stdout.flush()
        if not args.no_browser and workspace.has_browser():
            webbrowser.open(lab.address)
        return lab.wait()
    finally:
        lab.stop()


def run_pretrain(args: argparse.Namespace) -> int:
    """Pre-train a base model and print its validation figures."""
    from dataclasses import fields

    from course_lib.finetune.decoder import PretrainConfig
    from course_lib.finetune.pretrain import pretrain

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
    settings = arguments.parse_settings(args.set)
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


def run_experiment(args: argparse.Namespace) -> int:
    """Run what is missing of an experiment and print its table."""
    from course_lib.finetune import experiment

    cells = experiment.run_experiment(
        args.name, data=args.data, base=args.base, jobs=args.jobs, say=say
    )
    if args.json:
        show_json([vars(c) for c in cells])
        return 0
    print(experiment.markdown(cells))
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Print what is wrong with the question bank; 1 when anything is."""
    from course_lib.quiz import lint, schema

    if args.schema:
        show_json(schema.Quiz.model_json_schema())
        return 0
    bank = lint.load_bank()
    problems = lint.lint(bank, lint.lesson_sources())
    if args.json:
        show_json({"quizzes": sorted(bank), "problems": problems})
    else:
        count = sum(len(quiz.questions) for quiz in bank.values())
        print("\n".join([*problems, f"{len(bank)} quizzes, {count} questions, "
                         f"{len(problems)} problems"]))  # fmt: skip
    return 1 if problems else 0


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
    texts = arguments.texts_to_predict(args.text, args.file)
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


def run_build(args: argparse.Namespace) -> int:
    """Build lessons from their sources; 1 when one of them failed."""
    from course_lib.teach import regenerate

    built = regenerate.build(args.lesson, profile=args.profile, say=say)
    if args.json:
        show_json([{"lesson": b.lesson, "seconds": b.seconds, "error": b.error} for b in built])
    return 1 if any(b.error for b in built) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code. ``None`` takes the process's own arguments."""
    if argv is None:
        from course_lib.launch import restart_with_memory_settings

        restart_with_memory_settings()
        argv = sys.argv[1:]
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "doctor": run_doctor, "lab": run_lab, "pretrain": run_pretrain,
        "finetune": run_finetune, "evaluate": run_evaluate, "predict": run_predict,
        "experiment": run_experiment, "check": run_check, "build": run_build,
    }  # fmt: skip
    args = arguments.build_parser(argv, version=__version__, profiles=PROFILES).parse_args(argv)
    try:
        return commands[args.command](args)
    except CourseError as error:
        return fail(error, args)
    except KeyboardInterrupt:
        return fail(Stopped("stopped by Ctrl-C"), args)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        return fail(
            StorageError(f"could not write: {error.strerror}", where=str(error.filename or "")),
            args,
        )


def fail(error: CourseError, args: argparse.Namespace) -> int:
    """Print an error to standard error (and as JSON when asked); give its exit code."""
    say(f"course {args.command}: {error}")
    if args.json:
        show_json({"error": str(error), "kind": type(error).__name__, "exit": error.exit_code})
    return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
