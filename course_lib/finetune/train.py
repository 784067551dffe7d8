"""The training loop: one loop for every task, on Accelerate, short enough to read in class."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from course_lib.finetune import checkpoint, optim
from course_lib.finetune.batch import collate, counted, epoch_steps, plain_batches
from course_lib.finetune.history import History
from course_lib.finetune.interrupt import Interrupt, stopped
from course_lib.finetune.objective import Objective, balanced_weights
from course_lib.finetune.records import Prepared, TrainConfig, TrainResult

OnStep = Callable[[Mapping[str, float]], None]


def peak_memory(device: torch.device) -> int:
    """Give the largest memory held so far in bytes: the GPU's, or the process's on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_main_process() -> bool:
    """Tell whether this is the only process, or the first of those torchrun started."""
    from accelerate import PartialState

    return bool(PartialState(cpu=not torch.cuda.is_available()).is_main_process)


def planned_steps(data: Prepared, config: TrainConfig) -> int:
    """Give the number of optimizer steps of a run without early stopping."""
    total = math.ceil(len(data) / config.batch_size) * config.epochs
    return min(total, config.max_steps) if config.max_steps else total


@torch.no_grad()
def validate(
    objective: Any, data: Prepared, pad_id: int, device: torch.device
) -> tuple[float, float | None]:
    """Give the loss in nats over all counted labels of ``data``, and the share that is right.

    The share is None for tasks that produce text or spans.
    """
    was_training = objective.training
    objective.eval()
    total = count = right = 0.0
    for _, batch in plain_batches(data, budget=8192, pad_id=pad_id):
        summed, hits = objective.judged({k: v.to(device) for k, v in batch.items()})
        count += counted(batch)
        total += float(summed)
        right = math.nan if hits is None else right + hits
    objective.train(was_training)
    return total / max(1.0, count), None if math.isnan(right) else right / max(1.0, count)


def train(
    model: Any,
    data: Prepared,
    validation: Prepared | None,
    config: TrainConfig,
    *,
    pad_id: int,
    out: Path | None = None,
    resume: bool = False,
    on_step: OnStep = lambda row: None,
) -> TrainResult:
    """Train ``model`` in place and leave the best weights in it.

    The loss of an optimizer step is the sum over its micro-batches (and processes)
    divided once by the number of counted labels, so it does not depend on how the
    rows were packed. With ``out`` the history (JSONL and TensorBoard) and checkpoints are
    kept there. ``on_step`` gets each step's history row and ``steps``, their planned number.

    Raises:
        Stopped: after Ctrl-C, at the end of the step, with a checkpoint when ``out`` is given.
        StorageError: when the disk is full; older checkpoints are untouched.
    """
    from accelerate import Accelerator

    # Accelerate settles mixed precision once a process; a notebook makes runs of several kinds
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    mixed = config.precision == "bfloat16"
    state = _State(model, data, validation, config, accelerator, pad_id, out)
    step = state.resume() if resume else 0
    model.train()
    try:
        with Interrupt() as interrupt:
            while step < state.total and not state.stop:
                epoch, place = divmod(step, state.steps_per_epoch)
                micro = state.plan(epoch)[place]
                world, rank = accelerator.num_processes, accelerator.process_index
                batches = [collate(data, rows, pad_id) for rows in micro]
                count = sum(counted(b) for b in batches)
                share = [b for i, b in enumerate(batches) if i % world == rank]
                total = torch.zeros((), device=accelerator.device)
                for batch in share:
                    placed = {k: v.to(accelerator.device) for k, v in batch.items()}
                    with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=mixed):
                        summed = state.objective(placed)
                    accelerator.backward(summed * (world / max(1, count)))
                    total = total + summed.detach()
                norm = accelerator.clip_grad_norm_(state.trained, config.clip_norm)
                state.set_rate(step)
                state.optimizer.step()
                state.optimizer.zero_grad()
                step += 1
                asked = total.new_tensor(interrupt.asked)  # by any of the processes
                nats, stops = accelerator.reduce(torch.stack([total, asked])).tolist()
                tokens = sum(int(b["attention_mask"].sum()) for b in batches)
                row = state.note(step, nats / max(1, count), float(norm or 0.0), tokens)
                on_step(row | {"steps": state.total})
                if stops:
                    state.save(step)
                    raise stopped("training", step, state.total, str(out or ""))
    finally:
        state.close()
    return state.result(step)


class _State:
    """What the loop carries: objective, optimizer, plan, best weights, history file."""

    def __init__(
        self,
        model: Any,
        data: Prepared,
        validation: Prepared | None,
        config: TrainConfig,
        accelerator: Any,
        pad_id: int,
        out: Path | None,
    ) -> None:
        self.model, self.data, self.validation = model, data, validation
        self.config, self.accelerator, self.pad_id, self.out = config, accelerator, pad_id, out
        weights = None
        if config.class_weights == "balanced":
            weights = balanced_weights(data, model.config.num_labels)
        self.plain = Objective(model, data.task, weights).to(accelerator.device)
        self.objective = accelerator.prepare_model(self.plain)
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained,
            lr=config.learning_rate,
            betas=config.betas,
            eps=1e-8,
            weight_decay=config.weight_decay,
            fused=True,  # one pass over the weights instead of ten: a tenth of a step on a CPU
        )
        self.steps_per_epoch = math.ceil(len(data) / config.batch_size)
        self.total = planned_steps(data, config)
        self.every = config.eval_every_steps or self.steps_per_epoch
        self.history: list[dict[str, float]] = []
        self.best, self.without_gain = [math.inf], 0
        self.best_weights: dict[str, torch.Tensor] | None = None
        self.stop = False
        self.tokens, self.before = 0, 0.0
        self.began = self.saved = time.monotonic()
        self._plans: dict[int, Any] = {}
        self.log: Any = None
        if out and accelerator.is_main_process:
            out.mkdir(parents=True, exist_ok=True)
            self.log = History(out).__enter__()

    def plan(self, epoch: int) -> Any:
        """Give the epoch's steps, planned once."""
        if epoch not in self._plans:
            self._plans = {
                epoch: epoch_steps(
                    self.data,
                    batch_size=self.config.batch_size,
                    budget=self.config.tokens_per_batch,
                    seed=self.config.seed,
                    epoch=epoch,
                )
            }
        return self._plans[epoch]

    def set_rate(self, step: int) -> None:
        """Set the learning rate of ``step``."""
        warmup = math.ceil(self.config.warmup_share * self.total)
        factor = optim.schedule_factor(self.config.schedule, step, warmup=warmup, total=self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor

    def note(self, step: int, nats: float, norm: float, tokens: int) -> dict[str, float]:
        """Record a step; evaluate, keep the best weights and save when it is time."""
        self.tokens += tokens
        row = {
            "step": step,
            "loss": nats,
            "grad_norm": norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "tokens": self.tokens,
        }
        if self.validation is not None and (step % self.every == 0 or step == self.total):
            device = self.accelerator.device
            loss, right = validate(self.plain, self.validation, self.pad_id, device)
            row["validation_loss"] = loss
            if right is not None:
                row["validation_accuracy"] = right
            # A classifier's loss rises by overconfidence while it still gets better.
            found = [loss] if right is None else [1 - right, loss]
            if found < self.best:
                self.best, self.without_gain = found, 0
                self.best_weights = {
                    k: v.detach().clone() for k, v in self.model.state_dict().items()
                }
            else:
                self.without_gain += 1
                self.stop = 0 < self.config.patience <= self.without_gain
        self.history.append(row)
        if self.log:
            self.log.write(row)
        if time.monotonic() - self.saved > self.config.save_every_seconds:
            self.save(step)
        return row

    def save(self, step: int) -> None:
        """Write a verified checkpoint (main process, and only for a run with a folder)."""
        if not self.out or not self.accelerator.is_main_process:
            return
        best = {f"best.{k}": v for k, v in (self.best_weights or {}).items()}
        checkpoint.save_checkpoint(
            self.out / "checkpoints",
            step,
            model={**self.model.state_dict(), **best},
            optimizers={"adamw": self.optimizer},
            facts={
                "tokens": self.tokens,
                "without_gain": self.without_gain,
                "best": None if self.best == [math.inf] else self.best,
                "seconds": self.before + time.monotonic() - self.began,
                "history": self.history,
            },
            world_size=self.accelerator.num_processes,
        )
        self.saved = time.monotonic()

    def resume(self) -> int:
        """Go back to the newest checkpoint that verifies; give the step to go on from."""
        assert self.out is not None
        found, _ = checkpoint.newest(
            self.out / "checkpoints", world_size=self.accelerator.num_processes
        )
        if found is None:
            return 0
        facts, best = checkpoint.load_training(found, self.model, {"adamw": self.optimizer})
        self.best_weights = best or None
        self.best = [math.inf] if facts["best"] is None else [float(v) for v in facts["best"]]
        self.without_gain, self.tokens = int(facts["without_gain"]), int(facts["tokens"])
        self.history, self.before = list(facts["history"]), float(facts["seconds"])
        if self.log:
            self.log.restart(self.history)
        return int(facts["step"])

    def close(self) -> None:
        """Close the history file."""
        if self.log:
            self.log.__exit__()

    def result(self, step: int) -> TrainResult:
        """Put the best weights back and say what was done."""
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
        self.model.eval()
        seconds = self.before + time.monotonic() - self.began
        return TrainResult(
            step,
            self.tokens,
            seconds,
            peak_memory(self.accelerator.device),
            tuple(self.history),
            self.stop,
        )
