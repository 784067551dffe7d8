"""The pre-trained decoder: its settings, its untrained model, its loss and how it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib import files
from course_lib.finetune import loss
from course_lib.finetune.pretraining import corpus
from course_lib.finetune.pretraining.reading import ANSWER


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of a pre-training run; ``tokens`` counts trained tokens, whole steps only.

    After ``reading_after`` tokens (0: from the start of the decay on), ``reading_share`` of
    each step's rows are reading tasks (see ``reading``); the mean loss over their answers
    alone is added with ``reading_weight``.
    """

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
    branch_from: str = ""
    reading_share: float = 0.0
    reading_weight: float = 0.1
    reading_after: int = 0

    @property
    def tokens_per_step(self) -> int:
        """Tokens in one optimizer step over all processes."""
        return self.rows_per_step * self.context

    @property
    def steps(self) -> int:
        """Optimizer steps up to the token budget."""
        return self.tokens // self.tokens_per_step

    @property
    def reading_from(self) -> int:
        """The first step with reading tasks."""
        if not self.reading_share:
            return self.steps
        return self.reading_after // self.tokens_per_step if self.reading_after else self.decay_from

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
        """Give two sums of next-token losses of ``rows`` ``[batch, context + 1]``, in nats.

        The first is over all counted tokens, the second over those that answer a prompt.
        A token encoded as ``-id - 1`` is read but not counted, one as ``id + ANSWER``
        answers a prompt.
        """
        ids = torch.where(rows < 0, -rows - 1, rows % ANSWER)
        hidden = self.model.model(input_ids=ids[:, :-1]).last_hidden_state
        flat = hidden.reshape(-1, hidden.shape[-1])
        weight = self.model.lm_head.weight
        labels = torch.where(rows < 0, loss.IGNORE, ids)[:, 1:].reshape(-1)
        total = loss.fused_cross_entropy(flat, weight, labels)
        answered = (rows >= ANSWER)[:, 1:].reshape(-1)
        if not bool(answered.any()):
            return torch.stack([total, total * 0])
        answers = loss.fused_cross_entropy(flat[answered], weight, labels[answered])
        return torch.stack([total, answers])


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
