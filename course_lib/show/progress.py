"""A progress bar that training reports to; a widget in a notebook, a line in a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any


def bar(description: str = "training") -> Callable[[Mapping[str, float]], None]:
    """Give a callback for ``finetune(..., on_step=...)`` that draws a tqdm bar.

    It shows steps done, the time left and the last losses. The environment variable
    ``TQDM_DISABLE=1`` switches it off, as when lessons are rebuilt.

    Args:
        description: printed before the bar.
    """
    if os.environ.get("TQDM_DISABLE"):
        return lambda row: None  # a notebook's bar would leave a picture of its first moment
    from tqdm.auto import tqdm

    shown: list[Any] = []
    losses: dict[str, str] = {}

    def on_step(row: Mapping[str, float]) -> None:
        if not shown:
            made = tqdm(total=int(row["steps"]), initial=int(row["step"]) - 1, desc=description)
            shown.append(made)
        losses["loss"] = f"{row['loss']:.3f}"
        if "validation_loss" in row:
            losses["validation"] = f"{row['validation_loss']:.3f}"
        shown[0].set_postfix(losses, refresh=False)
        shown[0].update()
        if row["step"] == row["steps"]:
            shown[0].close()

    return on_step
