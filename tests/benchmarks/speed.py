"""Speed of a fine-tune beside `transformers.Trainer`, as ratios within one run.

    python tests/benchmarks/speed.py --repeats 3

Same base, rows, epochs, batch size, optimizer and schedule; the arms take turns, so that a
noisy machine is unfair to all of them alike. Prints for each arm the median of seconds and
real tokens a second, the time as a ratio to the first arm with its spread, test accuracy,
and the share of this machine's own matrix rate that training reaches.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch

from course_lib.finetune import data, evaluate, prepare
from course_lib.finetune.model import close_texts, head_from_words, load_base
from course_lib.finetune.records import TrainConfig
from course_lib.finetune.splits import sample
from course_lib.finetune.train import train

EPOCHS, BATCH, RATE = 2, 16, 1e-3


def fresh(labels: tuple[str, ...]) -> tuple[Any, Any]:
    """Give the embedded base with a new head, the same each time."""
    model, tokenizer = load_base("embedded", task="classification", labels=labels, seed=0)
    close_texts(tokenizer, prepare.TOPIC_PROMPT)
    head_from_words(model, tokenizer)
    return model, tokenizer


def ours(rows: list[Any], labels: tuple[str, ...], precision: str) -> tuple[Any, Any, float]:
    """Train with the course's loop; give model, tokenizer and seconds."""
    model, tokenizer = fresh(labels)
    coded = prepare.classification(rows, tokenizer, 512, labels)
    config = TrainConfig(
        epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, precision=precision, seed=0
    )
    began = time.perf_counter()
    train(model, coded, None, config, pad_id=tokenizer.pad_token_id)
    return model, tokenizer, time.perf_counter() - began


def theirs(rows: list[Any], labels: tuple[str, ...], longest: int) -> tuple[Any, Any, float]:
    """Train with transformers' Trainer: dynamic padding, or padding to ``longest`` tokens."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, tokenizer = fresh(labels)
    numbers = {label: i for i, label in enumerate(labels)}
    coded = []
    for row in rows:
        item = dict(tokenizer(row.text))
        if longest:
            fill = longest - len(item["input_ids"])
            item["input_ids"] = item["input_ids"] + [tokenizer.pad_token_id] * fill
            item["attention_mask"] = item["attention_mask"] + [0] * fill
        coded.append({**item, "labels": numbers[row.label]})
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH,
            learning_rate=RATE, weight_decay=0.01, warmup_steps=0.1, max_grad_norm=1.0,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, seed=0,
        )  # fmt: skip
        trainer = Trainer(
            model, arguments, train_dataset=coded, data_collator=DataCollatorWithPadding(tokenizer)
        )
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    return model.eval(), tokenizer, seconds


def matrix_rate() -> float:
    """Give the float32 rate of a large matrix product here, in floating-point operations a s."""
    a, b = torch.randn(2048, 1024), torch.randn(1024, 2048)
    best = 0.0
    for _ in range(20):
        began = time.perf_counter()
        a @ b
        best = max(best, 2 * 2048 * 1024 * 2048 / (time.perf_counter() - began))
    return best


def main() -> None:
    """Run the arms in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=400)
    options = parser.parse_args()
    splits = data.load("classification", "support_tickets")
    rows = sample(splits.train, options.rows, 0)
    _, tokenizer = fresh(splits.labels)
    lengths = [len(tokenizer(r.text)["input_ids"]) for r in rows]
    tokens, longest = sum(lengths) * EPOCHS, max(lengths)
    arms = {
        "course, float32": lambda: ours(rows, splits.labels, "float32"),
        "course, bfloat16": lambda: ours(rows, splits.labels, "bfloat16"),
        "Trainer, dynamic padding": lambda: theirs(rows, splits.labels, 0),
        f"Trainer, padded to {longest}": lambda: theirs(rows, splits.labels, longest),
    }
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    accuracy: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, run in arms.items():
            model, tokenizer, took = run()
            seconds[name].append(took)
            found = evaluate.classification(model, tokenizer, splits.validation)
            accuracy[name] = found.metrics["accuracy"]
    weights = sum(p.numel() for n, p in model.named_parameters() if "embed" not in n)
    shape, mean = model.config, sum(lengths) / len(lengths)
    attention = 2 * shape.num_hidden_layers * shape.hidden_size * mean
    work = (6 * weights + 3 * attention) * tokens
    rate = matrix_rate()
    first = next(iter(arms))
    print(f"{len(rows)} rows, {tokens:,} real tokens in {EPOCHS} epochs, "
          f"{torch.get_num_threads()} threads, matrix rate {rate / 1e9:.0f} GFLOP/s")  # fmt: skip
    print(f"{'arm':28} seconds  tokens/s   time ratio [spread]   validation accuracy   rate share")
    for name, took in seconds.items():
        ratios = sorted(a / b for a, b in zip(took, seconds[first], strict=True))
        middle = statistics.median(took)
        print(f"{name:28} {middle:7.1f} {tokens / middle:9.0f}   "
              f"{statistics.median(ratios):5.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]   "
              f"{accuracy[name]:19.3f} {work / middle / rate:12.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
