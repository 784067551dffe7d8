"""The state of a pre-training run: data, optimizers, steps, checkpoints, history."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from course_lib import files
from course_lib.errors import Stopped
from course_lib.finetune import checkpoint, corpus, optim
from course_lib.finetune.decoder import (
    LanguageModelLoss,
    PretrainConfig,
    bytes_per_token,
    new_model,
    pick_precision,
    validation,
)


class Run:
    """The state of one pre-training run: model, optimizers, data, position."""

    def __init__(
        self,
        config: PretrainConfig,
        accelerator: Any,
        tok: Any,
        tokens_dir: Path,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.accelerator, self.say = config, accelerator, say
        self.dtype = pick_precision(config.precision, accelerator.device)
        self.train = corpus.PackedTokens(tokens_dir / "train.bin", config.context)
        self.val = corpus.PackedTokens(tokens_dir / "val.bin", config.context)
        self.bytes_per_token = bytes_per_token(tokens_dir)
        self.plain = new_model(config).to(accelerator.device)
        matrices, rest = optim.split_for_muon(self.plain)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "muon": optim.Muon(matrices, config.lr_matrix, weight_decay=config.weight_decay),
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
        batch = self.train.batch(step * config.rows_per_step, config.rows_per_step, config.seed)
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

    def one_step(self, step: int) -> tuple[float, float]:
        """Train on one step's rows; give the mean loss in nats and the gradient norm."""
        rows, device = self.rows(step), self.accelerator.device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            total = self.module(rows)
        count = self.accelerator.reduce((rows[:, 1:] >= 0).sum().to(total.dtype))
        self.accelerator.backward(total * (self.accelerator.num_processes / count))
        norm = float(torch.nn.utils.clip_grad_norm_(self.plain.parameters(), 1.0))
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        return float(self.accelerator.reduce(total.detach())) / float(count), norm

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
        step = first
        try:
            while step < config.steps:
                factor = self.set_rates(step)
                nats, norm = self.one_step(step)
                step += 1
                now = time.monotonic()
                self.seconds, clock = self.seconds + now - clock, now
                row = {
                    "step": step,
                    "tokens": step * config.tokens_per_step,
                    "loss": nats,
                    "grad_norm": norm,
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
                if last or now - saved > config.save_every_seconds:
                    self.save(step)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            self.save(step)
            raise Stopped(
                "pre-training was stopped",
                checkpoint=config.out,
                next_step="add --resume to the same command to go on",
            ) from None


class Log:
    """``history.jsonl`` and TensorBoard, written by the main process."""

    def __init__(self, out: Path, active: bool) -> None:
        self.out, self.active = out, active
        self.board: Any = None

    def __enter__(self) -> Log:
        if self.active:
            self.handle = open(self.out / "history.jsonl", "a", encoding="utf-8")
            with contextlib.suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(str(self.out / "tensorboard"))
        return self

    def write(self, row: dict[str, float]) -> None:
        """Append one row."""
        if not self.active:
            return
        self.handle.write(json.dumps(row) + "\n")
        self.handle.flush()
        if self.board and (row["step"] % 10 == 0 or "val_loss" in row):
            for key in row.keys() - {"step"}:
                self.board.add_scalar(key, row[key], int(row["step"]))

    def __exit__(self, *exc: object) -> None:
        if self.active:
            os.fsync(self.handle.fileno())
            self.handle.close()
            if self.board:
                self.board.close()


def cut_history(path: Path, step: int) -> None:
    """Drop the rows after ``step`` (they are run again) and a torn last line."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            if json.loads(line)["step"] <= step:
                kept.append(line)
    files.write_text(path, "".join(line + "\n" for line in kept))
