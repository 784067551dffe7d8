"""Every technique of the course once more: what for, where taught, and what was measured.

Figures come from the kept runs of ``notebooks/experiments``, from the base's own record, and from
the learner's run folders; none is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import CourseError
from course_lib.finetune import experiment

FINE, SCRATCH, COUNTS = "fine-tuned", "from scratch", "tfidf_logreg"
USUAL = ("accuracy", "f1", "perplexity", "bleu")


@dataclass(frozen=True, slots=True)
class Technique:
    """A technique: lesson, name, what it is for, and the two arms of an experiment that show it.

    Attributes:
        shown: experiment, arm and the arm it is compared with; () where no kept experiment does.
        own: patterns of the learner's run folders that show it, one or two; () where none does.
    """

    lesson: str
    name: str
    use: str
    shown: tuple[str, str, str] | tuple[()] = ()
    own: tuple[str, ...] = ()


TECHNIQUES = (
    Technique("01", "pre-training", "learn a language from text nobody labelled",
              ("tickets", FINE, SCRATCH)),
    Technique("01", "fine-tuning", "teach a trained base a task with few labelled rows",
              ("clinc150", FINE, SCRATCH)),
    Technique("01", "prompting", "ask without training; with examples, few-shot"),
    Technique("01", "words of a prompt around a fine-tune", "help the head find the topic",
              ("prompt_and_tune", "fine-tuned with a prompt", "fine-tuned without")),
    Technique("01", "hosted fine-tuning", "rent a large model; chat files, paid by the token"),
    Technique("02", "cleaning", "repair text, drop copies, take personal data out",
              own=("02-clean-*", "02-raw-*")),
    Technique("02", "annotation and kappa", "rules two people can follow, checked"),
    Technique("02", "group split", "keep what belongs together on one side of the cut"),
    Technique("02", "balancing", "weigh rare classes; sampling, class weights, SMOTE"),
    Technique("02", "augmentation", "add changed copies where measuring shows a gain"),
    Technique("02", "encoding", "ids, padding, masks, chat templates that fit the base"),
    Technique("03", "word counting as a baseline", "know what is cheap to have",
              ("tickets", COUNTS, FINE), ("03-intents-*",)),
    Technique("03", "classification head", "one label out of a fixed list",
              ("customer_reviews", FINE, SCRATCH)),
    Technique("03", "frozen base", "train the head alone", ("tickets", "frozen base", FINE)),
    Technique("04", "domain adaptation", "read a field's plain text; watch what is forgotten",
              ("handbook", FINE, SCRATCH), ("04-handbook-*", "04-mixed-*")),
    Technique("04", "sampling", "temperature, top-k, top-p: choose among the probabilities"),
    Technique("05", "written answers", "loss on the answer alone",
              ("handbook_sentences", "fine-tuned, generating", "fine-tuned, span head"),
              ("05-sentence-generate-*", "05-sentence-span-*")),
    Technique("05", "span head", "point at the answer in the passage",
              ("xquad_en", "fine-tuned, span head", "from scratch, span head"),
              ("05-span-*",)),
    Technique("05", "search, then read", "find the sentence first"),
    Technique("06", "token classification", "tag every word: names, dates, products",
              own=("06-entities-*",)),
    Technique("06", "writing tasks", "subject lines, translation, dialogue with one recipe",
              own=("06-phrases-*",)),
    Technique("07", "learning curve", "decide whether more labels pay"),
    Technique("07", "sweep and search", "settings by factors, on validation rows"),
    Technique("07", "early stopping", "keep the best epoch"),
    Technique("07", "staged fine-tuning", "read the field first, then learn the task",
              ("staged", "handbook, then task", "task alone")),
    Technique("07", "LoRA", "train thin matrices beside frozen ones; saves memory on large bases",
              ("ways", "LoRA, rank 8", "full")),
    Technique("07", "cached features", "run frozen layers once",
              ("ways", "upper half, lower frozen", "full")),
    Technique("07", "ensembles", "average models that err on different rows"),
    Technique("07", "counting operations", "forecast time and memory before paying"),
    Technique("08", "intervals and paired tests", "tell a difference from luck"),
    Technique("08", "slices and counterfactuals", "find who is served worse"),
    Technique("08", "calibration and abstention", "confidence one can act on"),
    Technique("08", "registry and rollback", "a way back that was rehearsed"),
    Technique("09", "instruction tuning", "answer instead of continue", own=("09-writer-*",)),
    Technique("09", "DPO", "learn from which of two replies people prefer"),
    Technique("09", "human review", "send what is unsure to people"),
    Technique("09", "quantisation", "smaller numbers, smaller files"),
    Technique("09", "drift monitoring", "notice that the mail has changed"),
)  # fmt: skip


def measured(shown: tuple[str, str, str] | tuple[()]) -> str:
    """Say what the kept runs of an experiment show about one arm beside another.

    Of several sizes of the training set the largest that has several seeds for both is told, else
    the largest.

    Args:
        shown: experiment, arm, and the arm beside it.

    Returns:
        A phrase with means and intervals; "" where nothing is kept.
    """
    if not shown:
        return ""
    name, arm, other = shown
    try:
        plan, cells = experiment.read_definition(name), experiment.table(name)
    except CourseError:
        return ""
    by = {(c.arm, c.size): c for c in cells}
    sizes = [s for s in dict.fromkeys(c.size for c in cells) if {(arm, s), (other, s)} <= by.keys()]
    if not sizes:
        return f"not run here yet: `course experiment {name}`"
    several = [s for s in sizes if len(by[arm, s].values) > 1 and len(by[other, s].values) > 1]
    size = (several or sizes)[-1]
    one, two = by[arm, size], by[other, size]
    factor = 1 if plan["metric"] == "perplexity" else 100
    metric = "F1" if plan["metric"] == "f1" else plan["metric"].replace("_", " ")
    unit = metric + ("" if factor == 1 else " in %")
    return (f"{plan['data'].replace('_', ' ')}, {size} rows, {unit}: {_told(one, factor)}, "
            f"{_plain(other)} {_told(two, factor)}")  # fmt: skip


def _told(cell: experiment.Cell, factor: int) -> str:
    return f"{factor * cell.mean:.1f} [{factor * cell.low:.1f}, {factor * cell.high:.1f}]"


def _plain(arm: str) -> str:
    return "word counting" if arm == COUNTS else arm


def markdown(runs: Path | str, techniques: Sequence[Technique] = TECHNIQUES) -> str:
    """Give all techniques as one Markdown table.

    Args:
        runs: the learner's run folders. techniques: the rows.
    """
    head = ("lesson", "technique", "what for", "measured, several seeds", "your own runs")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for t in techniques:
        cells = (t.lesson, t.name, t.use, measured(t.shown) or "·", _own(runs, t.own) or "·")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _own(runs: Path | str, patterns: Sequence[str]) -> str:
    """Say what the newest run of each pattern reached, beside the baselines of a single one."""
    told = []
    for pattern in patterns:
        fitting = [row for row in own_runs(runs) if Path(row[0]).match(pattern)]
        if fitting:
            newest = max(fitting, key=lambda row: (Path(runs) / row[0]).stat().st_mtime)
            rival = f", {newest[3]}" if newest[3] and len(patterns) == 1 else ""
            told.append(f"{newest[0]}: {newest[1].replace('_', ' ')} {newest[2]:.3f}{rival}")
    return "; ".join(told)


def own_runs(runs: Path | str) -> list[tuple[str, str, float, str]]:
    """Give the learner's finished runs: ``(folder, metric, value, best baseline or "")``.

    Folders that are no finished run are passed over; the lesson's number comes first in a name.
    """
    found = []
    for path in sorted(Path(runs).glob("[0-9][0-9]-*/run.json")):
        try:
            run = files.read_json(path)
            metrics, after = run["metrics"], run["metrics"]["after"]
            tags = run["task"] == "token-classification"  # its accuracy counts words, not names
            name = "f1" if tags else next(k for k in USUAL if k in after)
            found.append((path.parent.name, name, float(after[name]), _best(metrics, name)))
        except (CourseError, KeyError, TypeError, ValueError, StopIteration):
            continue
    return found


def _best(metrics: Mapping[str, Any], name: str) -> str:
    rivals = {k: m[name] for k, m in (metrics.get("baselines") or {}).items() if name in m}
    if not rivals:
        return ""
    best = max(rivals, key=lambda k: float(rivals[k]))
    return f"{_plain(best)} {rivals[best]:.3f}"
