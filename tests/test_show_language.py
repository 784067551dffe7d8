"""The figures of language modeling show every value that is given."""

from __future__ import annotations

import matplotlib
import pytest

from course_lib.show import language, plots

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def _close() -> None:
    import matplotlib.pyplot as plt

    plt.close("all")


def test_before_and_after_prints_each_value_and_names_each_model() -> None:
    figure = language.before_after(
        {"handbook": (110.2, 60.1), "general": (52.0, 75.5)}, ["base", "tuned"], xlabel="perplexity"
    )
    (axes,) = figure.axes
    printed = {t.get_text() for t in axes.texts}
    assert printed == {"110.2", "60.1", "52.0", "75.5"}
    assert [t.get_text() for t in axes.get_yticklabels()] == ["general", "handbook"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["base", "tuned"]


def test_distributions_mark_what_is_struck_out() -> None:
    figure = language.distributions(
        {"as it is": [(" a$b", 0.6), (" c", 0.4)], "top-k 1": [(" a$b", 1.0), (" c", 0.0)]}
    )
    left, right = figure.axes
    assert [t.get_text().strip() for t in left.texts] == ["60", "40"]
    assert [t.get_text().strip() for t in right.texts] == ["100", "out"]
    figure.canvas.draw()  # a dollar sign in a token is no formula


def test_written_texts_lie_beside_a_persons() -> None:
    figure = language.written({"greedy": (2.0, 0.7), "hot": (900.0, 0.0)}, (60.0, 0.01))
    names = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert names == ["greedy", "hot", "a person"]


def test_a_long_learning_curve_is_smoothed_and_says_so() -> None:
    steps = [{"step": i, "loss": 2.0 + (-1) ** i} for i in range(400)]
    held_out = [{"step": i, "validation_loss": 2.0} for i in range(0, 400, 50)]
    (axes,) = plots.learning_curve([*steps, *held_out]).axes
    pale, mean, validation = axes.get_lines()
    assert list(pale.get_ydata()) == [row["loss"] for row in steps]
    assert abs(mean.get_ydata() - 2.0).max() == pytest.approx(0, abs=1e-9)
    assert len(validation.get_ydata()) == len(held_out)
    told = [t.get_text() for t in axes.get_legend().get_texts()]
    assert told == ["training, running mean", "validation"]
    (axes,) = plots.learning_curve(steps[:12]).axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["training"]
