"""How well a base reads before any fine-tuning: reading tasks from held-out text, by kind.

    python tests/benchmarks/reading.py CORPUS [BASE] --tasks 120

Makes tasks of each kind from the corpus' validation documents, lets the base answer them
greedily, and prints how often the answer is exact and how often it stands in the passage.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable

import torch

from course_lib.finetune.model import load_base
from course_lib.finetune.pretraining import corpus, reading


def make(documents: list[str], count: int) -> dict[str, list[reading.Task]]:
    """Make up to ``count`` tasks of each kind."""
    rng = random.Random(5)
    found: dict[str, list[reading.Task]] = {
        kind: [] for kind in ("recurring", "cloze", "quote", "unanswerable")
    }
    for document in documents:
        if reading.dialogue(document):
            continue
        runs = list(reading.passages(document, rng))
        for place, run in enumerate(runs):
            later = [s for other in runs[place + 1 : place + 4] for s in other]
            makers: dict[str, Callable[[], reading.Task | None]] = {
                "recurring": lambda run=run, later=later: next(  # type: ignore[misc]
                    filter(None, (reading.recurring(run, s, rng) for s in later[:6])), None
                ),
                "cloze": lambda run=run: reading.cloze(run, rng),  # type: ignore[misc]
                "quote": lambda run=run: reading.quote(run, rng),  # type: ignore[misc]
                "unanswerable": lambda run=run, later=later: (  # type: ignore[misc]
                    reading.unanswerable(run, later[0], rng) if later else None
                ),
            }
            for kind, maker in makers.items():
                task = maker() if len(found[kind]) < count else None
                if task:
                    found[kind].append(task)
    return found


@torch.no_grad()
def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("base", nargs="?", default="embedded")
    parser.add_argument("--tasks", type=int, default=120)
    options = parser.parse_args()
    documents = list(corpus.documents(options.corpus, "val"))[:400]
    model, tokenizer = load_base(options.base, task="question-answering")
    end = tokenizer.eos_token_id
    for kind, tasks in make(documents, options.tasks).items():
        exact = inside = asked = 0
        for task in tasks:
            ids = tokenizer(task.prompt, return_tensors="pt", add_special_tokens=False)
            length = ids["input_ids"].shape[1]
            if length > 470:
                continue
            out = model.generate(
                **ids, max_new_tokens=40, do_sample=False, eos_token_id=end, pad_token_id=end
            )
            text = tokenizer.decode(out[0, length:], skip_special_tokens=True).strip()
            asked += 1
            exact += text == task.answer
            inside += text in task.prompt
        print(
            f"{kind:13} {asked} asked, {exact / asked:.1%} exact, "
            f"{inside / asked:.1%} in the passage"
        )


if __name__ == "__main__":
    main()
