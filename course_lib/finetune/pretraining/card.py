"""The model card of a pre-trained base: written from what the run recorded, never by hand."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import DataError

CURVE_POINTS = 200
_CARD = """---
language: en
license: mit
library_name: transformers
pipeline_tag: text-generation
---

# {x0}

The small base model of *Fine-Tuning GPT, Hands-On*, pre-trained by the course's own
`course pretrain` so that no lesson depends on a download. It completes English text; it
knows little and says wrong things fluently. It is a model to learn with, not to ask.

**Architecture.** Llama-type decoder: {x1} layers, width {x2}, {x3}
attention heads, inner width {x4}, context {x5} tokens, tied embeddings,
{x6} parameters, stored as bfloat16. Tokenizer: byte-level BPE of
{x7} tokens with chat tokens and a chat template.

**Training.** {x8} tokens ({x9} passes over {x10}
tokens of text), {x11} rows of {x12} tokens a step; Muon at
{x13} for the matrices and AdamW at {x14} for the rest; warm-up, constant,
then a linear decay over the last {x15} tokens. Seed {x16}.
{x23}Hardware: {x17}; {x18} hours, shared with other work.

```
{x19}
```

**Measured** on the held-out 1% of the corpus' documents ({x20} tokens):

| model | loss (nats a token) | perplexity | bits per byte | next-token accuracy |
|---|---|---|---|---|
{x21}

The recorded curve is in `curve.jsonl`, the settings and figures in `pretrain.json`.

**Corpus**

{x22}

Known flaws: a few news sentences miss a word; older books contain period language and
attitudes, which the model repeats; the held-out text can share a book with the training text.
No text of a lesson's data set was in the corpus.

**Licence.** MIT for the weights; the sources keep their own licences.
"""


def processor_name() -> str:
    """Give the processor's name and the number of cores the process may use."""
    import os

    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.processor() or platform.machine()}, {cores} cores"


def read_history(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Join the histories of a run and its branches; a later file overrules the steps it holds.

    Args:
        paths: ``history.jsonl`` files, the oldest run first.

    Raises:
        DataError: when one of them is missing or damaged.
    """
    rows: dict[int, dict[str, Any]] = {}
    for path in paths:
        if not path.is_file():
            raise DataError("no such history", where=str(path))
        found = [row for _, row in files.read_jsonl(path)]
        first = int(found[0]["step"]) if found else 0
        rows = {step: row for step, row in rows.items() if step < first}
        rows |= {int(row["step"]): row for row in found}
    return [rows[step] for step in sorted(rows)]


def thin(history: Sequence[Mapping[str, Any]], points: int = CURVE_POINTS) -> list[dict[str, Any]]:
    """Keep about ``points`` rows of a history, and every row with a validation figure."""
    every = max(1, len(history) // points)
    return [
        {k: round(float(v), 5) if isinstance(v, float) else v for k, v in row.items()}
        for i, row in enumerate(history)
        if i % every == 0 or "val_loss" in row or i == len(history) - 1
    ]


def write_card(
    folder: Path,
    record: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    *,
    name: str,
    sources: str,
    command: str,
    baselines: Mapping[str, Mapping[str, float]],
) -> None:
    """Write ``README.md``, ``pretrain.json`` and ``curve.jsonl`` into a base model's folder.

    Args:
        folder: the model's folder.
        record: what ``pretrain`` wrote to ``pretrain.json``.
        history: rows of the whole run, branches joined.
        name: the model's name.
        sources: the corpus' sources and licences, as Markdown.
        command: the exact command of the run.
        baselines: figures of n-gram models on the same text, by name.
    """
    curve = thin(history)
    files.write_text(folder / "curve.jsonl", "".join(json.dumps(r) + "\n" for r in curve))
    settings = {
        k: v for k, v in record["settings"].items() if k not in ("data", "out", "branch_from")
    }
    kept = {
        **record,
        "settings": settings,
        "name": name,
        "command": command,
        "corpus": {k: v for k, v in record["corpus"].items() if k != "data"},
        "baselines": dict(baselines),
    }
    files.write_json(folder / "pretrain.json", kept)
    files.write_text(folder / "README.md", _card(kept, sources, history))


def _reading(settings: Mapping[str, Any]) -> str:
    """Say which share of the rows were reading tasks."""
    share = float(settings.get("reading_share", 0.0))
    if not share:
        return ""
    return (
        f"From token {settings['reading_after']:,} on, {share:.0%} of the rows were reading tasks "
        "made from\nthe corpus: a sentence to be quoted, a span to be found, a question without "
        "an answer.\n"
    )


def _card(kept: Mapping[str, Any], sources: str, history: Sequence[Mapping[str, Any]]) -> str:
    s, corpus, final = kept["settings"], kept["corpus"], kept["validation"]
    keys = ("loss", "perplexity", "bits_per_byte", "accuracy")
    rows = {kept["name"]: final, **kept["baselines"]}
    table = "\n".join(
        f"| {name} | " + " | ".join(f"{m[k]:.3f}" if k in m else "" for k in keys) + " |"
        for name, m in rows.items()
    )
    passes = kept["tokens"] / corpus["train"]["tokens"]
    hours = history[-1]["seconds"] / 3600 if history else 0.0
    values = {
        "x0": str(kept["name"]),
        "x1": str(s["layers"]),
        "x2": str(s["width"]),
        "x3": str(s["heads"]),
        "x4": str(s["inner"]),
        "x5": str(s["context"]),
        "x6": format(kept["parameters"], ","),
        "x7": format(s["vocab_size"], ","),
        "x8": format(kept["tokens"], ","),
        "x9": format(passes, ".2f"),
        "x10": format(corpus["train"]["tokens"], ","),
        "x11": str(s["rows_per_step"]),
        "x12": str(s["context"]),
        "x13": str(s["lr_matrix"]),
        "x14": str(s["lr_rest"]),
        "x15": format(s["decay_tokens"], ","),
        "x16": str(s["seed"]),
        "x17": str(kept.get("hardware", "not recorded")),
        "x18": format(hours, ".1f"),
        "x19": str(kept["command"]),
        "x20": format(corpus["val"]["tokens"], ","),
        "x21": str(table),
        "x22": str(sources),
        "x23": _reading(s),
    }
    return _CARD.format(**values)
