"""The ways to fine-tune a classifier side by side: what each trains, takes and reaches."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from course_lib.errors import EnvironmentProblem, UnknownNameError


@dataclass(frozen=True)
class Way:
    """One run of :func:`compare_ways`.

    Attributes:
        way: ``full``, ``frozen``, ``cached`` or ``lora``.
        rows: training rows; seed: of the sample, the head and the order.
        trainable: how many numbers were trained.
        memory_bytes: the most that training held beyond what the process held before it.
        seconds: wall seconds of training, validation and, for ``cached``, the one pass below.
        accuracy: share of test rows that are right.
    """

    way: str
    rows: int
    seed: int
    trainable: int
    memory_bytes: int
    seconds: float
    accuracy: float


def compare_ways(
    data_name: str = "support_tickets",
    *,
    base: str = "embedded",
    rows: Sequence[int] = (200,),
    seeds: Sequence[int] = (0, 1, 2),
    freeze: int = 2,
    settings: Mapping[str, Any] | None = None,
    ways: Sequence[str] = ("full", "frozen", "cached", "lora"),
    apart: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> list[Way]:
    """Fine-tune a classifier in several ways, one at a time, each run in a process of its own.

    Args:
        data_name: a classification set; base: what ``model.load_base`` takes.
        rows: training rows, as many as there are where fewer; seeds: of the runs.
        freeze: lower layers held still in ``frozen`` and ``cached``.
        settings: of every run, such as ``{"epochs": 2, "lora_rank": 4, "test_rows": 100}``.
        ways: which of the four.
        apart: False runs them all in this process: sooner begun, but what one run leaves
            in memory another may use, so its memory says less.
        say: gets one line a run.

    Returns:
        One ``Way`` a run, by rows, seed and way; :func:`markdown` makes a table of them.

    Raises:
        UnknownNameError: for an unknown way.
        CourseError: what a run raises.
    """
    own: dict[str, dict[str, Any]] = {
        "full": {},
        "frozen": {"freeze": str(freeze)},
        "cached": {"freeze": str(freeze), "features": "cached"},
        "lora": {"adapter": "lora"},
    }
    for way in ways:
        if way not in own:
            raise UnknownNameError("way to fine-tune", way, own)
    found = []
    spawn = multiprocessing.get_context("spawn")
    for count, seed, way in [(c, s, w) for c in rows for s in seeds for w in ways]:
        given = {**(settings or {}), **own[way]}
        job = (way, data_name, base, count, seed, given)
        try:
            if apart:
                with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                    run = pool.submit(_one_way, *job).result()
            else:
                run = _one_way(*job)
        except BrokenProcessPool:
            raise EnvironmentProblem(
                "a run was ended from outside, perhaps because memory ran out", where=way
            ) from None
        found.append(run)
        say(f"{way}, {run.rows} rows, seed {seed}: {run.accuracy:.3f} in {run.seconds:.1f} s")
    return found


def _one_way(
    way: str, data_name: str, base: str, count: int, seed: int, given: Mapping[str, Any]
) -> Way:
    """Make one run of the table."""
    from course_lib.finetune import adapt, cached, data, evaluate, prepare, splits
    from course_lib.finetune import model as models
    from course_lib.finetune.settings import fit_to_base, resolve
    from course_lib.finetune.train import train

    known = data.load("classification", data_name)
    config, limits, resolved = resolve("classification", "cpu", given, seed, count)
    taken, held_out, test = (
        splits.sample(part, most, seed) if 0 < most < len(part) else part
        for part, most in (
            (known.train, count),
            (known.validation, limits["validation"]),
            (known.test, limits["test"]),
        )
    )
    model, tokenizer = models.load_base(base, task="classification", labels=known.labels, seed=seed)
    models.close_texts(tokenizer, config.closing)
    if config.head_init == "words":
        models.head_from_words(model, tokenizer)
    models.freeze(model, config.freeze)
    config = fit_to_base(config, resolved, models.count_parameters(model)[0])
    adapter = adapt.from_settings(model, resolved, seed)
    trainable = models.count_parameters(model)[1]
    context = models.context_of(model)
    coded, watched = (
        prepare.classification(part, tokenizer, context, known.labels) for part in (taken, held_out)
    )
    trainer = cached.train_cached if resolved["features"]["value"] == "cached" else train
    with _Memory() as memory:
        result = trainer(model, coded, watched, config, pad_id=tokenizer.pad_token_id)
    if adapter is not None:
        adapt.merge(adapter)
    right = evaluate.classification(model, tokenizer, test).metrics["accuracy"]
    return Way(way, len(taken), seed, trainable, memory.most, result.seconds, right)


class _Memory:
    """Watches the process's memory, or the GPU's, every few milliseconds while the block runs."""

    def __enter__(self) -> _Memory:
        import psutil
        import torch

        self.cuda = torch.cuda if torch.cuda.is_available() else None
        self.process, self.most, self.done = psutil.Process(), 0, threading.Event()
        self.before = self.held()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()
        return self

    def held(self) -> int:
        """Give the bytes held now."""
        return int(self.cuda.memory_allocated() if self.cuda else self.process.memory_info().rss)

    def watch(self) -> None:
        """Keep the most that was held beyond the start."""
        while not self.done.wait(0.005):
            self.most = max(self.most, self.held() - self.before)

    def __exit__(self, *caught: object) -> None:
        self.done.set()
        self.watcher.join()


def markdown(found: Sequence[Way]) -> str:
    """Give the table of :func:`compare_ways` as Markdown, a row for each number of rows and way.

    Over several seeds a figure is the mean with lowest and highest in brackets.
    """

    def text(values: list[float], form: str) -> str:
        mean = format(sum(values) / len(values), form)
        low, high = format(min(values), form), format(max(values), form)
        return mean if len(values) == 1 else f"{mean} [{low}, {high}]"

    lines = [
        "| rows | way | trained parameters | memory, MB | seconds | accuracy, % |",
        "|---|---|---|---|---|---|",
    ]
    for rows, way in dict.fromkeys((w.rows, w.way) for w in found):
        runs = [w for w in found if (w.rows, w.way) == (rows, way)]
        cells = [
            text([w.memory_bytes / 1e6 for w in runs], ".0f") if runs[0].memory_bytes else "-",
            text([w.seconds for w in runs], ".1f"),
            text([100 * w.accuracy for w in runs], ".1f"),
        ]
        lines.append(f"| {rows:,} | {way} | {runs[0].trainable:,} | {' | '.join(cells)} |")
    return "\n".join(lines)
