"""The training of a DPO step: its settings, TRL's trainer, and what it says and keeps."""

from __future__ import annotations

import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune import model as models
from course_lib.finetune.feedback.preference import EncodedPairs
from course_lib.finetune.interrupt import Interrupt, stopped
from course_lib.finetune.train import OnStep

Say = Callable[[str], None]
SETTINGS: dict[str, tuple[float, str]] = {
    "beta": (0.1, "the paper's value; smaller lets the model move further from the reference"),
    "epochs": (3, "the epoch of the lowest validation loss is kept; too many cost only time"),
    "learning_rate": (5e-5, "a twentieth of fine-tuning's: the model should shift, not forget"),
    "batch_size": (8, "pairs in a step; each is two texts, read by policy and reference"),
    "warmup_share": (0.1, "the first steps lean on few pairs"),
    "train_rows": (0, "0 takes all"),
}
_WHOLE = ("epochs", "batch_size", "train_rows")


def resolve(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settle every setting as ``{"value": ..., "reason": ...}``.

    Raises:
        UsageError: for a setting that is unknown (with close matches) or out of range.
    """
    resolved: dict[str, dict[str, Any]] = {
        n: {"value": value, "reason": reason} for n, (value, reason) in SETTINGS.items()
    }
    for name, value in given.items():
        if name not in SETTINGS:
            raise UnknownNameError("setting", name, SETTINGS)
        try:
            number = float(value)
            if name in _WHOLE and number != int(number):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            like = f"a value like {SETTINGS[name][0]!r}"
            raise UsageError(f"the setting {name} cannot be {value!r}", expected=like) from None
        resolved[name] = {"value": int(number) if name in _WHOLE else number, "reason": "given"}
    least: dict[str, int] = {"train_rows": 0, "warmup_share": 0, "epochs": 1, "batch_size": 1}
    for name, entry in resolved.items():
        value = entry["value"]
        if not math.isfinite(value) or value < least.get(name, 1e-12):
            at_least = str(least[name]) if name in least else "above 0"
            raise UsageError(f"{name} is too small", got=str(value), expected=at_least)
    return resolved


@dataclass
class Step:
    """One DPO training: TRL's trainer, told what to say, when to stop and what to keep.

    Attributes:
        model, reference: causal models, the second a copy of the first; tokenizer: theirs.
        coded: ``train`` and ``validation`` pairs.
        values: the settings, by name.
        seed: of the order of pairs.
        say, on_step: as :func:`dpo.dpo` takes them.
        history: rows by step, once trained; kept_epoch: whose weights are kept, 0 for the
            untrained; steps, seconds: what was done; forecast: seconds, after three steps.
    """

    model: Any
    reference: Any
    tokenizer: Any
    coded: Mapping[str, EncodedPairs]
    values: Mapping[str, Any]
    seed: int
    say: Say
    on_step: OnStep

    def train(self) -> None:
        """Train ``model`` in place and leave the best epoch's weights in it.

        Raises:
            Stopped: after Ctrl-C, at the end of the step.
        """
        self.history: list[dict[str, float]] = []
        self.kept_epoch, self.steps, self.seconds, self.forecast = 0, 0, 0.0, 0.0
        self.best, self.weights = math.log(2), self._copy()
        with tempfile.TemporaryDirectory() as folder, Interrupt() as interrupt:
            trainer = make_trainer(
                self.model, self.reference, self.tokenizer, self.coded, self.values,
                self.seed, folder,
            )  # fmt: skip
            trainer.add_callback(_callback(self, interrupt))
            self.began = time.monotonic()
            with warnings.catch_warnings():
                # TRL asks transformers by a name that transformers 6 drops; theirs to change
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
                trainer.train()
            self.seconds = time.monotonic() - self.began
            self.steps = trainer.state.global_step
            if interrupt.asked:
                raise stopped("preference tuning", self.steps, trainer.state.max_steps, "")
        self.model.load_state_dict(self.weights)
        self.model.eval()

    def _copy(self) -> dict[str, torch.Tensor]:
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def note(self, logs: Mapping[str, float], step: int, total: int) -> None:
        """Record what TRL logged: a step, or an evaluation, which goes with the step before."""
        if "loss" in logs:
            row = {
                "step": step,
                "loss": logs["loss"],
                "grad_norm": logs.get("grad_norm", 0.0),
                "learning_rate": logs["learning_rate"],
                "win_rate": logs["rewards/accuracies"],
                "margin": logs["rewards/margins"] / self.values["beta"],
            }
            self.history.append(row)
            self.on_step(row | {"steps": total})
            if step == min(3, total):
                self.forecast = (time.monotonic() - self.began) / step * total
                self.say(f"about {self.forecast:.0f} s for {total} step{'s' * (total != 1)}")
        elif "eval_loss" in logs and self.history:
            row = self.history[-1]
            row["validation_loss"] = logs["eval_loss"]
            row["validation_win_rate"] = logs["eval_rewards/accuracies"]
            if logs["eval_loss"] < self.best:
                self.best, self.weights = logs["eval_loss"], self._copy()
                self.kept_epoch = round(logs["epoch"])


def make_trainer(
    model: Any,
    reference: Any,
    tokenizer: Any,
    coded: Mapping[str, EncodedPairs],
    values: Mapping[str, Any],
    seed: int,
    folder: str,
) -> Any:
    """Give a ``trl.DPOTrainer`` over pairs encoded by us, quiet and without telemetry.

    Args:
        model, reference: causal models; only ``model`` is trained.
        coded: ``train`` and ``validation`` pairs.
        values: the settings, as in ``SETTINGS``.
        seed: of the order of the pairs.
        folder: where the trainer may put files; it saves none.
    """
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback

    logging.disable(logging.WARNING)  # notices on GPU kernels that do not load here
    try:
        from trl.trainer.dpo_trainer import DPOTrainer
    finally:
        logging.disable(logging.NOTSET)

    class Trainer(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *args: Any, **options: Any) -> Any:
            return dataset  # encoded already: TRL would shorten replies, we shorten prompts

        def _send_telemetry(self) -> None:
            """Tell nobody: a lesson runs without a network."""

    trainer = Trainer(
        model=model,
        ref_model=reference,
        args=_config(models.context_of(model), values, seed, folder, coded),
        train_dataset=Dataset.from_list(list(coded["train"].rows)),
        eval_dataset=Dataset.from_list(list(coded["validation"].rows)),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _config(
    context: int,
    values: Mapping[str, Any],
    seed: int,
    folder: str,
    coded: Mapping[str, EncodedPairs],
) -> Any:
    """Give TRL's settings: float32, an evaluation an epoch, no files, no reports."""
    from trl.trainer.dpo_config import DPOConfig

    # TRL averages the averages of batches: of equal ones, so that the win rate is the pairs'
    pairs, held_out = (len(coded[split].rows) for split in ("train", "validation"))
    equal = next(n for n in range(16, 0, -1) if held_out % n == 0)
    warm_up = values["warmup_share"] * values["epochs"] * math.ceil(pairs / values["batch_size"])
    return DPOConfig(
        output_dir=folder,
        beta=values["beta"],
        num_train_epochs=values["epochs"],
        learning_rate=values["learning_rate"],
        per_device_train_batch_size=values["batch_size"],
        per_device_eval_batch_size=equal,
        warmup_steps=int(warm_up),  # a share is rounded up: one step alone would be at rate zero
        max_length=context,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        activation_checkpointing=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _callback(step: Step, interrupt: Interrupt) -> Any:
    from transformers import TrainerCallback

    class Callback(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **found: Any) -> None:
            step.note(found["logs"], state.global_step, state.max_steps)
            control.should_training_stop |= interrupt.asked

    return Callback()
