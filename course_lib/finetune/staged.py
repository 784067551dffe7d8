"""Fine-tuning in stages: first the domain, then the task, each on the model of the one before.

staged([("language-modeling", "shop_handbook"), ("classification", "support_tickets")], "runs/s")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune import lineage, settings, sources
from course_lib.finetune.records import TASKS


@dataclass(frozen=True)
class Stage:
    """One fine-tune of several: what ``recipe.finetune`` takes as task, data, settings, head."""

    task: str
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    head: str = "auto"


def staged(
    stages: Sequence[Stage | tuple[Any, ...]],
    out: Path | str,
    *,
    base: str = "embedded",
    profile: str = "cpu",
    seed: int = 0,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    on_step: Callable[[Mapping[str, float]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Fine-tune in stages, each on the model of the one before.

    The first is mostly language modeling on texts of the domain, which need no labels
    (domain-adaptive pre-training, Gururangan et al. 2020), the last the task.

    Args:
        stages: ``Stage`` or tuples of its fields, such as ``(task, data, settings)``.
        out: the folder of the run folders ``1-TASK-DATA``, ``2-TASK-DATA``, ...
        base: what the first stage starts from.
        profile, seed, say, on_step: of every stage; see ``recipe.finetune``.
        resume: keep finished stages, and go on in an unfinished one from its checkpoint.

    Returns:
        Each stage's ``run.json``; all but the first name the ones before in ``parents``.

    Raises:
        UsageError: for no stage, or with ``resume`` a finished stage that is another one.
        CourseError: as ``recipe.finetune``; wrong names are found before anything is trained.
    """
    from course_lib.finetune.recipe import finetune

    planned = [s if isinstance(s, Stage) else Stage(*s) for s in stages]
    if not planned:
        raise UsageError("there is no stage")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "stages do not run under torchrun",
            next_step="run them one by one, each with --base RUN/model",
        )
    wanted = [_checked(s, profile, seed) for s in planned]
    done: list[dict[str, Any]] = []
    for number, (stage, want) in enumerate(zip(planned, wanted, strict=True), 1):
        folder = Path(out) / f"{number}-{stage.task}-{Path(stage.data).stem}"
        say(f"stage {number} of {len(planned)}: {stage.task} on {stage.data}")
        if resume and (folder / "run.json").is_file():
            done.append(_kept(folder, base, want))
        else:
            run = finetune(
                stage.task, stage.data, base=base, profile=profile, settings=stage.settings,
                out=folder, resume=resume, seed=seed, head=stage.head, say=say, on_step=on_step,
            )  # fmt: skip
            done.append(run)
        base = str(folder / "model")
    return done


def _checked(stage: Stage, profile: str, seed: int) -> dict[str, Any]:
    """Give what the run.json of a finished stage must say, or refuse the stage."""
    if stage.task not in TASKS:
        raise UnknownNameError("task", stage.task, TASKS)
    kind = f"{stage.task}-span" if stage.head == "span" else stage.task
    if kind.endswith("-span") and stage.task != "question-answering":
        raise UsageError(f"the head 'span' does not go with {stage.task}")
    _, _, resolved = settings.resolve(kind, profile, stage.settings, seed, 0)
    given = _given(resolved)
    digest = sources.find(stage.data).sha256
    return {"head": kind, "data": digest, "seed": seed, "settings": given}


def _given(resolved: Mapping[str, Any]) -> dict[str, Any]:
    return {n: s["value"] for n, s in resolved.items() if s["reason"] == "given" and n != "seed"}


def _kept(folder: Path, base: str, want: Mapping[str, Any]) -> dict[str, Any]:
    """Give the run.json of a finished stage that is the one wanted, after verifying it."""
    from course_lib.finetune.model import base_path, base_sha256

    lineage.lineage(folder)
    run = lineage.run_facts(folder)
    found = {
        "head": run["head"],
        "data": run["data"]["sha256"],
        "seed": run["seed"],
        "settings": _given(run["settings"]),
        "base": run["base"]["sha256"],
    }
    expected = {**want, "base": base_sha256(base_path(base))}
    wrong = [n for n in expected if found[n] != expected[n]]
    if wrong:
        raise UsageError(
            "the finished stage in this folder is another one",
            where=str(folder),
            got=", ".join(f"{n} {found[n]}" for n in wrong),
            expected=", ".join(f"{n} {expected[n]}" for n in wrong),
            next_step="choose another folder, or do without resume to run it again",
        )
    return run
