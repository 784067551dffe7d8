"""Pre-train a base model: text -> tokenizer -> packed rows -> Llama-type decoder.

The schedule is warm-up, stable, decay on a budget of tokens. The stable part
can always be extended: its checkpoints stay in ``RUN/checkpoints``, while a
*branch* (``decay_from`` a stable checkpoint) decays to a model that can be shipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib import files
from course_lib.errors import Stopped, UsageError
from course_lib.finetune import checkpoint, corpus, loss, optim, tokenizer


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training run; ``tokens`` counts trained tokens, whole steps only."""

    data: str
    out: str
    tokens: int = 8_000_000
    decay_tokens: int = 0
    layers: int = 4
    width: int = 256
    inner: int = 640
    heads: int = 4
    vocab_size: int = 8192
    context: int = 512
    rows_per_step: int = 16
    warmup_steps: int = 100
    lr_matrix: float = 0.02
    lr_rest: float = 3e-3
    weight_decay: float = 0.01
    seed: int = 0
    precision: str = "auto"
    compile: bool = False
    save_every_seconds: float = 240.0
    eval_every_steps: int = 250
    eval_rows: int = 200
    reading_share: float = 0.0
    branch_from: str = ""

    @property
    def tokens_per_step(self) -> int:
        """Tokens in one optimizer step over all processes."""
        return self.rows_per_step * self.context

    @property
    def steps(self) -> int:
        """Optimizer steps up to the token budget."""
        return self.tokens // self.tokens_per_step

    @property
    def decay_from(self) -> int:
        """The step at which the learning rate starts to fall."""
        return self.steps - self.decay_tokens // self.tokens_per_step


class LanguageModelLoss(torch.nn.Module):
    """A causal model with the fused loss on top, as one module (so that DDP sees all of it)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Give the summed next-token loss of ``rows`` ``[batch, context + 1]``.

        Where a row's sign bit is set (see ``reading``), the token is read but not counted.
        """
        counted = rows >= 0
        ids = torch.where(counted, rows, -rows - 1)
        hidden = self.model.model(input_ids=ids[:, :-1]).last_hidden_state
        labels = torch.where(counted[:, 1:], ids[:, 1:], loss.IGNORE)
        weight = self.model.lm_head.weight
        flat = hidden.reshape(-1, hidden.shape[-1])
        return loss.fused_cross_entropy(flat, weight, labels.reshape(-1))


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """Give the dtype for matrix products: bfloat16 where the hardware has units for it.

    Raises:
        UsageError: for a name other than ``auto``, ``float32``, ``bfloat16``.
    """
    if name not in ("auto", "float32", "bfloat16"):
        raise UsageError(f"unknown precision {name!r}", expected="auto, float32 or bfloat16")
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    has_units = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return torch.bfloat16 if has_units and fast else torch.float32


def new_model(config: PretrainConfig) -> Any:
    """Build an untrained Llama-type decoder with tied embeddings, seeded by ``config.seed``."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(config.seed)
    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        intermediate_size=config.inner,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    return LlamaForCausalLM(shape)


def prepare_corpus(config: PretrainConfig, say: Callable[[str], None]) -> tuple[Any, Path]:
    """Train the tokenizer and encode both splits, once; give tokenizer and their folder."""
    from transformers import AutoTokenizer

    folder = Path(config.out) / "tokens"
    facts = folder / "facts.json"
    if facts.is_file() and files.read_json(facts)["data"] == config.data:
        return AutoTokenizer.from_pretrained(folder), folder
    folder.mkdir(parents=True, exist_ok=True)
    say("training the tokenizer")
    docs = corpus.documents(config.data, "train")
    sample = (d for i, d in enumerate(docs) if i % 3 == 0)
    tok = tokenizer.train_tokenizer(sample, vocab_size=config.vocab_size, context=config.context)
    tok.save_pretrained(folder)
    counts: dict[str, Any] = {"data": config.data}
    for split in ("train", "val"):
        say(f"encoding {split}")
        texts = corpus.documents(config.data, split)
        tokens, size = corpus.encode_corpus(texts, tok, folder / f"{split}.bin")
        counts[split] = {"tokens": tokens, "bytes": size}
    files.write_json(facts, counts)
    return tok, folder


@torch.no_grad()
def validation(
    model: Any,
    packed: corpus.PackedTokens,
    rows: int,
    bytes_per_token: float,
    dtype: torch.dtype = torch.float32,
) -> dict[str, float]:
    """Measure loss (nats a token), perplexity, bits per byte and next-token accuracy."""
    model.eval()
    device = next(model.parameters()).device
    total = right = count = 0.0
    for start in range(0, min(rows, packed.rows), 16):
        chunk = [packed.row(i) for i in range(start, min(start + 16, rows, packed.rows))]
        ids = torch.from_numpy(np.stack(chunk)).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = model(input_ids=ids[:, :-1]).logits.float()
        flat, labels = logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1)
        total += float(torch.nn.functional.cross_entropy(flat, labels, reduction="sum"))
        right += float((flat.argmax(-1) == labels).sum())
        count += labels.numel()
    model.train()
    nats = total / count
    return {
        "loss": nats,
        "perplexity": float(np.exp(nats)),
        "bits_per_byte": nats / np.log(2) / bytes_per_token,
        "accuracy": right / count,
    }


def bytes_per_token(folder: Path) -> float:
    """Give the mean number of UTF-8 bytes a validation token stands for."""
    counts = files.read_json(folder / "facts.json")["val"]
    return float(counts["bytes"]) / max(1, int(counts["tokens"]))


def save_base(model: Any, tok: Any, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Save weights (16 bit, shards of at most 15 MB), tokenizer and chat template."""
    import copy

    with files.new_folder(folder) as temporary:
        small = copy.deepcopy(model).to(dtype)
        small.save_pretrained(temporary, max_shard_size="15MB")
        tok.save_pretrained(temporary)
        checkpoint.write_manifest(temporary)


def pretrain(
    config: PretrainConfig,
    *,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
    on_step: Callable[[dict[str, float]], None] = lambda row: None,
) -> dict[str, Any]:
    """Pre-train up to the token budget; give the final validation figures.

    Under torchrun every process takes its share of each step's rows.

    Raises:
        DataError: when the corpus cannot be read.
        CheckpointError: when resuming and nothing verifies for these settings.
        Stopped: after Ctrl-C; the state was saved.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    out = Path(config.out)
    with accelerator.main_process_first():
        tok, tokens_dir = prepare_corpus(config, say)
    run = _Run(config, accelerator, tok, tokens_dir, say)
    step = run.start(resume)
    history = out / "history.jsonl"
    if accelerator.is_main_process:
        _cut_history(history, step)
    with _Log(out, accelerator.is_main_process) as log:
        for row in run.steps(step):
            log.write(row)
            on_step(row)
    final: dict[str, Any] = {}
    if accelerator.is_main_process:
        model = run.plain
        final = validation(model, run.val, run.val.rows, bytes_per_token(tokens_dir))
        save_base(model, tok, out / "model")
        settings = asdict(config)
        files.write_json(
            out / "pretrain.json",
            {
                "settings": settings,
                "validation": final,
                "tokens": config.steps * config.tokens_per_step,
                "parameters": sum(p.numel() for p in model.parameters()),
                "corpus": files.read_json(tokens_dir / "facts.json"),
            },
        )
    return final


class _Run:
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
        self.reading: Any = None
        if config.reading_share:
            from course_lib.finetune.reading import ReadingRows

            self.reading = ReadingRows(config.data, tok, config.context, config.seed)

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
        if self.reading is not None and step >= config.decay_from:
            rng = np.random.default_rng((config.seed, 1, step))
            for index in np.flatnonzero(rng.random(len(batch)) < config.reading_share):
                batch[index] = self.reading.row(rng)
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


class _Log:
    """``history.jsonl`` and TensorBoard, written by the main process."""

    def __init__(self, out: Path, active: bool) -> None:
        self.out, self.active = out, active
        self.board: Any = None

    def __enter__(self) -> _Log:
        if self.active:
            self.handle = open(self.out / "history.jsonl", "a", encoding="utf-8")
            with contextlib.suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(str(self.out / "tensorboard"))  # type: ignore[no-untyped-call]
        return self

    def write(self, row: dict[str, float]) -> None:
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


def _cut_history(path: Path, step: int) -> None:
    """Drop the rows after ``step`` (they are run again) and a torn last line."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            if json.loads(line)["step"] <= step:
                kept.append(line)
    files.write_text(path, "".join(line + "\n" for line in kept))
