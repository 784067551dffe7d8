"""The state of a pre-training run: data, optimizers, steps, checkpoints, history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from course_lib.finetune import checkpoint, optim
from course_lib.finetune.interrupt import Interrupt, stopped
from course_lib.finetune.precision import pick_precision
from course_lib.finetune.pretraining import corpus
from course_lib.finetune.pretraining.decoder import (
    LanguageModelLoss,
    PretrainConfig,
    bytes_per_token,
    new_model,
    validation,
)
from course_lib.finetune.pretraining.reading import ANSWER


class Run:
    """The state of one pre-training run: model, optimizers, data, position."""

    def __init__(
        self,
        config: PretrainConfig,
        accelerator: Any,
        tokens_dir: Path,
        tasks: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.accelerator, self.say = config, accelerator, say
        self.dtype = pick_precision(config.precision, accelerator.device)
        self.train = corpus.PackedTokens(tokens_dir / "train.bin", config.context)
        self.val = corpus.PackedTokens(tokens_dir / "val.bin", config.context)
        self.tasks = corpus.PackedTokens(tasks, config.context, "<i4") if tasks else None
        self.bytes_per_token = bytes_per_token(tokens_dir)
        self.plain = new_model(config).to(accelerator.device)
        matrices, rest = optim.split_for_muon(self.plain)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "muon": optim.Muon(
                matrices,
                config.lr_matrix,
                weight_decay=config.weight_decay,
                dtype=self.dtype,
            ),
            "adamw": torch.optim.AdamW(
                rest, lr=config.lr_rest, betas=(0.9, 0.95), weight_decay=config.weight_decay
            ),
        }
        body: Any = LanguageModelLoss(self.plain)
        if config.compile:
            self.plain.model.compile()
        self.module = accelerator.prepare_model(body)
        self.seconds = 0.0

    def start(self, resume: bool) -> int:
        """Load a checkpoint when resuming or branching; give the first step to run."""
        parent = Path(self.config.out) / "checkpoints"
        world = self.accelerator.num_processes
        found, passed_over = checkpoint.newest(parent, world_size=world) if resume else (None, [])
        for line in passed_over:
            self.say(f"passed over: {line}")
        if found is None and self.config.branch_from:
            found, _ = checkpoint.newest(Path(self.config.branch_from), world_size=world)
        if found is None:
            return 0
        facts = checkpoint.load_checkpoint(found, model=self.plain, optimizers=self.optimizers)
        self.seconds = float(facts["seconds"])
        self.say(f"resumed from {found.name}")
        return int(facts["step"])

    def rows(self, step: int) -> torch.Tensor:
        """Give this process's share of the step's rows, ``[rows, context + 1]``."""
        config, world = self.config, self.accelerator.num_processes
        rows = config.rows_per_step
        batch = self.train.batch(step * rows, rows, config.seed)
        if self.tasks and step >= config.reading_from:
            share = round(config.reading_share * rows)
            done = step - config.reading_from
            batch[:share] = self.tasks.batch(done * share, share, config.seed)
        mine = batch[self.accelerator.process_index :: world]
        return torch.from_numpy(mine).to(self.accelerator.device)

    def set_rates(self, step: int) -> float:
        """Set both optimizers' learning rates for ``step``; give the factor."""
        config = self.config
        factor = optim.stable_then_decay(
            step, warmup=config.warmup_steps, decay_from=config.decay_from, total=config.steps
        )
        for name, rate in (("muon", config.lr_matrix), ("adamw", config.lr_rest)):
            for group in self.optimizers[name].param_groups:
                group["lr"] = rate * factor
        return factor

    def one_step(self, step: int) -> tuple[float, float, float]:
        """Train on one step's rows; give mean loss and answers' loss in nats, gradient norm."""
        rows, device = self.rows(step), self.accelerator.device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            sums = self.module(rows)
        counts = torch.stack([(rows[:, 1:] >= 0).sum(), (rows[:, 1:] >= ANSWER).sum()])
        counts = self.accelerator.reduce(counts.to(sums.dtype)).clamp(min=1)
        weights = sums.new_tensor([1.0, self.config.reading_weight])
        world = self.accelerator.num_processes
        self.accelerator.backward((sums * weights / counts).sum() * world)
        norm = float(torch.nn.utils.clip_grad_norm_(self.plain.parameters(), 1.0))
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        means = self.accelerator.reduce(sums.detach()) / counts
        return float(means[0]), float(means[1]), norm

    def save(self, step: int) -> None:
        """Write a verified checkpoint (main process only)."""
        if not self.accelerator.is_main_process:
            return
        checkpoint.save_checkpoint(
            Path(self.config.out) / "checkpoints",
            step,
            model=self.plain.state_dict(),
            optimizers=self.optimizers,
            facts={"seconds": self.seconds, "config": asdict(replace(self.config, out=""))},
            world_size=self.accelerator.num_processes,
        )

    def steps(self, first: int) -> Iterator[dict[str, float]]:
        """Run the steps from ``first`` to the end, yielding one history row each."""
        config = self.config
        saved = clock = time.monotonic()
        step, device = first, self.accelerator.device
        with Interrupt() as interrupt:
            while step < config.steps:
                factor = self.set_rates(step)
                nats, answers, norm = self.one_step(step)
                step += 1
                now = time.monotonic()
                self.seconds, clock = self.seconds + now - clock, now
                row = {
                    "step": step,
                    "tokens": step * config.tokens_per_step,
                    "loss": nats,
                    "grad_norm": norm,
                    **({"reading_loss": answers} if answers else {}),
                    "lr_factor": factor,
                    "seconds": round(self.seconds, 1),
                }
                last = step == config.steps or step == config.decay_from
                if step % config.eval_every_steps == 0 or last:
                    found = validation(
                        self.plain, self.val, config.eval_rows, self.bytes_per_token, self.dtype
                    )
                    row |= {f"val_{k}": v for k, v in found.items()}
                yield row
                stops = self.accelerator.reduce(torch.tensor(float(interrupt.asked), device=device))
                if last or stops or now - saved > config.save_every_seconds:
                    self.save(step)
                    saved = time.monotonic()
                if stops:
                    raise stopped("pre-training", step, config.steps, config.out)
