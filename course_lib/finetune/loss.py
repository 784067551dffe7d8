"""Token loss, fused with the output layer.

The logits of a batch, ``[tokens, vocabulary]``, are by far its largest tensor:
8,192 numbers a token here. Computing them in chunks, with their gradient at
once, keeps them in the processor's cache and never stores them all.

A loss is always a *sum* over counted tokens; whoever divides, divides once by
the count of the whole optimizer step. So the result does not depend on how the
rows were batched.
"""

from __future__ import annotations

from typing import Any

import torch

IGNORE = -100  # label of a token that is not counted, as in torch's cross_entropy
CHUNK = 512


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any, need_grad: bool) -> Any:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        weight = weight.to(hidden.dtype)
        grad_hidden = torch.empty_like(hidden) if need_grad else None
        grad_weight = torch.zeros(weight.shape, dtype=wide, device=weight.device)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        for start in range(0, hidden.shape[0], CHUNK):
            part, target = hidden[start : start + CHUNK], labels[start : start + CHUNK]
            logits = (part @ weight.T).to(wide)
            log_norm = torch.logsumexp(logits, -1)
            total += (log_norm - logits.gather(1, target[:, None]).squeeze(1)).sum()
            if grad_hidden is None:
                continue
            logits.sub_(log_norm[:, None]).exp_()
            logits[torch.arange(len(target), device=logits.device), target] -= 1
            error = logits.to(hidden.dtype)
            grad_hidden[start : start + CHUNK] = error @ weight
            grad_weight += error.T @ part
        if grad_hidden is not None:
            ctx.save_for_backward(grad_hidden, grad_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        (grad,) = grads
        return grad_hidden * grad.to(grad_hidden.dtype), grad_weight * grad, None, None


def fused_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Summed cross-entropy of ``hidden @ weight.T`` against ``labels``.

    Args:
        hidden: last hidden states, ``[tokens, width]``.
        weight: the output layer's matrix, ``[vocabulary, width]``.
        labels: the right next token of each position, ``[tokens]``; rows with
            ``IGNORE`` are left out.

    Returns:
        The sum in nats, a scalar in float32 (float64 for float64 input).
    """
    counted = labels != IGNORE
    if not bool(counted.all()):
        hidden, labels = hidden[counted], labels[counted]
    need_grad = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    return _FusedCrossEntropy.apply(hidden, weight, labels, need_grad)  # type: ignore[no-any-return, no-untyped-call]


@torch.no_grad()
def token_nats(hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each token against ``hidden @ weight.T``, without gradients.

    Args:
        hidden: last hidden states, ``[batch, seq, width]``.
        weight: the output layer's matrix, ``[vocabulary, width]``.
        labels: the right next token of each position, ``[batch, seq]``.

    Returns:
        Nats, float32 (float64 for float64 input) ``[batch, seq]``; 0 where labels are ``IGNORE``.
    """
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    counted = labels != IGNORE
    found = torch.zeros(labels.shape, dtype=wide, device=hidden.device)
    parts = zip(hidden[counted].split(CHUNK), labels[counted].split(CHUNK), strict=True)
    nats = [
        torch.nn.functional.cross_entropy((h @ weight.to(h.dtype).T).to(wide), t, reduction="none")
        for h, t in parts
    ]
    found[counted] = torch.cat(nats)
    return found
