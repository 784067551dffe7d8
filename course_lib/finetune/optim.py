"""Optimizers and learning-rate schedules.

Muon (Jordan et al. 2024) orthogonalises the momentum of each weight matrix with
five Newton-Schulz steps; AdamW (Loshchilov & Hutter 2019) takes the embedding
and the norms. ``torch.optim.Muon`` does those steps in bfloat16 everywhere, which is
slow on processors without bfloat16 units; here the caller chooses the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic of Jordan et al. 2024


def orthogonalise(
    matrix: torch.Tensor, steps: int = 5, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Bring the singular values of ``matrix`` ``[rows, columns]`` near 1 (Newton-Schulz).

    The products run in ``dtype``; the result has the dtype of ``matrix``.
    """
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-7)).to(dtype)
    a, b, c = _COEFFICIENTS
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    flipped: torch.Tensor = x.T if tall else x
    return flipped.to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for matrices: Nesterov momentum, orthogonalised in ``dtype``, decoupled decay."""

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        super().__init__(
            list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every matrix once from its gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(param)
                buffer = state["momentum_buffer"]
                buffer.lerp_(param.grad, 1 - group["momentum"])
                update = orthogonalise(param.grad.lerp(buffer, group["momentum"]), dtype=self.dtype)
                scale = max(1.0, param.size(0) / param.size(1)) ** 0.5
                param.mul_(1 - group["lr"] * group["weight_decay"])
                param.add_(update, alpha=-group["lr"] * scale)


def split_for_muon(
    model: torch.nn.Module,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Split parameters into hidden matrices (for Muon) and the rest (for AdamW)."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, param in model.named_parameters():
        hidden = param.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if hidden else rest).append(param)
    return matrices, rest


def stable_then_decay(step: int, *, warmup: int, decay_from: int, total: int) -> float:
    """Give the factor on the learning rate in a warm-up / stable / decay schedule.

    Linear up to 1 over ``warmup`` steps, 1 until ``decay_from``, then linear to 0
    at ``total`` (Hu et al. 2024). A run can be extended from its stable phase.
    """
    if step < warmup:
        return (step + 1) / warmup
    if step < decay_from:
        return 1.0
    return max(0.0, (total - step) / max(1, total - decay_from))


def schedule_factor(name: str, step: int, *, warmup: int, total: int) -> float:
    """Give the factor on the learning rate for a fine-tune at ``step`` (from 0).

    ``linear`` and ``constant`` are the schedules of ``transformers`` by the same
    names (with warm-up); ``cosine`` falls to 0 along half a cosine.
    """
    if step < warmup:
        return step / max(1, warmup)
    done = (step - warmup) / max(1, total - warmup)
    if name == "constant":
        return 1.0
    if name == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return max(0.0, 1.0 - done)
