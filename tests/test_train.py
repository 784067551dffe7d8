"""The loop against references nobody here wrote, and what must not change a result."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from course_lib.finetune import batch as batching
from course_lib.finetune import evaluate, loss, prepare
from course_lib.finetune.model import freeze, load_base
from course_lib.finetune.objective import Objective
from course_lib.finetune.records import Example, Prepared, TrainConfig
from course_lib.finetune.train import train, validate

LABELS = ("order", "praise", "return")
TAGS = ("B-ITEM", "I-ITEM", "O")
KINDS = (
    "classification",
    "language-modeling",
    "question-answering",
    "question-answering-span",
    "completion",
    "token-classification",
)
WORDS = ("where is my parcel zip jacket cancel order thank you lovely boots size card").split()  # noqa: SIM905


def example(rng: random.Random, place: int) -> Example:
    words = rng.choices(WORDS, k=rng.randint(3, 14))
    text = " ".join(words)
    answer = words[rng.randrange(len(words))]
    return Example(
        id=str(place),
        text=text,
        label=LABELS[place % 3],
        question=f"what is {words[0]}?",
        answers=(answer,),
        answer_starts=(text.index(answer),),
        target=" ".join(words[::-1]),
        tokens=tuple(words),
        tags=tuple("B-ITEM" if w == "boots" else "O" for w in words),
    )


ROWS = [example(random.Random(i), i) for i in range(24)]


def load(base: Path, kind: str, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    labels = TAGS if kind == "token-classification" else LABELS
    return load_base(str(base), task=kind, labels=labels, dtype=dtype)


def encode(kind: str, tokenizer: Any, rows: Sequence[Example] = ROWS) -> Prepared:
    labels = TAGS if kind == "token-classification" else LABELS
    return prepare.encode(kind, rows, tokenizer, 64, labels)


def trainer_losses(
    model: Any, data: Prepared, config: TrainConfig, pad: int, steps: int, out: Path
) -> list[float]:
    """Train with transformers.Trainer on the very rows of our plan; give its losses."""
    from transformers import Trainer, TrainingArguments

    plan = [
        micro
        for epoch in range(config.epochs)
        for micro in batching.epoch_steps(
            data,
            batch_size=config.batch_size,
            budget=config.tokens_per_batch,
            seed=config.seed,
            epoch=epoch,
        )
    ]
    assert all(len(micro) == 1 for micro in plan), "one micro-batch a step, as Trainer has it"
    order = list(range(len(plan)))  # an item of the data set is a whole step

    def collate(places: list[int]) -> dict[str, Any]:
        rows = plan[places[0]][0]
        made = batching.collate(data, rows, pad)
        labels = made.pop("labels")
        if data.task == "question-answering-span":
            return {**made, "start_positions": labels[:, 0], "end_positions": labels[:, 1]}
        if data.task in batching.CAUSAL:  # Trainer's models shift labels themselves
            first = torch.full((len(rows), 1), loss.IGNORE)
            labels = torch.cat([first, labels[:, :-1]], dim=1)
        return {**made, "labels": labels}

    class Ordered(Trainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return order

    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=steps,
        per_device_train_batch_size=1,
        learning_rate=config.learning_rate,
        weight_decay=0.0,
        warmup_steps=0,
        lr_scheduler_type="linear",
        max_grad_norm=config.clip_norm,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
        seed=0,
    )
    found: list[float] = []

    def exact(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        # transformers rounds logits to float32 before its loss; torch's own does not
        logits = outputs.logits
        if data.task in batching.CAUSAL:
            logits, labels = logits[:, :-1], labels[:, 1:]
        flat = logits.reshape(-1, logits.shape[-1])
        return functional.cross_entropy(flat, labels.reshape(-1), ignore_index=loss.IGNORE)

    own = data.task == "question-answering-span" or model.dtype == torch.float32

    class Full(Ordered):
        def compute_loss(self, *args: Any, **options: Any) -> Any:
            options["return_outputs"] = False
            value = super().compute_loss(*args, **options)
            found.append(float(value.detach()))
            return value

    Full(
        model=model.train(),
        args=arguments,
        train_dataset=list(range(len(order))),
        data_collator=collate,
        compute_loss_func=None if own else exact,
    ).train()
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "steps", "within"), [(torch.float64, 50, 1e-9), (torch.float32, 5, 1e-5)]
)
def test_losses_equal_those_of_the_trainer(
    tiny_base: Path, tmp_path: Path, kind: str, dtype: torch.dtype, steps: int, within: float
) -> None:
    reference, tokenizer = load(tiny_base, kind, dtype)
    ours, _ = load(tiny_base, kind, dtype)
    ours.load_state_dict(reference.state_dict())
    data = encode(kind, tokenizer)
    # transformers' span heads let padding share in the softmax; one row a step has none
    size = 1 if kind == "question-answering-span" else 4
    for module in (*reference.modules(), *ours.modules()):
        if isinstance(module, torch.nn.Dropout):  # the tagging head's
            module.p = 0.0
    epochs = -(-steps // -(-len(data) // size))
    config = TrainConfig(
        epochs=epochs,
        max_steps=steps,
        batch_size=size,
        tokens_per_batch=100_000,
        learning_rate=1e-3,
        weight_decay=0.0,
        warmup_share=0.0,
        precision="float32",
    )
    expected = trainer_losses(reference, data, config, tokenizer.pad_token_id, steps, tmp_path)
    result = train(ours, data, None, config, pad_id=tokenizer.pad_token_id)
    found = [row["loss"] for row in result.history]
    assert len(found) == len(expected) == steps
    if size > 1 or steps > 5:  # five steps of a row each differ by their rows
        assert found[-1] < found[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=within)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_does_not_depend_on_the_batch_size(tiny_base: Path, kind: str) -> None:
    model, tokenizer = load(tiny_base, kind)
    data, pad = encode(kind, tokenizer), tokenizer.pad_token_id
    objective = Objective(model, data.task)
    means = []
    for size in (1, 3, 8):
        groups = [list(range(i, min(i + size, len(data)))) for i in range(0, len(data), size)]
        batches = [batching.collate(data, g, pad) for g in groups]
        with torch.no_grad():
            total = sum(float(objective(b)) for b in batches)
        means.append(total / sum(batching.counted(b) for b in batches))
    np.testing.assert_allclose(means, means[0], rtol=0, atol=1e-5)
    assert validate(objective, data, pad, torch.device("cpu"))[0] == pytest.approx(
        means[0], abs=1e-5
    )


@pytest.mark.parametrize("budget", [40, 100_000])
def test_gradient_accumulation_changes_nothing(tiny_base: Path, budget: int) -> None:
    finals = []
    for tokens in (budget, 64):
        model, tokenizer = load(tiny_base, "question-answering", torch.float64)
        config = TrainConfig(epochs=1, batch_size=8, tokens_per_batch=tokens, precision="float32")
        data = encode("question-answering", tokenizer)
        train(model, data, None, config, pad_id=tokenizer.pad_token_id)
        finals.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(finals[0], finals[1], rtol=0, atol=1e-9)


def test_a_prediction_does_not_depend_on_its_neighbours(tiny_base: Path) -> None:
    model, tokenizer = load(tiny_base, "classification")
    texts = [row.text for row in ROWS]
    together = evaluate.class_probabilities(model, tokenizer, texts)
    alone = np.vstack([evaluate.class_probabilities(model, tokenizer, [t]) for t in texts])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    spans, tokenizer = load(tiny_base, "question-answering-span")
    whole = evaluate.question_answering_span(spans, tokenizer, ROWS).predictions
    single = [evaluate.question_answering_span(spans, tokenizer, [r]).predictions[0] for r in ROWS]
    assert list(whole) == single
    writer, tokenizer = load(tiny_base, "question-answering")
    whole = evaluate.question_answering(writer, tokenizer, ROWS[:8]).predictions
    single = [evaluate.question_answering(writer, tokenizer, [r]).predictions[0] for r in ROWS[:8]]
    assert list(whole) == single


def test_fused_loss_is_cross_entropy_with_its_gradients() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(1300, 16, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 16, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 50, (1300,))
    labels[::7] = loss.IGNORE
    wanted = functional.cross_entropy(
        hidden @ weight.T, labels, ignore_index=loss.IGNORE, reduction="sum"
    )
    expected = torch.autograd.grad(wanted, (hidden, weight))
    found = loss.fused_cross_entropy(hidden, weight, labels)
    gradients = torch.autograd.grad(found, (hidden, weight))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-10)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("what", "trained"), [("base", 1), ("1", 0), ("2", 0)])
def test_frozen_weights_do_not_move(tiny_base: Path, what: str, trained: int) -> None:
    model, tokenizer = load(tiny_base, "classification")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    freeze(model, what)
    config = TrainConfig(epochs=1, precision="float32")
    train(model, encode("classification", tokenizer), None, config, pad_id=tokenizer.pad_token_id)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert "score.weight" in moved
    assert "model.embed_tokens.weight" not in moved
    assert ("model.layers.1.mlp.up_proj.weight" in moved) == (what == "1")
    assert not trained or moved == {"score.weight"}


def test_early_stopping_keeps_the_most_accurate_weights(tiny_base: Path) -> None:
    model, tokenizer = load(tiny_base, "classification")
    data, held_out = (
        encode("classification", tokenizer, ROWS[:12]),
        encode("classification", tokenizer, ROWS[12:]),
    )
    config = TrainConfig(epochs=60, learning_rate=1e-2, patience=3, precision="float32")
    result = train(model, data, held_out, config, pad_id=tokenizer.pad_token_id)
    seen = [
        (-row["validation_accuracy"], row["validation_loss"])
        for row in result.history
        if "validation_loss" in row
    ]
    assert result.stopped_early and len(seen) < 60
    objective = Objective(model, data.task)
    loss, right = validate(objective, held_out, 1, torch.device("cpu"))
    assert (-(right or 0.0), loss) == pytest.approx(min(seen), abs=1e-6)


SCRIPT = """
import sys
from pathlib import Path
import test_train as t
from course_lib.finetune.records import TrainConfig
base, out, resume = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume"
model, tokenizer = t.load(base, "classification")
config = TrainConfig(epochs=40, batch_size=4, save_every_seconds=0.0, precision="float32")
def slow(row):
    print(row["step"], flush=True)
t.train(model, t.encode("classification", tokenizer), t.encode("classification", tokenizer),
        config, pad_id=1, out=out, resume=resume, on_step=slow)
"""


def launch(base: Path, out: Path, how: str) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": f"{here}{os.pathsep}{here.parent}",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(base), str(out), how],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def history(out: Path) -> list[tuple[int, float]]:
    lines = (out / "history.jsonl").read_text().splitlines()
    return [(row["step"], row["loss"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_resumes_with_the_same_losses(
    tiny_base: Path, tmp_path: Path, how: signal.Signals
) -> None:
    with launch(tiny_base, tmp_path / "whole", "new") as whole:
        text, _ = whole.communicate(timeout=240)
        assert whole.returncode == 0, text
    with launch(tiny_base, tmp_path / "cut", "new") as cut:
        assert cut.stdout
        for line in cut.stdout:
            if line.strip() == "57":
                cut.send_signal(how)
                break
        text, _ = cut.communicate(timeout=60)
    if how == signal.SIGINT:
        assert "Stopped" in text and "--resume" in text
    with launch(tiny_base, tmp_path / "cut", "resume") as resumed:
        out, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, out
    assert 50 <= int(out.split()[0]) <= 60, "it went on near where it stopped"
    assert history(tmp_path / "cut") == history(tmp_path / "whole")


def test_a_torn_checkpoint_is_passed_over(tiny_base: Path, tmp_path: Path) -> None:
    from course_lib.errors import CheckpointError
    from course_lib.finetune import checkpoint

    model, _ = load(tiny_base, "classification")
    optimizer = torch.optim.AdamW(model.parameters())
    for step in (1, 2):
        checkpoint.save_checkpoint(
            tmp_path, step, model=model.state_dict(), optimizers={"adamw": optimizer}, facts={}
        )
    newest = tmp_path / "step-00000002" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"step-00000002.*not the one that was saved"):
        checkpoint.verify(tmp_path / "step-00000002")
    found, passed_over = checkpoint.newest(tmp_path)
    assert found == tmp_path / "step-00000001" and len(passed_over) == 1
    with pytest.raises(CheckpointError, match="another number of processes"):
        checkpoint.newest(tmp_path, world_size=2)


def test_runs_of_several_precisions_follow_each_other_in_one_process(tiny_base: Path) -> None:
    losses = []
    for precision in ("float32", "bfloat16", "float32"):
        model, tokenizer = load(tiny_base, "classification")
        data = encode("classification", tokenizer, ROWS[:12])
        config = TrainConfig(epochs=1, batch_size=4, precision=precision)
        result = train(model, data, None, config, pad_id=tokenizer.pad_token_id)
        losses.append([row["loss"] for row in result.history])
    assert losses[0] == losses[2] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
