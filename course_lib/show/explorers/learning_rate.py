"""Try learning rates on a small real run and lay the curves over each other."""

from __future__ import annotations

import base64
import html
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from course_lib.errors import CourseError, UsageError
from course_lib.show.explorers.panel import panel
from course_lib.show.practices import lines

History = Sequence[Mapping[str, float]]
LOWEST, HIGHEST = 1e-6, 1.0


@dataclass(frozen=True)
class Tried:
    """One run: rate, loss of each step, last validation loss (nan for none), seconds."""

    rate: float
    losses: tuple[tuple[int, float], ...]
    validation: float
    seconds: float

    def verdict(self) -> str:
        """Say how it went, by the mean loss of each half: one batch may be easier than another.

        The two figures are the mean of the first half of the steps and that of the second.
        """
        losses = [loss for _, loss in self.losses]
        if not all(math.isfinite(loss) for loss in losses):
            return "the loss is not a number any more: far too high"
        half = max(1, len(losses) // 2)
        first, last = fmean(losses[:half]), fmean(losses[-half:])
        told = f"training loss {first:.2f}, then {last:.2f}"
        if last > 1.2 * first or max(first, last) > 2 * losses[0]:
            return f"{told}: too high, it diverged"
        if last > first:
            return f"{told}: it did not fall in so few steps"
        moved = first - last >= 0.05 * first
        return told if moved else f"{told}: hardly moved, too low for so few steps"


class RateRuns:
    """Runs that differ in their learning rate alone.

    Args:
        train: from a rate to the rows of a real run's history (``step``, ``loss`` and, in some,
            ``validation_loss``).
        seconds: forecast of one run; once some were made, their own mean is told.
    """

    def __init__(self, train: Callable[[float], History], seconds: float = 0.0) -> None:
        self.train, self.seconds = train, seconds
        self.runs: list[Tried] = []

    def run(self, rate: float) -> Tried:
        """Train at a rate and keep the run; one at the same rate is replaced.

        Raises:
            UsageError: for a rate out of range, or a run without a step.
        """
        if not LOWEST <= rate <= HIGHEST:
            raise UsageError(
                "no rate to try", got=f"{rate:g}", expected=f"from {LOWEST:g} to {HIGHEST:g}"
            )
        began = time.monotonic()
        history = list(self.train(rate))
        if not history:
            raise UsageError("the run made no step", got=f"rate {rate:g}")
        held_out = [row["validation_loss"] for row in history if "validation_loss" in row]
        made = Tried(
            rate,
            tuple((int(row["step"]), float(row["loss"])) for row in history),
            float(held_out[-1]) if held_out else math.nan,
            time.monotonic() - began,
        )
        self.runs = [r for r in self.runs if r.rate != rate] + [made]
        return made

    def forecast(self) -> float:
        """Give the seconds the next run will take."""
        if not self.runs:
            return self.seconds
        return sum(r.seconds for r in self.runs) / len(self.runs)

    def clear(self) -> None:
        """Forget the runs; the seconds they took stay the forecast."""
        self.seconds, self.runs = self.forecast(), []

    def best(self) -> Tried | None:
        """Give the run with the lowest validation loss."""
        finite = [r for r in self.runs if math.isfinite(r.validation)]
        return min(finite, key=lambda r: r.validation, default=None)

    def table(self) -> str:
        """Give the runs as plain text, lowest rate first."""
        out = [
            f"{r.rate:<9.2g} validation loss {r.validation:6.3f}  {r.verdict()} ({r.seconds:.1f} s)"
            for r in sorted(self.runs, key=lambda r: r.rate)
        ]
        best = self.best()
        return "\n".join(
            [*out, f"lowest validation loss so far: rate {best.rate:.2g}"] if best else out
        )

    def figure(self) -> Any:
        """Plot training loss over steps, one line a rate."""
        done = sorted(self.runs, key=lambda r: r.rate)
        starts = [r.losses[0][1] for r in done if math.isfinite(r.losses[0][1])]
        return lines(
            {f"{r.rate:.2g}": r.losses for r in done},
            xlabel="optimizer step", ylabel="training loss (nats)",
            top=2 * max(starts) if starts else None, title="The same run at several rates",
        )  # fmt: skip


def read_rate(text: str) -> float:
    """Read a rate that was typed, such as ``1e-3`` or ``0,001``.

    Raises:
        UsageError: for what is no number.
    """
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise UsageError("not a number", got=repr(text), expected="such as 1e-3") from None


def picture(runs: RateRuns) -> str:
    """Give the figure as an ``<img>`` that carries its content as text; nothing without runs."""
    if not runs.runs:
        return ""
    import matplotlib.pyplot as plt

    figure, held = runs.figure(), io.BytesIO()
    figure.savefig(held, format="png", dpi=110)
    plt.close(figure)
    data = base64.b64encode(held.getvalue()).decode()
    alt = html.escape("Training loss over steps. " + runs.table().replace("\n", "; "), quote=True)
    return f"<img alt='{alt}' src='data:image/png;base64,{data}' style='max-width:100%'>"


def _slider(start: float) -> Any:
    import ipywidgets as widgets

    return widgets.FloatLogSlider(
        value=start, base=10, min=-6, max=0, step=0.25, description="rate", readout_format=".1e",
        continuous_update=False,
    )  # fmt: skip


def learning_rate_explorer(runs: RateRuns, start: float = 1e-3) -> Any:
    """Give a widget: choose a rate by slider or by typing, train, see the curves overlaid.

    Args:
        runs: what is trained, and what was already.
        start: the rate shown first.

    Returns:
        An ``ipywidgets.VBox``.
    """
    import ipywidgets as widgets

    slider = _slider(start)
    typed = widgets.Text(value=f"{start:g}", description="or type", continuous_update=False)
    button = widgets.Button(description="Train", button_style="primary")
    clear = widgets.Button(description="Clear curves")
    status, shown = widgets.HTML(), widgets.HTML()

    def say(text: str) -> None:
        status.value = f"<p role='status'>{html.escape(text)}</p>"

    def show(line: str = "") -> None:
        say(f"{line} A run takes about {max(1, runs.forecast()):.0f} s.".strip())
        table = f"<pre>{html.escape(runs.table())}</pre>" if runs.runs else ""
        shown.value = picture(runs) + table

    def train(_: Any) -> None:
        button.disabled = True
        try:
            rate = read_rate(typed.value)
            say(f"Training at {rate:g} for about {max(1, runs.forecast()):.0f} s …")
            show(f"{rate:g}: {runs.run(rate).verdict()}.")
        except CourseError as error:
            say(f"{error.problem}: {error.got}; expected {error.expected}")
        except (RuntimeError, ValueError) as error:
            say(f"The run failed: {error}")
        finally:
            button.disabled = False

    def forget(_: Any) -> None:
        runs.clear()
        show("Curves cleared.")

    slider.observe(lambda change: setattr(typed, "value", f"{change['new']:.2g}"), "value")
    button.on_click(train)
    clear.on_click(forget)
    show()
    controls = widgets.HBox([slider, typed, button, clear], layout={"flex_flow": "row wrap"})
    return panel([controls, status, shown])
