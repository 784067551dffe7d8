"""Frozen layers run once: their outputs are kept, and only the layers above are trained from them.

With the layers below ``k`` frozen and nothing random in them, a text's hidden states there are
the same in every epoch. They are computed once, kept in float32, and go to a temporary file
once they are many. While training, the frozen layers let everything pass and the last of them
hands out what was kept, so the training loop, the batches and the checkpoints stay as they are.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from course_lib.errors import ModelError, StorageError, UsageError
from course_lib.finetune import flat
from course_lib.finetune.batch import Batch, collate, plain_batches
from course_lib.finetune.model import layers_of
from course_lib.finetune.records import Prepared, TrainConfig, TrainResult
from course_lib.finetune.train import OnStep, train

BUDGET = 8192  # padded tokens in one pass through the frozen layers


@dataclass(frozen=True)
class Reused:
    """Rows whose ids are places among kept hidden states.

    Attributes:
        train, validation: take the place of the rows given, in the same order.
        layers: how many layers from below are not run any more.
        bytes: what the hidden states take; seconds: what computing them took.
    """

    train: Prepared
    validation: Prepared | None
    layers: int = 0
    bytes: int = 0
    seconds: float = 0.0


def frozen_depth(model: Any) -> int:
    """Give how many decoder layers from below have no weight that is trained."""
    depth = 0
    for layer in layers_of(model):
        if any(p.requires_grad for p in layer.parameters()):
            break
        depth += 1
    return depth


@contextlib.contextmanager
def reuse(
    model: Any,
    train_set: Prepared,
    validation: Prepared | None,
    *,
    pad_id: int,
    mixed: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Reused]:
    """Run the frozen layers once; inside the block ``model`` starts from what they gave.

    Args:
        model: frozen as it will be trained; whole again after the block.
        train_set, validation: encoded rows; validation may be None.
        pad_id: the padding token.
        mixed: training rows will be trained under bfloat16 autocast, so they are kept from it.
        say: gets one line before the pass.

    Yields:
        The rows to train on, with sizes.

    Raises:
        UsageError: when no layer is frozen, or when something below is trained or random.
        ModelError: when the architecture cannot be started from a layer.
        StorageError: when the hidden states do not fit the disk.
    """
    began = time.monotonic()
    model.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    few = range(min(8, len(train_set)))  # rows to try it on
    sample = collate(train_set, few, pad_id)
    depth, width, dtype = _checked(model, sample)
    parts = [train_set] if validation is None else [train_set, validation]
    tokens = sum(len(part.ids) for part in parts)
    size = tokens * width * np.dtype(dtype).itemsize
    _room_for(size)
    say(f"the lowest {depth} layers run once over {tokens:,} tokens; {size / 1e6:,.0f} MB kept")
    kept, begin = flat.Flat(), (0, len(train_set.ids))
    moved = [
        _keep(model, depth, part, pad_id, mixed and not i, kept, begin[i], dtype)
        for i, part in enumerate(parts)  # validation is never under autocast
    ]
    memory = _Memory(kept.done().view(dtype).reshape(-1, width), pad_id)
    expected = _top(model, sample, mixed)
    with _started_at(model, depth, memory):
        found = _top(model, collate(moved[0], few, pad_id), mixed)
        _same(model, expected, found, mixed)
        seconds = time.monotonic() - began
        yield Reused(moved[0], moved[1] if moved[1:] else None, depth, size, seconds)


def train_cached(
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
    """Train as ``train.train`` does, the frozen layers run once; same losses and weights.

    Takes, gives and raises what ``train.train`` does, and raises as :func:`reuse`; ``seconds``
    counts the one pass too. A checkpoint of either can be resumed by the other.
    """
    options: dict[str, Any] = {"pad_id": pad_id, "out": out, "resume": resume}
    mixed = config.precision == "bfloat16"
    with reuse(model, data, validation, pad_id=pad_id, mixed=mixed) as kept:
        result = train(model, kept.train, kept.validation, config, on_step=on_step, **options)
    return replace(result, seconds=result.seconds + kept.seconds)


def _run(model: Any, batch: Batch) -> Any:
    """Run a batch through the model without its head."""
    device = next(model.parameters()).device
    return model.base_model(**{k: batch[k].to(device) for k in ("input_ids", "attention_mask")})


class _Reached(Exception):
    """Carries the output of the last frozen layer out of a forward pass."""


def _below(model: Any, depth: int, batch: Batch) -> torch.Tensor:
    """Run the layers below ``depth`` alone; give the output of the last."""

    def stop(module: Any, args: Any, output: Any) -> None:
        raise _Reached(output)

    handle = layers_of(model)[depth - 1].register_forward_hook(stop)
    try:
        _run(model, batch)
    except _Reached as reached:
        if isinstance(reached.args[0], torch.Tensor):
            return reached.args[0]
    finally:
        handle.remove()
    raise ModelError("the frozen layers cannot be run alone", got=type(model).__name__)


def _checked(model: Any, batch: Batch) -> tuple[int, int, type]:
    """Refuse what cannot be reused; give depth, width and dtype of the hidden states."""
    depth, there = frozen_depth(model), len(layers_of(model))
    if not depth:
        raise UsageError(
            "no layer is frozen, so there is nothing to keep",
            expected=f"freeze from 1 to {there}, or base; this base has {there} layers",
            next_step="give --set freeze=2, or leave features=cached away",
        )
    model.train()
    with torch.enable_grad():
        hidden, again = _below(model, depth, batch), _below(model, depth, batch)
    if hidden.requires_grad:
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        found = torch.autograd.grad(hidden.sum(), [p for _, p in trained], allow_unused=True)
        names = [n for (n, _), g in zip(trained, found, strict=True) if g is not None]
        raise UsageError(
            f"below layer {depth} something is trained, so its outputs change",
            got=", ".join(names[:3]) or "a hook with gradients",
            next_step="freeze it too, or leave features=cached away",
        )
    if not torch.allclose(hidden, again, rtol=1e-4, atol=1e-6):
        loose = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout) and m.p]
        raise UsageError(
            f"below layer {depth} something is random, so its outputs change",
            got=", ".join(loose[:3]) or "noise on the embeddings, or dropout in attention",
            next_step="set the base's dropout to 0, or leave features=cached away",
        )
    return depth, hidden.shape[-1], np.float64 if hidden.dtype == torch.float64 else np.float32


def _room_for(size: int) -> None:
    """Refuse hidden states of ``size`` bytes when they would go to a disk without that room."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > 4 * flat.SPILL and size > free:
        raise StorageError(
            f"the hidden states of the frozen layers take {size / 1e9:.1f} GB of disk",
            got=f"{free / 1e9:.1f} GB free",
            next_step="point TMPDIR to a larger disk, or take fewer rows",
        )


@torch.no_grad()
def _keep(
    model: Any, depth: int, data: Prepared, pad_id: int, mixed: bool, kept: Any, begin: int,
    dtype: type,
) -> Prepared:  # fmt: skip
    """Append the hidden states of ``data`` to ``kept``; give its rows as places there."""
    model.eval()
    places = np.empty(len(data.ids), dtype=np.int64)
    device = next(model.parameters()).device
    for rows, batch in plain_batches(data, budget=BUDGET, pad_id=pad_id):
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            hidden = _below(model, depth, batch)
        real = hidden[batch["attention_mask"].bool().to(device)].cpu()
        values = (real if dtype is np.float64 else real.float()).numpy()
        kept.add(values.reshape(-1).view(np.int32))  # the same bits; Flat holds int32
        for row in rows:
            start, end = int(data.offsets[row]), int(data.offsets[row + 1])
            places[start:end] = np.arange(begin, begin + end - start)
            begin += end - start
    return replace(data, ids=places + pad_id + 1)  # above the padding id


class _Memory:
    """The kept hidden states, ``[tokens, width]``, and the ids of the batch under way."""

    def __init__(self, states: np.ndarray, pad_id: int) -> None:
        self.states, self.pad_id = states, pad_id
        self.ids = torch.zeros((1, 1), dtype=torch.long)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Memory:
        return copy.copy(self)  # a forecast's copy of the model reads the same states

    def read(self, like: torch.Tensor) -> torch.Tensor:
        """Give the hidden states of the batch, ``[batch, seq, width]``, zeros at padding."""
        places = self.ids.cpu().numpy() - self.pad_id - 1
        out = np.zeros((*places.shape, self.states.shape[1]), dtype=self.states.dtype)
        out[places >= 0] = self.states[places[places >= 0]]
        return torch.from_numpy(out).to(like.device, like.dtype)


class _Ids(torch.nn.Module):
    """Stands where the embedding was: notes the ids."""

    def __init__(self, memory: _Memory, like: torch.Tensor) -> None:
        super().__init__()
        self.memory, self.dtype = memory, like.dtype

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.memory.ids = ids
        width = self.memory.states.shape[1]
        return torch.zeros((*ids.shape, width), dtype=self.dtype, device=ids.device)


class _Layer(torch.nn.Module):
    """Stands where a frozen layer was: lets its input pass, or gives the kept hidden states."""

    def __init__(self, memory: _Memory | None) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, hidden: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        return hidden if self.memory is None else self.memory.read(hidden)


@contextlib.contextmanager
def _started_at(model: Any, depth: int, memory: _Memory) -> Iterator[None]:
    """Take the embedding and the lowest ``depth`` layers out of ``model`` for a while."""
    layers, embedding = layers_of(model), model.get_input_embeddings()
    taken = list(layers)[:depth]
    try:
        model.set_input_embeddings(_Ids(memory, embedding.weight))
        for place in range(depth):
            layers[place] = _Layer(memory if place == depth - 1 else None)
        yield
    finally:
        for place, layer in enumerate(taken):
            layers[place] = layer
        model.set_input_embeddings(embedding)


@torch.no_grad()
def _top(model: Any, batch: Batch, mixed: bool) -> torch.Tensor:
    """Give the last hidden states of a batch's real tokens, ``[tokens, width]``."""
    model.eval()
    with torch.autocast(next(model.parameters()).device.type, torch.bfloat16, enabled=mixed):
        found = _run(model, batch).last_hidden_state.cpu()
    return found[batch["attention_mask"].bool()].float()  # type: ignore[no-any-return]


def _same(model: Any, expected: torch.Tensor, found: torch.Tensor, mixed: bool) -> None:
    """Make sure that starting from a layer changes nothing."""
    off = float((found - expected).norm() / expected.norm())
    if not off < (0.05 if mixed else 1e-4):
        raise ModelError(
            "this architecture gives something else when started from a layer; use fresh features",
            got=f"{type(model).__name__}, {off:.1%} off",
        )
