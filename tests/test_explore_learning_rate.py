"""The learning-rate explorer, the bench behind it, costs by hand, and the winner's luck."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from course_lib import files
from course_lib.errors import UsageError
from course_lib.finetune import data, experiment
from course_lib.finetune.baselines import asked, label_likelihood, tfidf_evaluation
from course_lib.finetune.compare import compare_runs
from course_lib.finetune.search.winner import luck, many_trials
from course_lib.finetune.tradeoffs import cost
from course_lib.finetune.tradeoffs.bench import Bench, stopped_at
from course_lib.show import practices
from course_lib.show.explorers.learning_rate import (
    RateRuns,
    learning_rate_explorer,
    picture,
    read_rate,
)

matplotlib.use("agg")
FEW = {"epochs": 2, "batch_size": 8}


@pytest.fixture(scope="module")
def bench(tiny_base: Path) -> Bench:
    return Bench(base=str(tiny_base), train_rows=24, validation_rows=16, test_rows=16)


def sliding(rate: float) -> list[dict[str, float]]:
    """Fall the faster the higher the rate, and explode above 0.1."""
    grows = rate > 0.1
    return [
        {"step": s, "loss": 2.0 * 3**s if grows else 2.0 - 100 * rate * s, "validation_loss": rate}
        for s in (1, 2, 3)
    ]


def test_runs_are_overlaid_replaced_and_judged() -> None:
    runs = RateRuns(sliding, seconds=7)
    assert runs.forecast() == 7
    for rate in (1e-5, 1e-3, 0.5, 1e-3):
        runs.run(rate)
    assert [r.rate for r in runs.runs] == [1e-5, 0.5, 1e-3]
    assert "too low" in runs.runs[0].verdict() and "too high" in runs.runs[1].verdict()
    assert runs.best().rate == 1e-5  # type: ignore[union-attr]
    assert runs.table().splitlines()[-1].endswith("rate 1e-05")
    assert [line.get_label() for line in runs.figure().axes[0].lines] == [
        "1e-05", "0.001", "0.5 (cut at 12.0)",
    ]  # fmt: skip
    assert "alt='Training loss" in picture(runs)


def test_an_easy_first_batch_is_no_divergence() -> None:
    def told(*losses: float) -> str:
        rows = [{"step": i, "loss": loss} for i, loss in enumerate(losses, 1)]
        return RateRuns(lambda rate: rows).run(1e-3).verdict()

    assert "did not fall" in told(1.8, 2.6, 2.7, 2.2, 2.1, 3.0)
    assert "too low" in told(2.1, 2.2, 2.1, 2.1, 2.0, 2.2)
    assert "too high" in told(1.8, 9.0, 12.0, 8.0, 7.0, 6.5)  # jumped at once, then came down a bit
    assert "too" not in told(1.8, 2.6, 2.0, 1.6, 1.4, 1.2)


def test_a_loss_that_is_no_number_is_told_and_drawn_around() -> None:
    runs = RateRuns(lambda rate: [{"step": 1, "loss": 2.0}, {"step": 2, "loss": math.nan}])
    assert "not a number" in runs.run(1.0).verdict()
    assert runs.best() is None and runs.figure()


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), (" 0,01 ", 0.01)])
def test_typed_rates_are_read(text: str, value: float) -> None:
    assert read_rate(text) == value


def parts(box: Any) -> tuple[Any, ...]:
    return (*box.children[0].children, *box.children[1:])


def test_the_widget_trains_keeps_what_was_typed_and_tells_errors() -> None:
    runs = RateRuns(sliding, seconds=3)
    slider, typed, button, clear, status, shown = parts(learning_rate_explorer(runs))
    assert "about 3 s" in status.value
    slider.value = 1e-4
    assert typed.value == "0.0001"
    button.click()
    assert [r.rate for r in runs.runs] == [1e-4] and "<img" in shown.value
    for wrong, told in (("fast", "not a number"), ("7", "no rate to try")):
        typed.value = wrong
        button.click()
        assert told in status.value and typed.value == wrong
    assert not button.disabled and len(runs.runs) == 1
    clear.click()
    assert not runs.runs and "<img" not in shown.value


def test_a_run_that_fails_leaves_the_widget_alive() -> None:
    def broken(rate: float) -> list[dict[str, float]]:
        raise RuntimeError("out of memory <at once>")

    _, _, button, _, status, _ = parts(learning_rate_explorer(RateRuns(broken)))
    button.click()
    assert "out of memory &lt;at once&gt;" in status.value and not button.disabled


def test_the_same_fit_gives_the_same_numbers_and_another_seed_others(bench: Bench) -> None:
    one, two = bench.fit(FEW), bench.fit(FEW)
    assert one.history == two.history and one.test.predictions == two.test.predictions
    assert one.steps == 6 and one.trainable > 1000
    assert bench.fit(FEW, seed=1, measure=False).history != one.history
    assert compare_runs(one.test, bench.tfidf()).rows == 16
    runs = RateRuns(lambda rate: bench.fit({**FEW, "learning_rate": rate}, measure=False).history)
    runs.run(1e-3)
    assert math.isfinite(runs.best().validation)  # type: ignore[union-attr]


def test_early_stopping_is_read_from_a_history_as_the_loop_would(bench: Bench) -> None:
    long = {"epochs": 12, "batch_size": 8, "learning_rate": 0.02}
    whole = bench.fit(long, measure=False)
    real = bench.fit({**long, "patience": 2}, measure=False)
    assert stopped_at(whole.history, 2)[0] == real.steps < whole.steps
    with pytest.raises(UsageError, match="nothing to stop"):
        stopped_at(whole.history, 0)


def test_lora_knows_the_matrices_of_gpt_neox() -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification

    from course_lib.finetune.adapt import add_lora

    shape = GPTNeoXConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, pad_token_id=1,
    )  # fmt: skip
    model = GPTNeoXForSequenceClassification(shape)
    add_lora(model, rank=2)
    names = {n.split(".lora_")[0] for n, p in model.named_parameters() if "lora_A" in n}
    assert len(names) == 2 * 4


def test_a_bench_cuts_its_rows_once(bench: Bench) -> None:
    assert len(bench.splits.train) == 24
    with pytest.raises(UsageError, match="cut once"):
        bench.fit({"train_rows": 4})


def test_cached_and_lora_fits_train_less(bench: Bench) -> None:
    whole = bench.fit(FEW, measure=False).trainable
    for settings in ({"freeze": "1", "features": "cached"}, {"adapter": "lora", "lora_rank": 2}):
        assert bench.fit({**FEW, **settings}, measure=False).trainable < whole


def test_asked_keeps_answers_by_row(tiny_base: Path) -> None:
    known = data.load("classification", "support_tickets")
    found = asked(str(tiny_base), known.test[:6], known)
    assert [p["id"] for p in found.predictions] == [r.id for r in known.test[:6]]
    assert dict(found.metrics) == label_likelihood(str(tiny_base), known.test[:6], known)
    assert asked(str(tiny_base), known.test[:6], known) is found  # remembered
    assert asked(str(tiny_base), known.test[:5], known) is not found
    assert sum(found.predictions[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_word_counts_by_row_have_probabilities() -> None:
    known = data.load("classification", "support_tickets")
    found = tfidf_evaluation(known.train[:80], known.test[:20])
    for row in found.predictions:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert row["prediction"] == max(row["probabilities"], key=row["probabilities"].get)


def test_operations_are_those_torch_counts(tiny_base: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from course_lib.finetune.model import load_base

    model, _ = load_base(str(tiny_base), task="language-modeling")
    tokens = torch.randint(0, 300, (2, 8))
    with FlopCounterMode(display=False) as counted:
        model(input_ids=tokens, labels=tokens).loss.backward()
    by_hand = cost.training_flops(cost.multiplying(model), tokens.numel())
    assert counted.get_total_flops() == pytest.approx(by_hand, rel=0.1)
    head, _ = load_base(str(tiny_base), task="classification", labels=["a", "b"])
    assert cost.multiplying(head) == cost.multiplying(model) - 320 * 32 + 2 * 32


def test_time_and_memory_elsewhere() -> None:
    assert cost.training_seconds(1e15, peak=1e13, share=0.5) == pytest.approx(200)
    four = cost.training_seconds(1e15, peak=1e13, share=0.5, devices=4, scaling=0.8)
    assert four == pytest.approx(62.5)
    assert cost.training_bytes(7e9) == 112e9 and cost.training_bytes(7e9, 0) == 28e9
    with pytest.raises(UsageError, match="no device"):
        cost.training_seconds(1e15, peak=1e13, share=0)
    assert cost.measured_speed(128, 0.05) > 1e6


def test_seconds_of_runs_and_trials_are_collected(tmp_path: Path) -> None:
    for name, content in (("07-a/run.json", {"seconds": 2}), ("08-b/run.json", {"seconds": 9})):
        (tmp_path / name).parent.mkdir()
        files.write_json(tmp_path / name, content)
    waiting = {"seconds": 0, "state": "waiting"}
    trials = {"trials": [{"seconds": 1.5}, {"seconds": 0.5, "state": "finished"}, waiting]}
    files.write_json(tmp_path / "07-a" / "sweep.json", trials)
    assert cost.seconds_kept(tmp_path, "07-*") == [2, 1.5, 0.5]


def test_the_winner_of_equal_trials_is_lucky_only_where_it_was_chosen() -> None:
    right = np.random.default_rng(1).random((50, 400)) < 0.6
    found = luck(right, rows=50)
    assert found["chosen on test"].luck > 0.1 > 0.02 > abs(found["chosen on validation"].luck)
    assert "too high by 1" in found["chosen on test"].sentence()
    modest = dataclasses.replace(found["chosen on test"], luck=-0.002)
    assert "too low by 0.2 points" in modest.sentence()
    with pytest.raises(UsageError, match="nobody looked at"):
        luck(right, rows=200)


def test_trials_differ_and_are_repeatable() -> None:
    known = data.load("classification", "support_tickets")
    told: list[str] = []
    one = many_trials(known.train[:80], known.validation[:40], 4, say=told.append)
    assert one.shape == (4, 40) and len({tuple(r) for r in one}) > 1 and "4 trials" in told[0]
    assert (one == many_trials(known.train[:80], known.validation[:40], 4)).all()


def test_figures_draw_what_they_are_given() -> None:
    cells = [experiment.Cell("a", size, (), 0.6, 0.5, 0.7) for size in ("all", "200")]
    arms = experiment.by_size(cells, 1000)
    assert arms == {"a": [(200, 0.6, 0.5, 0.7), (1000, 0.6, 0.5, 0.7)]}
    drawn = practices.data_curve(arms, points={"live": (48, 0.3)}, ylabel="accuracy").axes[0]
    assert [t.get_text() for t in drawn.get_xticklabels()] == ["1,000", "200", "48"]
    assert (
        practices.rate_curve([(1e-3, 0.5), (1e-4, 0.4)], ylabel="x").axes[0].get_xscale() == "log"
    )
    pairs = {"one": (0.8, 0.6), "two": (0.6, 0.7)}
    below = practices.dumbbells(pairs, names=("reported", "fresh"), xlabel="x").axes[0]
    assert [t.get_text() for t in below.get_yticklabels()] == ["two", "one"]


def test_an_arm_can_go_through_stages_first(tiny_base: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("\n\n".join(f"Parcel {i} is on its way to you." for i in range(12)))
    small = {"epochs": 1, "max_steps": 2, "train_rows": 16, "validation_rows": 8, "test_rows": 8}
    arm = {"settings": small, "first": [
        {"task": "language-modeling", "data": str(text), "settings": {"max_steps": 1}}
    ]}  # fmt: skip
    plan = {"task": "classification", "data": "support_tickets", "columns": {}, "arms": {"x": arm}}
    run = experiment._one_arm(plan, "x", 16, 0, None, str(tiny_base))
    assert [p["task"] for p in run["parents"]] == ["language-modeling"]
