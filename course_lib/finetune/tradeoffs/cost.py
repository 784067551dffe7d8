"""What a training costs: operations by hand, this machine's speed, time and memory elsewhere.

Every figure of another machine is an argument; nothing here knows a device by name.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from course_lib import files
from course_lib.errors import UsageError

FLOPS_A_TOKEN = 6  # for each parameter: 2 forward, 2 for the inputs' gradients, 2 for its own


def training_flops(parameters: float, tokens: float) -> float:
    """Give the floating-point operations of training all parameters (Kaplan et al. 2020).

    Each parameter of a matrix is used once a token, in a multiplication and an addition
    (2); the backward pass does that twice more. Attention's products between tokens,
    norms and the optimizer are left out: little, for texts shorter than the model is wide.

    Args:
        parameters: those in matrices that multiply; see :func:`multiplying`.
        tokens: all that pass through, over all epochs.
    """
    return FLOPS_A_TOKEN * parameters * tokens


def multiplying(model: Any) -> int:
    """Count the parameters that multiply: matrices, but no table in which tokens are looked up.

    An embedding that is also the output layer counts when the model has that layer.
    """
    import torch

    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    out = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if out is not None:
        tables -= {id(out.weight)}
    return sum(p.numel() for p in model.parameters() if p.dim() == 2 and id(p) not in tables)


def measured_speed(size: int = 1024, seconds: float = 0.5) -> float:
    """Multiply square matrices for a while; give this machine's operations a second.

    That is near the most it can do in float32 (on a GPU, in its default precision).
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    one, two = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    (one @ two).sum().item()
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        (one @ two)[0, 0].item()  # waits for a GPU, too
        rounds += 1
    return 2 * size**3 * rounds / (time.perf_counter() - began)


def training_seconds(
    flops: float, *, peak: float, share: float, devices: int = 1, scaling: float = 1.0
) -> float:
    """Forecast a training elsewhere.

    Args:
        flops: of the whole training.
        peak: operations a second one device can do, from its data sheet or measured.
        share: how much of it a training reaches; on the small side for small models.
        devices: how many work side by side.
        scaling: how much of its speed each keeps beside the others.

    Raises:
        UsageError: for a number that cannot be.
    """
    if not (peak > 0 and devices >= 1 and 0 < share <= 1 and 0 < scaling <= 1):
        raise UsageError(
            "no device is like this",
            got=f"peak {peak}, share {share}, devices {devices}, scaling {scaling}",
            expected="a peak above 0, shares above 0 and up to 1, at least one device",
        )
    return flops / (peak * share * devices * (scaling if devices > 1 else 1.0))


def training_bytes(parameters: float, trained: float | None = None, *, each: int = 4) -> float:
    """Give the memory of weights, gradients and AdamW's two moments; activations come on top.

    Args:
        parameters: all of the model; trained: those that learn, all when None.
        each: bytes a number, 4 for float32.
    """
    learning = parameters if trained is None else trained
    return each * (parameters + 3 * learning)


def seconds_kept(runs: Path | str, pattern: str) -> list[float]:
    """Collect the training seconds of every run and every sweep's trial under a folder.

    Args:
        runs: the folder of run folders.
        pattern: of the names to look into, such as ``"07-*"``.
    """
    found: list[float] = []
    for folder in sorted(Path(runs).glob(pattern)):
        for path in sorted(folder.rglob("run.json")):
            found.append(float(files.read_json(path)["seconds"]))
        for path in sorted(folder.rglob("sweep.json")):
            trials = files.read_json(path)["trials"]
            found += [float(t["seconds"]) for t in trials if t.get("state") != "waiting"]
    return found
