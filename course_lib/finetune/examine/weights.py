"""How far training moved the weights of each part of a model: what weight histograms show."""

from __future__ import annotations

from typing import Any

import numpy as np

from course_lib.errors import UsageError
from course_lib.finetune.model import layers_of


def changes(before: Any, after: Any) -> dict[str, np.ndarray]:
    """Give, by part of the model, what training added to each of its weights.

    Args:
        before: the model as it was before training.
        after: the same architecture, trained.

    Returns:
        Flat float32 arrays named ``embeddings``, ``layer 1`` (the lowest) and up, ``head``,
        and ``rest`` for what belongs to none of them, such as a last norm.

    Raises:
        UsageError: when the two do not have the same parameters.
    """
    old = dict(before.named_parameters())
    new = dict(after.named_parameters())
    shapes = [{n: tuple(p.shape) for n, p in found.items()} for found in (old, new)]
    if shapes[0] != shapes[1]:
        odd = sorted(n for n in old.keys() | new.keys() if shapes[0].get(n) != shapes[1].get(n))
        raise UsageError(
            "the two models do not have the same parameters",
            got=", ".join(odd[:3]),
            expected="one model before and after training",
        )
    found: dict[str, list[np.ndarray]] = {}
    place = _places(after)
    for name, value in new.items():
        moved = value.detach().float().cpu().numpy() - old[name].detach().float().cpu().numpy()
        found.setdefault(place.get(name, "rest"), []).append(moved.ravel())
    order = sorted(found, key=lambda part: (_RANK.get(part.split()[0], 1), len(part), part))
    return {part: np.concatenate(found[part]) for part in order}


_RANK = {"embeddings": 0, "layer": 1, "rest": 2, "head": 3}


def _places(model: Any) -> dict[str, str]:
    """Give the part of each parameter that belongs to one."""
    names = {id(p): n for n, p in model.named_parameters()}
    found = {n: "head" for n in names.values() if not n.startswith(f"{model.base_model_prefix}.")}
    for number, layer in enumerate(layers_of(model), 1):
        found |= {names[id(p)]: f"layer {number}" for p in layer.parameters()}
    table = model.get_input_embeddings()
    return found | {names[id(p)]: "embeddings" for p in table.parameters()}


def table(before: Any, after: Any) -> list[tuple[str, int, float]]:
    """Give each part's name, number of weights, and relative change.

    The relative change is the length of what was added divided by that of the weights before;
    a part that started at zero and moved has an infinite one.
    """
    moved = changes(before, after)
    whole = {n: p.detach().float().cpu().numpy().ravel() for n, p in before.named_parameters()}
    place = _places(before)
    rows = []
    for part, added in moved.items():
        inside = [v for n, v in whole.items() if place.get(n, "rest") == part]
        start, step = float(np.linalg.norm(np.concatenate(inside))), float(np.linalg.norm(added))
        rows.append((part, len(added), step / start if start else float("inf") if step else 0.0))
    return rows
