"""How long will it take, how much memory: a few real steps on a copy, before the real run."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from typing import Any

import torch

from course_lib.finetune.batch import collate, counted, epoch_steps
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Prepared, TrainConfig
from course_lib.finetune.train import peak_memory, planned_steps

WORTH_TELLING = 10.0  # seconds
SHARE = 6  # for each so many steps of a run one is timed before it, up to 3
MOST_LOOKED_AT = 2000  # steps, to find a large micro-batch


def probe(
    model: Any, data: Prepared, config: TrainConfig, pad_id: int, steps: int = 3
) -> tuple[float, int]:
    """Try a few steps on a copy of the model, the largest micro-batch of an epoch first.

    That first step warms up, so its time counts only when no other step is tried, but the
    memory it takes is what training will take, but for AdamW's two moments. Time is counted
    per token, because steps differ in length.

    Args:
        model: as it will be trained; stays as it is.
        data: the training rows.
        config: settings.
        pad_id: the padding token.
        steps: how many steps to time after the first.

    Returns:
        Seconds of the whole training, and the peak memory in bytes: of the GPU, or of the
        process on a CPU.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    twin = copy.deepcopy(model).to(device).train()
    objective = Objective(twin, data.task)
    planned = epoch_steps(
        data, batch_size=config.batch_size, budget=config.tokens_per_batch, seed=config.seed,
        epoch=0,
    )  # fmt: skip
    largest = max(
        (rows for micro in planned[:MOST_LOOKED_AT] for rows in micro),
        key=lambda rows: int(data.lengths[rows].max()) * len(rows),
    )
    mixed = config.precision == "bfloat16"
    cast = torch.autocast(device.type, torch.bfloat16) if mixed else contextlib.nullcontext()
    for place, micro in enumerate([[largest], *planned[:steps]]):
        if place <= 1:  # what the warm-up took is forgotten
            seconds = tokens = 0.0
        began = time.perf_counter()
        for rows in micro:
            batch = collate(data, rows, pad_id)
            with cast:
                summed = objective({k: v.to(device) for k, v in batch.items()})
            (summed / max(1, counted(batch))).backward()
            tokens += batch["input_ids"].numel()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds += time.perf_counter() - began
    whole = planned_steps(data, config) / len(planned) * float(data.lengths.sum())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return seconds / max(1.0, tokens) * whole, peak_memory(device) + 2 * trained


def announce(
    model: Any, data: Prepared, config: TrainConfig, pad_id: int, say: Callable[[str], None]
) -> dict[str, float]:
    """Forecast a run, and say so when it will take longer than 10 s.

    A short run is timed on fewer steps, so that the forecast costs little beside it.

    Args:
        model, data, config, pad_id: as :func:`probe` takes them.
        say: gets the line.

    Returns:
        ``seconds`` of training and ``memory_bytes`` at the peak.
    """
    steps = min(3, planned_steps(data, config) // SHARE)
    seconds, memory = probe(model, data, config, pad_id, steps)
    if seconds > WORTH_TELLING:
        say(
            f"forecast: {seconds / 60:.1f} minutes of training, "
            f"{memory / 2**30:.1f} GiB of memory at the peak"
        )
    return {"seconds": round(seconds, 1), "memory_bytes": memory}
