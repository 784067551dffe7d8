"""Making a model small: int8 weights with torchao on a CPU.

Of a run's model the ``Linear`` layers are quantised, weights symmetrically with one scale a
row. The last one stays float: a classifier's head is tiny, and a model's output layer is tied
to its embeddings, so that a second, quantised copy of the table would make the model larger.
Embeddings and norms stay float32.
``dynamic`` also rounds the activations to int8, a scale a token, and multiplies integers;
``weights`` keeps activations in float32. Saved as safetensors with torchao's description of
each tensor, so nothing is pickled, and loaded by ``load_run`` or plain transformers.
"""

from __future__ import annotations

import importlib
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from course_lib import files
from course_lib.errors import (
    EnvironmentProblem,
    ModelError,
    UnknownNameError,
)
from course_lib.finetune import checkpoint, lineage, runs
from course_lib.finetune import model as models

KINDS = ("dynamic", "weights")


def _torchao(module: str) -> Any:
    """Import a module of torchao without its notices on GPU kernels that do not load here."""
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module(module)
    finally:
        logging.disable(logging.NOTSET)


def int8_range() -> str:
    """Try what int8 products this processor gets right, against the same in 64-bit integers.

    Processors without VNNI instructions add pairs of products in 16 bits, which overflow
    without a sign of it once both factors are large; factors of half the range are safe.

    Returns:
        ``full`` or ``reduced`` (only factors from -64 to 63 multiply exactly).

    Raises:
        EnvironmentProblem: when not even those do, or the kernel is missing.
    """
    int_scaled_matmul = _torchao("torchao.kernel").int_scaled_matmul

    def exact(limit: int) -> bool:
        draw = torch.Generator().manual_seed(0)
        one, other = (
            torch.randint(-limit, limit, shape, generator=draw, dtype=torch.int8)
            for shape in ((16, 256), (256, 64))
        )
        for _ in range(2):
            right = (one.long() @ other.long()).float()
            if not torch.equal(int_scaled_matmul(one, other, torch.ones(16, 1)), right):
                return False
            one, other = torch.full_like(one, limit - 1), torch.full_like(other, limit - 1)
        return True

    try:
        found = next((name for name, n in (("full", 128), ("reduced", 64)) if exact(n)), "")
    except RuntimeError as error:
        found, why = "", str(error).splitlines()[0]
    else:
        why = "wrong sums"
    if not found:
        raise _lack("multiplies no int8 numbers exactly", why)
    return found


def _lack(problem: str, got: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"this processor {problem}",
        got=got,
        expected="a processor with VNNI (AVX512-VNNI, AVX-VNNI) or AMX instructions",
        next_step="use kind='weights', which multiplies in float32",
    )


def is_quantised(run: Path | str) -> bool:
    """Tell whether the model of a run folder is quantised already."""
    config = files.read_json(Path(run) / "model" / "config.json")
    return "quantization_config" in config


def shrink_run(run: Path | str, out: Path | str, *, kind: str = "dynamic") -> dict[str, Any]:
    """Quantise a finished run's model to int8 and write it as a run of its own.

    Args:
        run: the run folder; its model is verified first.
        out: the new run folder: ``model/``, ``history.jsonl`` and ``run.json``, whose
            ``parents`` begin with ``run`` and whose ``metrics.before`` are those of ``run``;
            ``metrics.after`` is empty: ``footprint.compare`` measures both.
        kind: ``dynamic`` or ``weights``.

    Returns:
        The content of ``run.json``; ``quantised`` in it says how many layers were.

    Raises:
        ModelError: when the folder is no finished run, or quantised already.
        CheckpointError: when a file of the model was changed.
        EnvironmentProblem: when the processor cannot multiply int8 numbers exactly.
        UnknownNameError: for an unknown kind.
    """
    run, out = Path(run), Path(out)
    if kind not in KINDS:
        raise UnknownNameError("kind of quantisation", kind, KINDS)
    if (run / "model" / "config.json").is_file() and is_quantised(run):
        raise ModelError(
            "this model is quantised already",
            where=str(run),
            next_step="quantise the run it was made from, named in the parents of its run.json",
        )
    _, tokenizer = runs.load_run(run)
    facts = files.read_json(run / "run.json")
    reduced = kind == "dynamic" and int8_range() == "reduced"
    small = _quantised(run / "model", facts["head"], kind, reduced)
    layers = [m for m in small.modules() if isinstance(m, torch.nn.Linear)]
    quantised = [m for m in layers if type(m.weight).__name__ == "Int8Tensor"]
    if not quantised:
        raise ModelError(
            "this model has no Linear layers to quantise",
            where=str(run),
            got=type(small).__name__,
            next_step="GPT-2 and its like keep their weights in Conv1D layers; use a base with "
            "Linear layers, such as the embedded one",
        )
    facts = _record(run, facts, kind, "reduced" if reduced else "full", len(layers), len(quantised))
    with files.new_folder(out) as folder, models.quiet():
        small.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        checkpoint.write_manifest(folder / "model")
        shutil.copy(run / "history.jsonl", folder / "history.jsonl")
        files.write_json(folder / "run.json", facts)
    return facts


def _record(
    run: Path, facts: dict[str, Any], kind: str, how: str, layers: int, quantised: int
) -> dict[str, Any]:
    """Give the run.json of the quantised run from that of the run it is made from."""
    parents = lineage.parents_of(str(run / "model"))
    made_from = {"name": parents[0]["name"], "sha256": parents[0]["model_sha256"]}
    done = {"kind": kind, "range": how, "layers": quantised, "left_float": layers - quantised}
    return {
        **facts,
        "quantised": done,
        "base": {**facts["base"], **made_from},
        "parents": parents,
        "metrics": {**facts["metrics"], "before": facts["metrics"]["after"], "after": {}},
    }


def _quantised(folder: Path, head: str, kind: str, reduced: bool) -> Any:
    """Load a float model with its Linear layers turned to int8 on the way."""
    import transformers

    quantization = _torchao("torchao.quantization")
    how = (
        quantization.Int8DynamicActivationInt8WeightConfig(
            set_inductor_config=False, reduce_range=reduced
        )
        if kind == "dynamic"
        else quantization.Int8WeightOnlyConfig(set_inductor_config=False)
    )
    with models.quiet():
        return getattr(transformers, models.HEADS[head]).from_pretrained(
            folder,
            dtype=torch.float32,
            quantization_config=transformers.TorchAoConfig(quant_type=how),
        ).eval()  # fmt: skip


def load_shrunk(run: Path | str) -> tuple[Any, Any]:
    """Load a quantised run's verified model and tokenizer, if this processor computes it right.

    A model made on another machine may use the full int8 range where this processor's sums
    overflow: its answers would be silently wrong.

    Raises:
        EnvironmentProblem: naming what the processor lacks.
        ModelError: when the run is not finished or not quantised.
        CheckpointError: when a file of the model was changed.
    """
    facts = files.read_json(Path(run) / "run.json") if (Path(run) / "run.json").is_file() else {}
    how = facts.get("quantised")
    if facts and not how:
        raise ModelError("this run is not quantised", where=str(run), next_step="use load_run")
    if how and how["kind"] == "dynamic" and how["range"] == "full" and int8_range() != "full":
        raise _lack("overflows on this model's int8 products", "a model of the full int8 range")
    return runs.load_run(run)
