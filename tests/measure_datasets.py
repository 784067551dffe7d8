"""Measure the course's data sets: the table of datasets/README.md.

    python tests/measure_datasets.py            # print the table
    python tests/measure_datasets.py --write    # and put it into datasets/README.md

A test holds the page against these figures.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from text_quality import (
    distinct_trigram_share,
    nearest_jaccard,
    reading_grade,
    tfidf_accuracy,
    unknown_word_share,
)

ROOT = Path(__file__).resolve().parent.parent / "datasets"
SPLITS = ("train", "validation", "test")
TEXT = {
    "annotations": "text",
    "assessment_hidden": "text",
    "phrases_en_fr": "en",
    "preferences": "ticket",
    "product_reviews": "text",
    "stream": "text",
    "summaries": "thread",
    "support_tickets": "text",
    "support_tickets_raw": "text",
}
FILES = {"stream": ["stream"], "support_tickets_raw": ["raw"], "annotations": ["tickets"],
         "assessment_hidden": ["tickets"]}  # fmt: skip
LABELLED = (("support_tickets", "intent"), ("support_tickets", "urgency"),
            ("product_reviews", "label"))  # fmt: skip


def manifest() -> dict[str, Any]:
    sets: dict[str, Any] = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))["sets"]
    return sets


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]


def squad(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [p for article in found for p in article["paragraphs"]]


def conll(path: Path) -> list[list[tuple[str, str]]]:
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    return [[(w, t) for w, t in map(str.split, b.splitlines())] for b in blocks]


def texts(name: str) -> dict[str, list[str]]:
    """Give the texts of a set by file stem: messages, units, questions, threads, phrases."""
    folder = ROOT / name
    if name == "shop_handbook":
        return {s: (folder / f"{s}.txt").read_text("utf-8").strip().split("\n\n") for s in SPLITS}
    if name == "handbook_qa":
        return {s: [q["question"] for p in squad(folder / f"{s}.json") for q in p["qas"]]
                for s in SPLITS}  # fmt: skip
    if name == "entities":
        return {s: [" ".join(w for w, _ in row) for row in conll(folder / f"{s}.conll")]
                for s in SPLITS}  # fmt: skip
    field = TEXT[name]
    return {s: [row[field] for row in jsonl(folder / f"{s}.jsonl")]
            for s in FILES.get(name, SPLITS)}  # fmt: skip


def shop_words() -> frozenset[str]:
    """Give the shop's own words."""
    return frozenset(re.findall(r"[a-z]+", (ROOT / "SHOP.md").read_text("utf-8").lower()))


def measure(name: str, names: frozenset[str]) -> dict[str, Any]:
    """Measure one set's texts."""
    parts = texts(name)
    every = [t for part in parts.values() for t in part]
    lengths = [len(t.split()) for t in every]
    nearest = nearest_jaccard(every)
    return {
        "rows": " / ".join(f"{len(p):,}" for p in parts.values()),
        "words": " / ".join(f"{np.percentile(lengths, q):.0f}" for q in (5, 50, 95)),
        "distinct": distinct_trigram_share(every),
        "far": float((nearest < 0.6).mean()),
        "nearest": float(nearest.max()),
        "unknown": unknown_word_share(every, names),
        "grade": reading_grade(every),
    }


def kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Cohen's kappa."""
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(first, second))


def labelled() -> list[str]:
    """Give one line for each figure on labels, answers and annotators."""
    lines = []
    for name, label in LABELLED:
        parts = {s: jsonl(ROOT / name / f"{s}.jsonl") for s in SPLITS}
        share = [
            c / len(parts["train"]) for c in Counter(r[label] for r in parts["train"]).values()
        ]
        figures = [
            tfidf_accuracy(
                [r["text"] for r in parts["train"]], [r[label] for r in parts["train"]],
                [r["text"] for r in parts[s]], [r[label] for r in parts[s]],
            )
            for s in SPLITS[1:]
        ]  # fmt: skip
        lines.append(
            f"| {name}, `{label}` | {len(share)} labels, {min(share):.0%} to {max(share):.0%} "
            f"of the training rows | TF-IDF + logistic regression: {figures[0]:.1%} on validation, "
            f"{figures[1]:.1%} on test |"
        )
    return lines


def other_figures() -> list[str]:
    """Give the lines of the sets whose labels are not classes."""
    from course_lib.finetune.baselines import question_baselines
    from course_lib.finetune.data import load

    tickets = jsonl(ROOT / "support_tickets" / "train.jsonl")
    stream = jsonl(ROOT / "stream" / "stream.jsonl")
    before, after = (
        tfidf_accuracy([r["text"] for r in tickets], [r["intent"] for r in tickets],
                       [r["text"] for r in part], [r["intent"] for r in part])
        for part in (stream[:500], stream[500:])
    )  # fmt: skip
    qa = load("question-answering", "handbook_qa")
    found = question_baselines([*qa.validation, *qa.test])
    none = [not q.answers for part in (qa.train, qa.validation, qa.test) for q in part]
    rounds = {n: [jsonl(ROOT / "annotations" / f"round{n}_{w}.jsonl") for w in "ab"]
              for n in (1, 2)}  # fmt: skip
    values = {(n, k): kappa([r[k] for r in a], [r[k] for r in b])
              for n, (a, b) in rounds.items() for k in ("intent", "urgency")}  # fmt: skip
    plain = [jsonl(ROOT / "annotations" / f"round2_plain_{w}.jsonl") for w in "ab"]
    bare = kappa(*([r["urgency"] for r in part] for part in plain))
    kinds = Counter(t[2:] for s in SPLITS for row in conll(ROOT / "entities" / f"{s}.conll")
                    for _, t in row if t.startswith("B-"))  # fmt: skip
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    baselines = ", ".join(f"{name.replace('_', ' ')} F1 {m['f1']:.1%}" for name, m in found.items())
    return [
        f"| stream, `intent` | 500 rows before the drift, 500 after | TF-IDF of support_tickets: "
        f"{before:.1%} before, {after:.1%} after |",
        f"| handbook_qa | {np.mean(none):.1%} without an answer | {baselines} |",
        f"| entities | {counts} | |",
        f"| annotations | two annotators, two rounds | Cohen's kappa, first round: intent "
        f"{values[1, 'intent']:.2f}, urgency {values[1, 'urgency']:.2f}; second: intent "
        f"{values[2, 'intent']:.2f}, urgency {values[2, 'urgency']:.2f} (asked to keep to opposite "
        f"manners); second, without manners: urgency {bare:.2f} |",
    ]


def page() -> str:
    """Give the measured tables as Markdown."""
    names = shop_words()
    lines = [
        "| set | rows | words a text, 5 / 50 / 95% | distinct trigrams | nearest text below 0.6 "
        "| nearest, highest | words not in a dictionary | reading grade |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(manifest()):
        m = measure(name, names)
        lines.append(
            f"| [{name}]({name}/README.md) | {m['rows']} | {m['words']} | {m['distinct']:.0%} "
            f"| {m['far']:.1%} | {m['nearest']:.2f} | {m['unknown']:.1%} | {m['grade']:.1f} |"
        )
    lines += ["", "| labels | balance | cheap baseline or agreement |", "|---|---|---|"]
    return "\n".join([*lines, *labelled(), *other_figures()])


def main() -> None:
    """Print the tables; with ``--write`` put them into the page."""
    found = page()
    print(found)
    if "--write" in sys.argv:
        path = ROOT / "README.md"
        head, _, rest = path.read_text("utf-8").partition("<!-- measured -->")
        _, _, tail = rest.partition("<!-- end -->")
        path.write_text(f"{head}<!-- measured -->\n{found}\n<!-- end -->{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
