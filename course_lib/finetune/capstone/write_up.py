"""What goes with a finished run: its model card, the data sheet of its rows, a one-page report.

What the run recorded is filled in. What only a person knows is asked for, and stays visibly
open until somebody answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import files, metrics
from course_lib.errors import UnknownNameError
from course_lib.finetune import baselines
from course_lib.finetune.compare import Comparison, predictions_of
from course_lib.finetune.lineage import run_facts

CARD_ASKS = {
    "purpose": "What is it for, and who uses it?",
    "not for": "What must it not be used for?",
    "people": "Who is affected by a wrong answer, and how do they reach a person?",
    "weak spots": "Where did you see it fail when you read its errors?",
    "licence": "Which licences of base, data and code does it stand on?",
    "contact": "Who answers questions about it, and when is it looked at again?",
}
SHEET_ASKS = {
    "why": "Why were these rows collected, and by whom?",
    "how": "How did they get here, and who gave the labels by which rules?",
    "allowed": "Under which terms may they be used and passed on?",
    "missing": "Who or what is not in them?",
}
OPEN = "**To be answered:** "
Asked = Mapping[str, str]


def open_questions(text: str) -> list[str]:
    """Give the questions of a card, data sheet or report that nobody has answered yet."""
    return [line.strip() for line in re.findall(re.escape(OPEN) + r"(.*)", text)]


def _answered(asks: Asked, words: Asked) -> list[str]:
    if unknown := sorted(set(words) - set(asks)):
        raise UnknownNameError("question", unknown[0], asks)
    return [
        f"**{name.capitalize()}.** {words.get(name, '').strip() or OPEN + question}\n"
        for name, question in asks.items()
    ]


def _figure(value: Mapping[str, Any], name: str) -> str:
    if name not in value:
        return "-"
    inside = value.get(f"{name}_interval")
    told = f" [{inside[0]:.3f}, {inside[1]:.3f}]" if inside else ""
    return f"{value[name]:.3f}{told}"


def results(run: Path | str) -> str:
    """Give a classification run's figures as a Markdown table, beside its baselines.

    Raises:
        ModelError: when the folder is not a finished run.
    """
    found = run_facts(run)["metrics"]
    asked = {"base, asked without training": found["before"]} if found["before"] else {}
    rows = {"**fine-tuned**": found["after"], **asked, **found["baselines"]}
    lines = ["| model | accuracy | macro F1 |", "|---|---|---|"]
    for name, m in rows.items():
        figures = (baselines.NAMES.get(name, name), _figure(m, "accuracy"), _figure(m, "f1_macro"))
        lines.append("| " + " | ".join(figures) + " |")
    return "\n".join(lines)


def by_label(run: Path | str) -> str:
    """Give precision, recall and test rows of each label as a Markdown table, worst first."""
    rows = predictions_of(run)
    labels = sorted({str(r["gold"]) for r in rows})
    report = metrics.classification_report(rows, labels)
    lines = ["| label | precision | recall | test rows |", "|---|---|---|---|"]
    for label in sorted(labels, key=lambda name: report[name]["recall"]):
        one, count = report[label], sum(r["gold"] == label for r in rows)
        lines.append(f"| {label} | {one['precision']:.2f} | {one['recall']:.2f} | {count} |")
    return "\n".join(lines)


def model_card(run: Path | str, words: Asked, *, against: Comparison | None = None) -> str:
    """Write a run's model card (Mitchell et al. 2019).

    Args:
        run: the folder of a finished classification run.
        words: answers to ``CARD_ASKS``, by name; what is left out stays open in the card.
        against: the paired comparison with the cheap baseline.

    Raises:
        UnknownNameError: for an answer to a question nobody asks.
        ModelError: when the folder is not a finished run.
    """
    facts = run_facts(run)
    base, data = facts["base"], facts["data"]
    rows = ", ".join(f"{n} {name}" for name, n in data["rows"].items())
    changed = [f"- `{name}` = {s['value']}: {s['reason']}" for name, s in facts["settings"].items()]
    paired = [f"Row by row against the cheap baseline: {against.sentence()}\n"] if against else []
    return "\n".join([
        f"# Model card: {Path(run).name}\n", *_answered(CARD_ASKS, words),
        "## Made from\n",
        f"- base `{base['name']}`, {base['parameters']:,} parameters, "
        f"{base['trainable']:,} of them trained",
        f"- data `{data['name']}`, SHA-256 `{data['sha256'][:16]}`, {rows}",
        f"- seed {facts['seed']}, {facts['steps']:,} steps, {facts['seconds']:.0f} s on "
        f"{facts['device']}; Python {facts['versions']['python']}, "
        f"torch {facts['versions']['torch']}\n",
        "## Measured on the test rows\n", results(run), "", *paired, by_label(run), "",
        "## Settings\n", *changed, "",
    ])  # fmt: skip


def data_sheet(name: str, checks: Sequence[tuple[str, str, str]], words: Asked) -> str:
    """Write a data sheet (Gebru et al. 2021): what a person knows, then what was counted.

    Args:
        name: of the data set.
        checks: ``(name, found, what to do)``, as ``text.audit`` gives them.
        words: answers to ``SHEET_ASKS``, by name.

    Raises:
        UnknownNameError: for an answer to a question nobody asks.
    """
    lines = ["| check | found | to do |", "|---|---|---|"]
    lines += [f"| {a} | {b} | {c or 'nothing'} |" for a, b, c in checks]
    return "\n".join([f"# Data sheet: {name}\n", *_answered(SHEET_ASKS, words), *lines, ""])


def one_page(run: Path | str, against: Comparison, *, question: str, decision: str) -> str:
    """Write the report of a run for somebody who has one minute.

    Args:
        run: the folder of a finished classification run.
        against: the paired comparison with the cheap baseline, the run first.
        question: what was to be found out. decision: what is done now; "" leaves it open.

    Raises:
        ModelError: when the folder is not a finished run.
    """
    facts = run_facts(run)
    wrong = sum(r["prediction"] != r["gold"] for r in predictions_of(run))
    total = facts["data"]["rows"]["test"]
    expected = facts.get("forecast") or {}
    planned = f" (forecast {expected['seconds']:.0f} s)" if expected.get("seconds") else ""
    return "\n".join([
        f"# Report: {Path(run).name}\n", f"**Question.** {question}\n",
        f"**Answer.** {verdict(against)}\n", results(run), "",
        f"**How sure.** {against.rows} test rows, {wrong} of {total} answers wrong. "
        f"{against.sentence()}\n",
        f"**Cost.** {facts['seconds']:.0f} s of training{planned}, "
        f"{facts['peak_memory_bytes'] / 2**30:.1f} GiB at the peak of the whole program.\n",
        f"**Decision.** {decision.strip() or OPEN + 'What is done now, and who decided it?'}\n",
    ])  # fmt: skip


def verdict(against: Comparison) -> str:
    """Say in a sentence whether a fine-tuned model earned its place beside the cheap baseline.

    One is called better only where the interval leaves out zero and the test says so too.
    """
    found = against.difference
    points = f"{100 * found.mean:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    if found.low > 0 and against.p < 0.05:
        return f"The fine-tuned model is better than the cheap baseline, by {points}."
    if found.high < 0 and against.p < 0.05:
        return f"The cheap baseline is better than the fine-tuned model; the gap is {points}."
    return (
        f"These test rows do not show which is better ({points}): "
        "the cheaper one is the natural choice until they do."
    )


def save(run: Path | str, **pages: str) -> list[Path]:
    """Write pages into a run folder, such as ``MODEL_CARD="# ..."`` as ``MODEL_CARD.md``."""
    written = []
    for name, text in pages.items():
        path = Path(run) / f"{name}.md"
        files.write_text(path, text)
        written.append(path)
    return written
