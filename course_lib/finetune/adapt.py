"""LoRA adapters through PEFT: put in, merged, saved beside the model.

A LoRA adapter leaves a weight ``W`` as it is and trains two thin matrices beside it, so that
the layer computes ``W x + (alpha / rank) B A x``, with ``A`` of ``[rank, in]`` and ``B`` of
``[out, rank]``, which starts at zero (Hu et al. 2021, https://arxiv.org/abs/2106.09685).
PEFT puts the adapters into the model in place, so the training loop sees an ordinary model.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from course_lib.errors import ModelError, UnknownNameError, UsageError

# Names of the matrices in a decoder layer: those of attention, then those of the feed-forward.
FAMILIES = {
    "Llama": (
        ("q_proj", "k_proj", "v_proj", "o_proj"),
        ("gate_proj", "up_proj", "down_proj"),
    ),
    "GPT-2": (("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj")),
    "GPT-NeoX": (
        ("attention.query_key_value", "attention.dense"),
        ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    ),
}
_TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}


def add_lora(
    model: Any,
    *,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    targets: str = "all",
    first_layer: int = 0,
    seed: int = 0,
) -> Any:
    """Put LoRA adapters into ``model`` in place; everything but them and a new head is frozen.

    Args:
        model: a transformers model with a head, as ``model.load_base`` gives it.
        rank: inner width of an adapter.
        alpha: an adapter's output counts ``alpha / rank`` times.
        dropout: share of an adapter's inputs dropped in training.
        targets: ``all`` matrices of a layer, those of ``attention``, or names after commas
            such as ``q_proj,v_proj``.
        first_layer: layers below this one get no adapter.
        seed: of the matrices ``A``.

    Returns:
        The ``peft.PeftModel`` around ``model``, for :func:`save` and :func:`merge`. Train and
        evaluate ``model`` itself.

    Raises:
        UsageError: for a rank below 1, a layer or a name that is not there.
        ModelError: when ``all`` or ``attention`` is asked of an unknown architecture.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from course_lib.finetune.model import layers_of

    layers = len(layers_of(model))
    _check(rank, alpha, dropout, first_layer, layers)
    names, transposed = _targets(model, targets)
    kind = next((t for n, t in _TASK_TYPES.items() if type(model).__name__.endswith(n)), None)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=names,
        layers_to_transform=list(range(first_layer, layers)) if first_layer else None,
        fan_in_fan_out=transposed,
        task_type=kind or "CAUSAL_LM",
    )
    torch.manual_seed(seed)
    with _quiet():
        return get_peft_model(model, config)


def from_settings(model: Any, settings: Mapping[str, Mapping[str, Any]], seed: int) -> Any:
    """Put in the adapters that a run's resolved settings ask for; None when they ask for none.

    Args:
        model: already frozen as ``freeze`` says: with a number, layers below get no adapter.
        settings: each as ``{"value": ..., "reason": ...}``, from ``settings.resolve``.
        seed: of the adapters.

    Raises:
        UsageError: for ``freeze=base``, which leaves no layer to adapt, and as :func:`add_lora`.
    """
    value = {name: entry["value"] for name, entry in settings.items()}
    if value["adapter"] == "none":
        return None
    if value["freeze"] == "base":
        raise UsageError(
            "adapter=lora trains beside the layers that freeze=base holds still",
            next_step="leave freeze away, or give the number of lower layers without adapter",
        )
    return add_lora(
        model,
        rank=value["lora_rank"],
        alpha=value["lora_alpha"],
        dropout=value["lora_dropout"],
        targets=value["lora_targets"],
        first_layer=0 if value["freeze"] == "none" else int(value["freeze"]),
        seed=seed,
    )


def merge(adapter: Any) -> Any:
    """Add the adapters to the weights they stand beside; give the plain model, changed in place."""
    return adapter.merge_and_unload()


def save(adapter: Any, folder: Path | str, base: str = "") -> None:
    """Save adapters and new head alone, as ``peft.PeftModel.from_pretrained`` takes them.

    Args:
        adapter: from :func:`add_lora`, not merged yet.
        folder: gets ``adapter_config.json``, ``adapter_model.safetensors`` and a manifest.
        base: the base's name for the file, in place of its path on this machine.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    from course_lib import files
    from course_lib.finetune.checkpoint import write_manifest

    config = copy.copy(adapter.peft_config["default"])
    config.base_model_name_or_path, config.inference_mode = base or None, True
    state = get_peft_model_state_dict(adapter, save_embedding_layers=False)
    with files.new_folder(folder) as temporary:
        config.save_pretrained(str(temporary))
        plain = {k: v.detach().cpu().contiguous() for k, v in state.items()}
        save_file(plain, temporary / "adapter_model.safetensors")
        write_manifest(temporary)


def finish(adapter: Any, folder: Path, base: str) -> None:
    """End a run: :func:`save` and :func:`merge`; for None, take away an earlier run's folder."""
    if adapter is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        save(adapter, folder, base)
        merge(adapter)


def _check(rank: int, alpha: int, dropout: float, first_layer: int, layers: int) -> None:
    """Refuse sizes that cannot work."""
    if rank < 1 or not 0 <= dropout < 1 or alpha < 1:
        raise UsageError(
            "LoRA cannot be set up like this",
            got=f"rank {rank}, alpha {alpha}, dropout {dropout}",
            expected="rank and alpha of at least 1, dropout from 0 to below 1",
        )
    if not 0 <= first_layer < layers:
        raise UsageError(
            "no layer is left to adapt",
            got=f"{first_layer} as the first layer",
            expected=f"a number from 0 to {layers - 1}: this base has {layers} layers",
        )


def _targets(model: Any, wanted: str) -> tuple[list[str], bool]:
    """Give the names of the matrices to adapt, and whether they are stored transposed."""
    import torch
    from transformers.pytorch_utils import Conv1D

    from course_lib.finetune.model import layers_of

    layer = layers_of(model)[0]
    there = {n: m for n, m in layer.named_modules() if isinstance(m, torch.nn.Linear | Conv1D)}

    def matching(name: str) -> list[Any]:
        return [m for n, m in there.items() if f".{n}".endswith(f".{name}")]

    if wanted in ("all", "attention"):
        known = [f for f in FAMILIES.values() if all(matching(n) for n in f[0])]
        if not known:
            raise ModelError(
                "the matrices of this architecture are not known by name",
                got=type(model).__name__,
                next_step=f"name them, as in --set lora_targets={','.join(list(there)[:2])}",
            )
        attention, rest = known[0]
        names = [n for n in attention + (rest if wanted == "all" else ()) if matching(n)]
    else:
        names = [n.strip() for n in wanted.split(",")]
    for name in names:
        if not name or not matching(name):
            short = {n.rpartition(".")[2] for n in there}
            raise UnknownNameError("LoRA target", name, {*short, "all", "attention"})
    kinds = {isinstance(m, Conv1D) for n in names for m in matching(n)}
    if len(kinds) > 1:
        raise UsageError("Linear and Conv1D matrices need adapters of their own", got=wanted)
    return names, kinds.pop()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what peft and the packages it looks for say about their own affairs."""
    loggers = [logging.getLogger(n) for n in ("torchao", "torch.utils._pytree")]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
