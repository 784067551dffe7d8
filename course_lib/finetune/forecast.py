"""How long will it take, how much memory: time a few real steps before the real run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch

from course_lib.finetune.batch import collate, counted, epoch_steps
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Prepared, TrainConfig
from course_lib.finetune.train import planned_steps

WORTH_TELLING = 10.0  # seconds


def forecast_seconds(
    model: Any, data: Prepared, config: TrainConfig, pad_id: int, steps: int = 3
) -> float:
    """Time a few steps on a copy of the model; give seconds for the whole training.

    The first step warms up and is not counted; time is taken per token, because steps
    differ in length.
    """
    twin = copy.deepcopy(model).train()
    objective = Objective(twin, data.task)
    planned = epoch_steps(
        data,
        batch_size=config.batch_size,
        budget=config.tokens_per_batch,
        seed=config.seed,
        epoch=0,
    )
    seconds = tokens = 0.0
    device = next(twin.parameters()).device
    for place, micro in enumerate(planned[: steps + 1]):
        began = time.perf_counter()
        seen = 0
        for rows in micro:
            batch = collate(data, rows, pad_id)
            summed = objective({k: v.to(device) for k, v in batch.items()})
            (summed / max(1, counted(batch))).backward()
            seen += batch["input_ids"].numel()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if place or len(planned) == 1:
            seconds, tokens = seconds + time.perf_counter() - began, tokens + seen
    whole = planned_steps(data, config) / len(planned) * float(data.lengths.sum())
    return seconds / max(1.0, tokens) * whole


def forecast_memory(model: Any, config: TrainConfig) -> int:
    """Give the bytes training will add: gradients, two AdamW moments, best weights, activations.

    Activations are counted as 34 numbers a token and unit of width in each layer
    (Korthikanti et al. 2022, without attention scores, which the fused kernel never stores).
    """
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    shape = model.config
    width = int(getattr(shape, "hidden_size", 256))
    layers = int(getattr(shape, "num_hidden_layers", 4))
    added: int = total + 3 * trained + 34 * width * layers * config.tokens_per_batch * 2
    return added


def announce(
    model: Any, data: Prepared, config: TrainConfig, pad_id: int, say: Callable[[str], None]
) -> float:
    """Say the forecast when the run will take longer than 10 s; give the seconds."""
    seconds = forecast_seconds(model, data, config, pad_id)
    if seconds > WORTH_TELLING:
        memory = forecast_memory(model, config) / 2**20
        say(f"forecast: {seconds / 60:.1f} minutes of training, about {memory:.0f} MiB more memory")
    return seconds
